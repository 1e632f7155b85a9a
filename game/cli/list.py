"""Show what can be named: auditors, edits, camouflage, strategies, tasks, recipes, suites or tools."""

import argparse
import json

KINDS = ("auditors", "camouflage", "edits", "recipes", "strategies", "suites", "tasks", "tools")
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


def _print_table(rows: list[tuple[str, str, str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from game.cli._console import console

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, mark, summary in rows:
        style = "red" if mark == "broken" else "dim" if mark else ""
        table.add_row(Text(name, style="bold", no_wrap=True), mark, Text(summary), style=style)
    console().print(table)


def _kind(text: str) -> str:
    if text not in KINDS:
        from models.naming import unknown

        raise argparse.ArgumentTypeError(unknown("kind", text, KINDS))
    return text
