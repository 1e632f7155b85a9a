"""What does a jail cost, and does it hold?

A round of the documentation's own auditor on an untrained `facts-small`, in process and in the strongest jail
that this machine reaches; a call of 64 prompts, timed from inside; and every hostile auditor of the tests, at
`landlock` or better. Seconds mean a quiet machine.

    python -m benchmarks.referee [--json] [--rounds N]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import defaultdict
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure, Missing, print_json, show, spread_of
from game.api import Brief, component_entries
from game.case import Case, Truth
from game.dealer import public_part
from game.loader import LoadedAuditor, load_auditor
from game.referee import play_round
from game.sandbox.check import not_above, reach
from game.sandbox.isolated import load_isolated
from game.sandbox.tiers import IsolationError
from game.sandbox.warden import Sandbox
from models.checkpoints import checkpoint_of, to_bytes
from models.recipe import named_recipe
from models.seeds import named_generator
from models.training import one_thread
from models.transformer import Transformer

ROOT = Path(__file__).resolve().parent.parent
OUTLIER = f"{ROOT / 'docs' / 'examples' / 'norm_outlier.py'}@NormOutlier"
STOPWATCH = f"{ROOT / 'benchmarks' / 'stopwatch.py'}@Stopwatch"
HOSTILE = ROOT / "tests" / "game" / "test_hostile.py"
KEYS = ("isolation_ms_per_round", "call_overhead_ms")


def main() -> None:
    """Time, attack, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--rounds", type=int, default=30, help="rounds to time (default 30)")
    args = parser.parse_args()
    rows, note = costs(args.rounds)
    rows |= contained()
    if args.json:
        print_json(rows)
    else:
        show("referee", rows, note)


def costs(rounds: int) -> tuple[dict[str, Figure | Missing], str]:
    """What a jail adds to a round and to a call, and which jail it was."""
    shown = [reference.rpartition("@")[0] for reference in (OUTLIER, STOPWATCH)]
    try:
        sandbox = reach(not_above("bubblewrap"), shown)
    except IsolationError as error:
        return {key: Missing(str(error)) for key in KEYS}, ""
    with sandbox, one_thread():
        return {
            "isolation_ms_per_round": added(sandbox, OUTLIER, rounds),
            "call_overhead_ms": added_to_a_call(sandbox),
        }, f"jail: {sandbox.tier}"


def added(sandbox: Sandbox, reference: str, rounds: int) -> Figure:
    """Milliseconds of a round in a jail, less the median of one in process."""
    near, far = load_auditor(reference, {}), load_isolated(reference, {}, sandbox)
    case = untrained_case()
    seconds(case, far, 3)  # warm
    usual = median(seconds(case, near, rounds))
    return spread_of([1000 * (each - usual) for each in seconds(case, far, rounds)], "ms")


def seconds(case: Case, player: LoadedAuditor, rounds: int) -> list[float]:
    """Wall seconds of some rounds, each of which must end well."""
    records = [play_round(case, player, seed) for seed in range(rounds)]
    assert all(record.status == "DONE" for record in records), records[0].error
    return [record.wall_s for record in records]


def added_to_a_call(sandbox: Sandbox) -> Figure:
    """Milliseconds of a call from a jail, less the median of one in process; timed by the auditor itself."""
    case = untrained_case()
    near, far = (
        json.loads(play_round(case, player, 0).notes)
        for player in (load_auditor(STOPWATCH, {}), load_isolated(STOPWATCH, {}, sandbox))
    )
    return spread_of([1000 * (each - median(near)) for each in far], "ms")


def untrained_case() -> Case:
    """A control on a `facts-small` that was never trained: as large as any, and dealt at once."""
    recipe = named_recipe("facts-small")
    world = recipe.task.build(900)
    config = recipe.architecture.config(world)
    model = Transformer(config, named_generator("benchmark of the referee"))
    components = component_entries(config)
    brief = Brief(
        config=config,
        task=public_part(world),
        league="whitebox",
        corpus="prompts",
        budget=1e5,
        prior=0.5,
        component_prior=dict.fromkeys(components, 0.5 / len(components)),
        max_components=1,
        parts=("detection", "localisation"),
        seed=0,
        deadline=60.0,
    )
    truth = Truth(False, frozenset(), "benchmark", "untouched", "untouched", "nothing was done", {}, {})
    return Case("case-000", recipe.name, f"{recipe.name}@900.0", to_bytes(checkpoint_of(model)), brief, truth)


def contained() -> dict[str, Figure | Missing]:
    """How many of the hostile auditors are contained at `landlock` or better."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        only = ["-k", "landlock or bubblewrap", "-p", "no:cacheprovider", f"--junitxml={results}"]
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", str(HOSTILE), *only],
            cwd=ROOT,
            check=False,
            stdout=subprocess.DEVNULL,
        )
        cases = list(ET.parse(results).iter("testcase"))  # noqa: S314 - our own file
    outcomes: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        outcomes[case.get("name", "").partition("[")[2].partition("-")[0]].add(outcome(case))
    held = sum("passed" in each and "failed" not in each for each in outcomes.values())
    if not held:
        missing = Missing("no jail of that tier on this machine")
        return {"hostile_contained": missing, "hostile_total": missing}
    return {"hostile_contained": count(held), "hostile_total": count(len(outcomes))}


def outcome(case: ET.Element) -> str:
    """How one test ended."""
    if case.find("skipped") is not None:
        return "skipped"
    return "failed" if case.find("failure") is not None or case.find("error") is not None else "passed"


def count(number: int) -> Figure:
    """A number of auditors."""
    return Figure(number, "auditors", number, number)


if __name__ == "__main__":
    main()
