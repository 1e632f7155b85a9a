"""Say how many cases a wanted difference of skill needs, from a run that was played."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from game.standings.power import Need


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    from game.cli._options import add_output_options

    parser.add_argument("run_folder", type=Path, metavar="RUN", help="a run's folder, the pilot")
    parser.add_argument(
        "--difference", type=_share, default=0.1, metavar="SKILL", help="wanted, in skill (default: 0.1)"
    )
    parser.add_argument(
        "--power", type=_share, default=0.8, metavar="P", help="probability of telling it (default: 0.8)"
    )
    add_output_options(parser)


def run(args: argparse.Namespace) -> int:
    """Read the run, print a row for each auditor against the prior and for each two."""
    found = _needs(args)
    if args.json:
        from game.cli._rounds import print_json

        for each in found:
            print_json({"kind": "need", "difference": args.difference, "power": args.power} | vars(each))
    elif args.display == "plain":
        for each in found:
            figures = (f"{each.seen:.3f}", f"{each.deviation:.3f}", f"{each.design_effect:.2f}")
            print("\t".join((each.one, each.other, *figures, str(each.pilot), str(each.cases))))
    elif args.display == "rich":
        _print_table(args, found)
    return 0


def _needs(args: argparse.Namespace) -> "list[Need]":
    from game.cli._faults import CommandError, told_to_user
    from game.cli._names import shipped_yardsticks

    with told_to_user():
        from game.runs.store import read_run
        from game.standings.power import PowerError, needs

        with read_run(args.run_folder) as store:
            cases, rounds = store.cases(), store.rounds()
        yardsticks = shipped_yardsticks()
        players = sorted({each.auditor for each in rounds} - set(yardsticks))
        if not players:
            raise CommandError(f"{args.run_folder}: no auditor but yardsticks has played")
        try:
            return needs(cases[0].brief.parts, cases, rounds, players, args.difference, args.power)
        except PowerError as error:
            raise CommandError(f"{args.run_folder}: {error}") from error


def _print_table(args: argparse.Namespace, found: "list[Need]") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from game.cli._console import console

    table = Table("auditor", "against", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("seen", "deviation", "design effect", "pilot", "cases needed"):
        table.add_column(heading, justify="right")
    for each in found:
        figures = (f"{each.seen:+.2f}", f"{each.deviation:.2f}", f"{each.design_effect:.2f}")
        table.add_row(Text(each.one), Text(each.other), *figures, str(each.pilot), str(each.cases))
    note = (
        f"to tell a difference of {args.difference:g} with probability {args.power:g}, two-sided at 5 %, "
        "with as many cases a checkpoint as in the pilot: more cases want more checkpoints"
    )
    console().print(table, Text(note, style="dim"))


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, wanted a number between 0 and 1")
    return value
