"""Show what can be named: auditors, edits, camouflage, strategies, tasks, recipes, suites or tools."""

import argparse
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from game.catalogue import Entry

KINDS = ("auditors", "camouflage", "edits", "recipes", "strategies", "suites", "tasks", "tools")
STYLES = {"broken": "red", "checked": "", "stale": "yellow"}
ONE_OF = {"strategies": "strategy"}  # the others lose an s, or have none


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    from game.cli._options import add_output_options

    parser.add_argument("what", type=_kind, metavar="WHAT", help=", ".join(KINDS))
    add_output_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print one row for each; nothing is imported, so a broken file is a row like others."""
    from game.catalogue import CATALOGUES

    entries = CATALOGUES[args.what]()
    if args.what == "auditors":
        entries = [*entries, *_of_others()]
    if args.json:
        for entry in entries:
            row = {"kind": ONE_OF.get(args.what, args.what.removesuffix("s")), "name": entry.name}
            print(json.dumps(row | {"summary": entry.summary, "mark": entry.mark}))
    elif args.display == "plain":
        for entry in entries:
            print("\t".join((entry.name, entry.mark, entry.summary)))
    elif args.display == "rich" and entries:
        _print_table([(entry.name, entry.mark, entry.summary) for entry in entries])
    return 0


def _of_others() -> "list[Entry]":
    """Auditors that are installed or were submitted, read from metadata and the register."""
    from game.catalogue import Entry
    from game.cli._names import installed_auditors, submitted_auditors

    installed = [Entry(name, "from an installed package", "listed") for name in installed_auditors()]
    return [*installed, *submitted_auditors()]


def _print_table(rows: list[tuple[str, str, str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from game.cli._console import console

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, mark, summary in rows:
        style = STYLES.get(mark, "dim" if mark else "")
        table.add_row(Text(name, style="bold", no_wrap=True), mark, Text(summary), style=style)
    console().print(table)


def _kind(text: str) -> str:
    if text not in KINDS:
        from models.naming import unknown

        raise argparse.ArgumentTypeError(unknown("kind", text, KINDS))
    return text
