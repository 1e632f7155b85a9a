"""Tell how well this machine can keep an auditor's code from the answer."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from game.sandbox.check import Examination


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    from game.cli._options import add_output_options

    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    summary = "build a jail of every tier, let it try to get out, and tell what it found"
    check = actions.add_parser("check", help=summary, description=summary, allow_abbrev=False)
    add_output_options(check)


def run(args: argparse.Namespace) -> int:
    """One block a tier; 4 if none holds, for then every auditor plays in the referee's process."""
    from game.sandbox.check import examine
    from game.sandbox.tiers import JAILS

    examinations = [examine(tier) for tier in JAILS]
    for each in examinations:
        _show(args, each)
    return 0 if any(not each.reason for each in examinations) else 4


def _show(args: argparse.Namespace, found: "Examination") -> None:
    from game.sandbox.tiers import PROMISES

    reached = not found.reason
    if args.json:
        from game.cli._rounds import print_json

        attempts = [
            vars(each) | {"promised": each.attempt in PROMISES[found.tier]} for each in found.findings
        ]
        row = {"kind": "tier", "tier": found.tier, "reached": reached, "reason": found.reason}
        print_json(row | {"attempts": attempts})
    elif args.display == "plain":
        print(f"{found.tier}\t{'reached' if reached else 'not reached'}\t{found.reason}")
        for each in found.findings:
            print(f"{found.tier}\t{each.attempt}\t{_verdict(found, each.attempt)}\t{each.detail}")
    elif args.display == "rich":
        _print_table(found)


def _verdict(found: "Examination", attempt: str) -> str:
    """How an attempt ended, and whether the tier promises that."""
    from game.sandbox.tiers import PROMISES

    held = next(each.held for each in found.findings if each.attempt == attempt)
    promised = attempt in PROMISES[found.tier]
    return "stopped" if held and promised else "stopped, not promised" if held else "possible"


def _print_table(found: "Examination") -> None:
    from rich.table import Table
    from rich.text import Text

    from game.cli._console import console
    from game.sandbox.tiers import ATTEMPTS

    title = Text.assemble(
        (found.tier, "bold"), f": not reached: {found.reason}" if found.reason else ": reached"
    )
    screen = console()
    screen.print(title)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    for each in found.findings:
        verdict = _verdict(found, each.attempt)
        style = "red" if verdict == "possible" else ""
        table.add_row(
            each.attempt, Text(verdict, style=style), each.detail, Text(ATTEMPTS[each.attempt], "dim")
        )
    if found.findings:
        screen.print(table)
    screen.print()
