"""Are the tools fast, and do they say what their peers say?

`causal_trace100_cpu_s` traces 100 facts of facts-small, all layers and positions of the stream, attention and
MLPs; `cache_ratio` is a full cache over a forward pass. What stands beside a peer is measured in the peer's
own environment, where `make interop` has installed it. CPU time of one thread; seconds mean a quiet machine.

    python -m benchmarks.tools [--json]
"""

import argparse
import time
from collections.abc import Iterator

from benchmarks.figures import Figure, Missing, print_json, show, spread_of
from benchmarks.models import figure, peer
from benchmarks.peers.speed import speed
from game.api import Samples
from game.toolbox.live import ModelToolbox
from game.tools.causal_trace import causal_trace
from game.tools.kit.questions import Contrast
from models.recipe import named_recipe
from models.tasks.facts import Facts
from models.training import one_thread
from models.zoo import Trained, trained

FACTS, REPEATS = 100, 3
PEER_KEYS = {
    "patch_speedup_tl": "TL / ours",
    "patch_speedup.head_position.8": "TL / ours",
    "patch_speedup.resid.1": "TL / ours",
    "patch_speedup.resid.8": "TL / ours",
    "agreement.patch": "nats",
    "agreement.integrated_gradients": "nats",
}


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    rows = dict(figures())
    if parser.parse_args().json:
        print_json(rows)
    else:
        show("tools", rows, "seconds: median, least and most of the repeats")


def figures() -> Iterator[tuple[str, Figure | Missing]]:
    with one_thread():
        base = trained(named_recipe("facts-small"), 0, 0)
        yield "causal_trace100_cpu_s", spread_of([traced_s(base) for _ in range(REPEATS)], "CPU s")
    yield "cache_ratio", speed()["cache"]
    found = peer("tl3", "tools")
    for key, unit in PEER_KEYS.items():
        yield key, figure(found, key, unit) if found is None or key in found else Missing("captum is missing")


def traced_s(base: Trained) -> float:
    """CPU seconds of a trace of 100 facts, on a toolbox that remembers nothing."""
    contrast = exchanged(base)
    box = ModelToolbox(
        base.checkpoint.model().eval(), league="whitebox", corpus=no_corpus, total=float("inf"), room=0
    )
    start = time.process_time()
    causal_trace(box, contrast)
    return time.process_time() - start


def exchanged(base: Trained) -> Contrast:
    """Facts in one phrasing, each beside another subject's prompt with another object."""
    task = base.task
    assert isinstance(task, Facts)
    table = task.table
    asked = ((table.phrasing == 0) & (table.relation == 0)).nonzero()[:, 0]
    other = asked.roll(1)
    differs = table.answer[asked] != table.answer[other]
    clean, corrupt = asked[differs][:FACTS], other[differs][:FACTS]
    return Contrast(
        table.tokens[clean],
        table.tokens[corrupt],
        table.answer[clean],
        table.answer[corrupt],
        table.last[clean],
    )


def no_corpus(n: int, seed: int) -> Samples:
    raise NotImplementedError


if __name__ == "__main__":
    main()
