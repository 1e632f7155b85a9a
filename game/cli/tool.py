"""Run an interpretability tool by hand, on a model of the zoo or on a case, and draw what it finds."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from game.by_hand.menu import Tool
    from game.by_hand.subject import ToolSubject
    from game.tools.kit.result import ToolResult

PICTURES = (".png", ".svg")


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
    from game.catalogue import tools

    if args.name is None:
        _list(args)
        return 0
    from game.cli._faults import CommandError
    from game.cli._names import check_name

    check_name("tool", args.name, tools())
    from game.by_hand.menu import load_tool
    from game.cli._tool_parser import tool_parser

    tool = load_tool(args.name)
    chosen = tool_parser(tool).parse_args(args.rest)
    if tool.unreadable:
        what = ", ".join(tool.unreadable)
        raise CommandError(f"{tool.name}: for programs only; there are no words for its argument {what}")
    if chosen.save is not None and chosen.save.suffix not in PICTURES:
        raise CommandError(
            f"--save: got {chosen.save.name}; allowed: names that end in {' or '.join(PICTURES)}"
        )
    return _look(tool, chosen)


def _look(tool: "Tool", chosen: argparse.Namespace) -> int:
    """Say the price, run the tool, charge, and show."""
    from game.cli._progress import say
    from game.cli._tool_subject import subject_of

    subject = subject_of(chosen.on, chosen.world, chosen.edit, chosen.public_seed)
    result = _result(tool, subject, chosen)
    budget = subject.box.budget
    if subject.metered:
        say(f"charged {budget.spent:g} credits; {budget.remaining:g} of {budget.total:g} are left")
    if chosen.save is not None:
        _save(chosen.save, result, subject)
    _show(chosen, result, subject)
    return 0


def _result(tool: "Tool", subject: "ToolSubject", chosen: argparse.Namespace) -> "ToolResult":
    """What the tool finds; whatever is refused, is refused before anything is charged."""
    from game.api import AccessError, BudgetExceededError, RequestError
    from game.by_hand.menu import price
    from game.by_hand.words import WordsError, given
    from game.cli._faults import CommandError
    from game.cli._progress import say
    from game.cli._tool_parser import words_of

    box = subject.box
    try:
        found = given(tool, words_of(tool, chosen), subject, chosen.draw)
        due = price(tool, box.config, found.arguments, found.tokens)
        if subject.metered:
            asked = f" and {box.budget.spent:g} for the model's own answers" if box.budget.spent else ""
            say(f"{tool.name} costs {'an unknown price' if due is None else f'{due:g} credits'}{asked}")
        if due is not None and due > box.budget.remaining:
            left = f"{box.budget.remaining:g} are left of {box.budget.total:g}"
            raise CommandError(f"{tool.name}: costs {due:g} credits; {left}")
        return tool.function(box, **found.arguments)
    except (AccessError, BudgetExceededError, RequestError, WordsError) as error:
        raise CommandError(f"{tool.name}: {error}") from error


def _save(path: Path, result: "ToolResult", subject: "ToolSubject") -> None:
    from game.cli._faults import CommandError
    from game.drawing.picture import result_picture

    picture = result_picture(result, subject.task, "svg" if path.suffix == ".svg" else "png")
    try:
        path.write_bytes(picture)
    except OSError as error:
        raise CommandError(f"--save: {path}: {error.strerror}") from error


def _show(chosen: argparse.Namespace, result: "ToolResult", subject: "ToolSubject") -> None:
    if chosen.json:
        from game.cli._rounds import print_json

        print_json(result.to_dict() | {"on": subject.name})
    elif chosen.display == "plain":
        from game.drawing.terminal import result_lines

        print("\n".join(result_lines(result)))
    elif chosen.display == "rich":
        from rich.text import Text

        from game.cli._console import console
        from game.drawing.terminal import result_view

        console().print(
            Text(subject.name, style="dim"), result_view(result, subject.task, chosen.slices), sep="\n"
        )


def _list(args: argparse.Namespace) -> None:
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
