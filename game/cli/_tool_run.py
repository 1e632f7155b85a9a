"""What `tool`, `case tool` and the interactive game share: a tool's line read, refused, and shown."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from game.cli._faults import CommandError

if TYPE_CHECKING:
    from game.api import PublicTask
    from game.by_hand.menu import Tool
    from game.tools.kit.result import ToolResult

PICTURES = (".png", ".svg")


def read_tool(name: str) -> "Tool":
    """The tool of that name.

    Raises:
        CommandError: There is none, it is broken, or its arguments have no words.
    """
    from game.by_hand.menu import load_tool
    from game.catalogue import tools
    from game.cli._names import check_name

    check_name("tool", name, tools())
    return load_tool(name)


def read_words(
    tool: "Tool",
    words: Sequence[str],
    where: Callable[[argparse._ArgumentGroup], None] | None = None,
    command: str = "audit-game tool ",
) -> argparse.Namespace:
    """A tool's arguments as they were typed; see `tool_parser`.

    Raises:
        CommandError: They cannot be given in words, or the picture is to be of no known kind.
    """
    from game.cli._tool_parser import tool_parser

    chosen = tool_parser(tool, where, command).parse_args(words)
    if tool.unreadable:
        what = ", ".join(tool.unreadable)
        raise CommandError(f"{tool.name}: for programs only; there are no words for its argument {what}")
    if chosen.save is not None and chosen.save.suffix not in PICTURES:
        raise CommandError(
            f"--save: got {chosen.save.name}; allowed: names that end in {' or '.join(PICTURES)}"
        )
    return chosen


@contextmanager
def refusals(name: str) -> Iterator[None]:
    """Turn what words, league, budget and model refuse into one message.

    Raises:
        CommandError: With the tool's name.
    """
    from game.api import AccessError, BudgetExceededError, RequestError
    from game.by_hand.words import WordsError

    try:
        yield
    except (AccessError, BudgetExceededError, RequestError, WordsError) as error:
        raise CommandError(f"{name}: {error}") from error


def save_picture(path: Path, result: "ToolResult", task: "PublicTask") -> None:
    """Write the result as a picture.

    Raises:
        CommandError: It cannot be written.
    """
    from game.drawing.picture import result_picture

    picture = result_picture(result, task, "svg" if path.suffix == ".svg" else "png")
    try:
        path.write_bytes(picture)
    except OSError as error:
        raise CommandError(f"--save: {path}: {error.strerror}") from error


def show_result(
    chosen: argparse.Namespace, result: "ToolResult", name: str, task: "PublicTask", **more: object
) -> None:
    """Print a result as the flags want it.

    Args:
        chosen: With the flags of `tool_parser`.
        result: What the tool found.
        name: What it was run on.
        task: Knows the words for token ids.
        more: What JSON says beside the result.
    """
    if chosen.json:
        from game.cli._rounds import print_json

        print_json(result.to_dict() | {"on": name} | more)
    elif chosen.display == "plain":
        from game.drawing.terminal import result_lines

        print("\n".join(result_lines(result)))
    elif chosen.display == "rich":
        from rich.text import Text

        from game.cli._console import console
        from game.drawing.terminal import result_view

        console().print(Text(name, style="dim"), result_view(result, task, chosen.slices), sep="\n")
