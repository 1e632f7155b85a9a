"""Are the tools fast, do they say what their peers say, and what do they tell?

`causal_trace100_cpu_s` traces 100 facts of facts-small, all layers and positions of the stream, attention and
MLPs; `cache_ratio` is a full cache over a forward pass. What stands beside a peer is measured in the peer's
own environment, where `make interop` has installed it: `patch_speedup_tl` is for one pair of prompts, where
their loop over cells costs most, and `patch_speedup.SITE.8` for eight, where a forward pass of as many rows
is nine tenths of our time. `agreement.TOOL` is the largest difference from the peer. CPU time of one thread;
seconds mean a quiet machine.

`auroc.TOOL.KIND` and `hit.TOOL.KIND` are read from the folder of a matrix that was measured before, by
`python -m benchmarks.tool_matrix --save FOLDER`. `ccs_follows_*` and `progress.*` are those of
`benchmarks.tool_beliefs`, which trains models of its own.

    python -m benchmarks.tools [--json] [--matrix FOLDER] [--seeds A,B]
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from benchmarks.figures import Figure, Missing, print_json, show, spread_of
from benchmarks.matrix.figures import rows
from benchmarks.matrix.records import saved_cells
from benchmarks.models import figure, peer
from benchmarks.peers.speed import speed
from benchmarks.tool_beliefs import ccs_figures, progress_figures
from benchmarks.tool_matrix import told
from game.api import Samples
from game.red.edit_table import SEEDS
from game.toolbox.live import ModelToolbox
from game.tools.causal_trace import causal_trace
from game.tools.kit.contrast import Sides, crc
from game.tools.kit.linear_probe import auc
from game.tools.kit.questions import Contrast
from models.recipe import named_recipe
from models.seeds import named_generator
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
    "agreement.direct_attribution": "nats",
    "agreement.lens": "nats",
    "agreement.integrated_gradients": "nats",
}
MATRIX = "no folder given; python -m benchmarks.tool_matrix --save FOLDER, then --matrix FOLDER"


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--matrix", type=Path, metavar="FOLDER", help="of a matrix that was measured")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)), help="of the models of beliefs")
    chosen = parser.parse_args()
    seeds = [int(seed) for seed in chosen.seeds.split(",") if seed]
    found = {**dict(speeds()), **agreements(), **matrix(chosen.matrix), **beliefs(seeds)}
    if chosen.json:
        print_json(found)
    else:
        show("tools", found, "seconds: median, least and most of the repeats; beliefs: of the seeds")


def speeds() -> Iterator[tuple[str, Figure | Missing]]:
    """Our seconds, and what stands beside TransformerLens and captum."""
    with one_thread():
        base = trained(named_recipe("facts-small"), 0, 0)
        yield "causal_trace100_cpu_s", spread_of([traced_s(base) for _ in range(REPEATS)], "CPU s")
    yield "cache_ratio", speed()["cache"]
    found = peer("tl3", "tools")
    for key, unit in PEER_KEYS.items():
        yield key, figure(found, key, unit) if found is None or key in found else Missing("captum is missing")


def agreements() -> dict[str, Figure]:
    """Largest differences from scikit-learn, on random data: a probe's AUC, and the main component of CRC."""
    generator = named_generator("benchmark agreements")
    scores, x0, x1 = torch.rand(400, 8, generator=generator), *torch.randn(2, 200, 32, generator=generator)
    labels = torch.rand(400, 8, generator=generator) < 0.5 * scores + 0.25
    expected = [roc_auc_score(labels[:, i], scores[:, i]) for i in range(8)]
    areas = (auc(scores, labels) - torch.tensor(expected)).abs().max()
    found = crc(Sides(x0.double(), x1.double()))
    main = torch.from_numpy(PCA(1).fit((x1 - x0).double().numpy()).components_[0])
    direction = torch.minimum((found - main).abs().max(), (found + main).abs().max())
    values = {"agreement.probe": float(areas), "agreement.ccs": float(direction)}
    return {key: Figure(value, "scikit-learn", value, value) for key, value in values.items()}


def matrix(folder: Path | None) -> dict[str, Figure | Missing]:
    """How well each tool tells each kind of edit, as far as a folder has it."""
    if folder is None:
        return {"auroc.TOOL.KIND": Missing(MATRIX), "hit.TOOL.KIND": Missing(MATRIX)}
    cells = saved_cells(folder)
    if not cells:
        stale = Missing(f"{folder} has no cell of today's code")
        return {"auroc.TOOL.KIND": stale, "hit.TOOL.KIND": stale}
    kinds, tools = (sorted({getattr(cell, of) for cell in cells}) for of in ("kind", "tool"))
    return dict(rows(list(told(cells, kinds, tools))))


def beliefs(seeds: Sequence[int]) -> dict[str, Figure | Missing]:
    """What `ccs` follows, and how `progress` tells memory from a general way."""
    if not seeds:
        return {key: Missing("no seeds given") for key in ("ccs_follows_distractor", "ccs_follows_truth")}
    with one_thread():
        stages = progress_figures(seeds)
        return {**ccs_figures(seeds), **{f"progress.{name}": found for name, found in stages.items()}}


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
