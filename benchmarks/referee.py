"""What does a jail cost, does it hold, and can a run be trusted?

A round of the documentation's own auditor on an untrained `facts-small`, in process and in the strongest jail
that this machine reaches; a call of 64 prompts, timed from inside; every shipped auditor on a few cases of
`starter`, both ways; every hostile auditor of the tests, at `landlock` or better; inputs thrown at each door;
mutations of a finished run; what knowing only the label earns on behaviour. Seconds mean a quiet machine.

    python -m benchmarks.referee [--json] [--rounds N] [--cases N] [--inputs N] [--mutations N]
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

from benchmarks import fuzz, tampering
from benchmarks.figures import Figure, Missing, mean_of, print_json, show, spread_of
from game.api import Brief, component_entries
from game.case import Case, Truth
from game.dealing.challenge import label_only_skill
from game.dealing.dealer import Dealer, plan_cases, public_part
from game.dealing.master import Master
from game.dealing.suite import Suite, load_suite
from game.loader import AUDITOR, LoadedAuditor, load_auditor
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
KEYS = ("isolation_ms_per_round", "isolation_ratio_starter", "call_overhead_ms")


def main() -> None:
    """Time, attack, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--rounds", type=int, default=30, help="rounds to time (default 30)")
    parser.add_argument("--cases", type=int, default=4, help="cases of `starter` to play (default 4)")
    parser.add_argument("--inputs", type=int, default=fuzz.INPUTS, help="to throw (default 100000)")
    parser.add_argument("--mutations", type=int, default=1200, help="of a finished run (default 1200)")
    args = parser.parse_args()
    rows, note = costs(args.rounds, args.cases)
    rows |= contained() | thrown(args.inputs) | tampered(args.mutations) | label_only(args.cases)
    if args.json:
        print_json(rows)
    else:
        show("referee", rows, note)


def costs(rounds: int, cases: int) -> tuple[dict[str, Figure | Missing], str]:
    """What a jail adds to a round and to a call, by how much it slows a tournament, and which jail it was."""
    shown = [reference.rpartition("@")[0] for reference in (OUTLIER, STOPWATCH)]
    try:
        sandbox = reach(not_above("bubblewrap"), shown)
    except IsolationError as error:
        return {key: Missing(str(error)) for key in KEYS}, ""
    with sandbox, one_thread():
        return {
            "isolation_ms_per_round": added(sandbox, OUTLIER, rounds),
            "isolation_ratio_starter": ratio(sandbox, cases),
            "call_overhead_ms": added_to_a_call(sandbox),
        }, f"jail: {sandbox.tier}; ratio of every shipped auditor on {cases} cases of starter's facts-small"


def ratio(sandbox: Sandbox, cases: int) -> Figure:
    """Wall seconds of every shipped auditor's round in a jail over those in process; the range is by case."""
    names, pairs = AUDITOR.shipped, []
    near = [load_auditor(name, {}) for name in names]
    far = [load_isolated(name, {}, sandbox) for name in names]
    for case in dealt(of_one_recipe(load_suite("starter")), cases):
        for player in near:
            play_round(case, player, 0)  # warm
        pairs.append([sum(seconds(case, player, 1)[0] for player in players) for players in (far, near)])
    whole = sum(pair[0] for pair in pairs) / sum(pair[1] for pair in pairs)
    by_case = [jailed / free for jailed, free in pairs]
    return Figure(whole, "times", min(by_case), max(by_case))


def of_one_recipe(suite: Suite) -> Suite:
    """The suite without the models of every recipe but the first: fewer to train."""
    bases = suite.bases[0]
    groups = [
        group.model_copy(update={"sites": {bases.recipe: group.sites[bases.recipe]}})
        for group in suite.groups
    ]
    return suite.model_copy(update={"bases": (bases,), "groups": tuple(groups)})


def dealt(suite: Suite, cases: int) -> list[Case]:
    """The first cases of a suite."""
    master = Master.of_seed(0)
    dealer = Dealer(suite, master)
    return [dealer.deal(plan) for plan in plan_cases(suite, master)[:cases]]


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
    players = (load_auditor(STOPWATCH, {}), load_isolated(STOPWATCH, {}, sandbox))
    timed: list[list[float]] = [[], []]
    for turn in range(6):  # by turns, so that both meet the same noise; the first is to warm up
        for seconds_of, player in zip(timed, players, strict=True):
            notes = play_round(case, player, turn).notes
            seconds_of.extend(json.loads(notes) if turn else [])
    near, far = timed
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


def thrown(inputs: int) -> dict[str, Figure | Missing]:
    """How many inputs every door stood."""
    tallies = fuzz.thrown(inputs)
    faults = [f"{tally.name}: {tally.fault[:200]}" for tally in tallies if tally.fault]
    stood = count(sum(tally.inputs for tally in tallies), "inputs")
    return {"fuzz_inputs": Missing("; ".join(faults)) if faults else stood}


def tampered(mutations: int) -> dict[str, Figure | Missing]:
    """How many changes of a finished run are found."""
    with tempfile.TemporaryDirectory() as folder:
        rows, _ = tampering.caught(tampering.played(Path(folder)), range(mutations))
    return {key: rows[key] for key in ("tamper_caught", "tamper_total")}


def label_only(cases: int) -> dict[str, Figure | Missing]:
    """What who knows the label and nothing else earns on behaviour."""
    skills = [label_only_skill([case]) for case in dealt(load_suite("complete"), cases)]
    return {"label_only_behaviour": mean_of(skills, "skill")}


def count(number: int, unit: str = "auditors") -> Figure:
    """A number of things."""
    return Figure(number, unit, number, number)


if __name__ == "__main__":
    main()
