"""The parser of one tool's command line, made from what the menu knows of it."""

import argparse
from collections.abc import Callable
from pathlib import Path

from game.by_hand.menu import REQUIRED, Parameter, Tool
from game.by_hand.values import VECTOR
from game.cli._entry import Parser
from game.cli._options import add_output_options, add_seed, positive

ARGUMENT = "argument_"  # before the names of a tool's own arguments, so that none is mistaken for ours
MANY = (
    "prompts",
    "samples",
    "several",
    "token of each",
    "position of each",
    "label of each",
    "group of each",
    "labels by name",
)
DRAWN = (
    "prompts in words, #17, or <CLASS> for each of its words; or drawn: sample:N, having:WORD:N, affected:N "
    "(of --edit); or made from those before: nearest, swap:WORD=WORD"
)
SHOWN = {
    "prompts": ("PROMPT", DRAWN),
    "samples": ("PROMPT", DRAWN),
    "token": ("WORD", "a word of the vocabulary, or #17"),
    "token of each": ("WORD", "one word for all prompts, or one for each"),
    "position of each": ("N", "one position for all prompts, or one for each"),
    "label of each": (
        "LABEL",
        "has:WORD, says:WORD or says:WORD/WORD, in:sample:N, or 0 or 1 for each prompt",
    ),
    "labels by name": ("NAME=LABEL", "the same under a name, once or several times"),
    "classes": ("A,B", "names of the task's classes of words; default: all of them"),
    "group of each": ("GROUP", "at:POSITION, of:CLASS, or a number for each prompt"),
    "layer": ("N", ""),
    "head": ("N", ""),
    "hook": ("HOOK", ""),
    "weight": ("WEIGHT", ""),
    "vector": ("VECTOR", VECTOR),
    "int": ("N", ""),
    "float": ("X", ""),
    "text": ("TEXT", ""),
    "several": ("A,B", ""),
}


def tool_parser(
    tool: Tool,
    where: Callable[[argparse._ArgumentGroup], None] | None = None,
    command: str = "audit-game tool ",
) -> argparse.ArgumentParser:
    """Where the tool is run, its own arguments, and how its result is shown.

    Args:
        tool: The tool.
        where: Adds the arguments that say what it is run on; by default those of `audit-game tool`.
        command: What is typed before the tool's name.
    """
    parser = Parser(
        prog=f"{command}{tool.name}",
        description=_description(tool),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    (where or _add_where)(parser.add_argument_group("where"))
    own = parser.add_argument_group(f"arguments of {tool.name}")
    for parameter in tool.parameters:
        if parameter.form != "unreadable":
            _add(own, parameter)
    shown = parser.add_argument_group("what is shown")
    shown.add_argument(
        "--slices", type=positive, default=4, metavar="N", help="pictures of one view (default: 4)"
    )
    shown.add_argument("--save", type=Path, metavar="FILE", help="write the picture there, .png or .svg")
    add_output_options(parser)
    return parser


def words_of(tool: Tool, chosen: argparse.Namespace) -> dict[str, list[str]]:
    """What was given for each of the tool's arguments."""
    words: dict[str, list[str]] = {}
    for parameter in tool.parameters:
        found = getattr(chosen, ARGUMENT + parameter.name, None)
        if isinstance(found, bool):
            words[parameter.name] = ["yes" if found else "no"]
        elif found is not None:
            words[parameter.name] = [found] if isinstance(found, str) else found
    return words


def _description(tool: Tool) -> str:
    """The docstring up to its arguments, and the sources behind them."""
    text = "\n".join(line.removeprefix("    ") for line in (tool.function.__doc__ or "").strip().splitlines())
    return "\n\n".join(
        part for part in text.split("\n\n") if not part.startswith(("Args:", "Raises:"))
    ).replace("%", "%%")


def _add_where(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--on", required=True, metavar="WHAT", help="a recipe of the zoo, SUITE:CASE, or RUN_FOLDER:CASE"
    )
    group.add_argument(
        "--world", type=int, metavar="N", help="world and training seed of the recipe's model (default: 0)"
    )
    group.add_argument(
        "--edit", type=Path, metavar="SPEC.yaml", help="apply this to the recipe's model before"
    )
    add_seed(group, "--draw", "seed of the prompts that are drawn")
    add_seed(group, "--public-seed", "of the suite, as in `play --seed`")


def _add(group: argparse._ArgumentGroup, parameter: Parameter) -> None:
    name, form = ARGUMENT + parameter.name, parameter.form
    if form == "bool":
        group.add_argument(
            parameter.flag, action=argparse.BooleanOptionalAction, dest=name, help=_help(parameter, "")
        )
    elif form == "choice":
        wanted = "|".join(parameter.choices)
        group.add_argument(parameter.flag, dest=name, metavar=wanted, help=_help(parameter, ""))
    else:
        metavar, words = SHOWN[form]
        many = "+" if form in MANY else None
        group.add_argument(
            parameter.flag, nargs=many, dest=name, metavar=metavar, help=_help(parameter, words)
        )


def _help(parameter: Parameter, words: str) -> str:
    parts = [parameter.text.rstrip("."), words]
    if parameter.default is not REQUIRED and parameter.default is not None:
        parts.append(f"default: {parameter.default}")
    return "; ".join(part for part in parts if part).replace("%", "%%")
