"""Run an interpretability tool by hand, on a model of the zoo or on a case, and draw what it finds."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from game.by_hand.menu import Tool
    from game.by_hand.subject import ToolSubject
    from game.tools.kit.result import ToolResult


def configure(parser: argparse.ArgumentParser) -> None:
    """The name, and everything behind it: each tool has arguments of its own."""
    from game.cli._options import add_output_options

    parser.epilog = (
        "`audit-game tool NAME --help` tells a tool's arguments; without NAME, all tools are listed"
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="which tool")
    parser.add_argument(
        "rest", nargs=argparse.REMAINDER, metavar="...", help="--on WHAT, and the tool's arguments"
    )
    add_output_options(parser)


def run(args: argparse.Namespace) -> int:
    """List the tools, or run one."""
    if args.name is None:
        list_tools(args)
        return 0
    from game.cli._tool_run import read_tool, read_words

    tool = read_tool(args.name)
    _look(tool, read_words(tool, args.rest))
    return 0


def _look(tool: "Tool", chosen: argparse.Namespace) -> None:
    """Say the price, run the tool, charge, and show."""
    from game.cli._progress import say
    from game.cli._tool_run import refusals, save_picture, show_result
    from game.cli._tool_subject import subject_of
    from models.training import one_thread

    subject = subject_of(chosen.on, chosen.world, chosen.edit, chosen.public_seed)
    with refusals(tool.name), one_thread():
        result = _result(tool, subject, chosen)
    budget = subject.box.budget
    if subject.metered:
        say(f"charged {budget.spent:g} credits; {budget.remaining:g} of {budget.total:g} are left")
    if chosen.save is not None:
        save_picture(chosen.save, result, subject.task)
    show_result(chosen, result, subject.name, subject.task)


def _result(tool: "Tool", subject: "ToolSubject", chosen: argparse.Namespace) -> "ToolResult":
    """What the tool finds; whatever is refused, is refused before anything is charged."""
    from game.by_hand.quote import quote
    from game.by_hand.words import given
    from game.cli._progress import say
    from game.cli._tool_parser import words_of

    box, words = subject.box, words_of(tool, chosen)
    if subject.metered:
        priced = quote(tool, words, subject, chosen.draw)
        say(f"{tool.name} costs {priced}")
        priced.check(box.budget)
    return tool.function(box, **given(tool, words, subject, chosen.draw).arguments)


def list_tools(args: argparse.Namespace) -> None:
    """A line for each tool, read from source text alone."""
    import json

    from game.catalogue import tool_prices, tools

    prices = tool_prices()
    rows = [(entry.name, entry.summary, prices.get(entry.name, ""), entry.broken) for entry in tools()]
    if args.json:
        for name, summary, price, _ in rows:
            print(json.dumps({"kind": "tool", "name": name, "summary": summary, "price": price}))
    elif args.display == "plain":
        for name, summary, price, _ in rows:
            print("\t".join((name, price, summary)))
    elif args.display == "rich":
        _print_table(rows)


def _print_table(rows: list[tuple[str, str, str, bool]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from game.cli._console import console

    table = Table("tool", "what it tells", "price in credits", box=SIMPLE_HEAD, pad_edge=False)
    for name, summary, price, broken in rows:
        style = "red" if broken else ""
        table.add_row(
            Text(name, style="bold", no_wrap=True), Text(summary), Text(price, style="dim"), style=style
        )
    console().print(table)
