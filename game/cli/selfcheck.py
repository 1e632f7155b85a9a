"""See whether anything but a model's behaviour tells which of a suite's cases are edited."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from game.dealing.suite import Suite
    from game.selfcheck.verdicts import SelfCheck
    from models.training import Progress


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    from game.cli._options import LARGEST_SEED, add_output_options

    parser.add_argument("suite", metavar="SUITE", help="a shipped suite, or a file")
    parser.add_argument(
        "--cases",
        type=lambda text: _whole(text, 2, 100_000),
        metavar="N",
        help="how many to deal (default: what it takes to find an area of 0.65 with 80 %% power)",
    )
    parser.add_argument(
        "--seed",
        type=lambda text: _whole(text, 0, LARGEST_SEED),
        metavar="N",
        help="draw the same cases again (default: from the operating system, as a rated run does)",
    )
    add_output_options(parser)


def run(args: argparse.Namespace) -> int:
    """Deal, look, print a row a probe; 3 if anything tells. What passed is remembered for rated runs."""
    from game.cli._names import load_suite

    suite = load_suite(args.suite)
    found = _found(args, suite)
    _print(args, found)
    return 3 if found.leaks else 0


def _found(args: argparse.Namespace, suite: "Suite") -> "SelfCheck":
    from game.cli._faults import told_to_user
    from game.cli._progress import watching

    with watching(args) as watch, told_to_user():
        from game.runs.events import CaseAwaited, ModelTraining
        from game.selfcheck.gate import default_cases, fresh_master, master_of, remember, selfcheck

        def on_step(model: str, progress: "Progress") -> None:
            watch(ModelTraining(model, progress.step, progress.steps))

        master = fresh_master() if args.seed is None else master_of(args.seed)
        cases = default_cases(suite) if args.cases is None else args.cases
        found = selfcheck(suite, cases, master, lambda case: watch(CaseAwaited(case)), on_step)
        if args.seed is None:
            remember(suite, found)
        return found


def _print(args: argparse.Namespace, found: "SelfCheck") -> None:
    from game.report.selfcheck_view import selfcheck_data, selfcheck_lines, selfcheck_view

    if args.json:
        from game.cli._rounds import print_json

        for row in selfcheck_data(found):
            print_json(row)
    elif args.display == "plain":
        print("\n".join(selfcheck_lines(found)))
    elif args.display == "rich":
        from game.cli._console import console

        console().print(selfcheck_view(found))


def _whole(text: str, lowest: int, highest: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = lowest - 1
    if not lowest <= value <= highest:
        raise argparse.ArgumentTypeError(f"got {text!r}, wanted a whole number from {lowest} to {highest}")
    return value
