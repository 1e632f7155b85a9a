"""One line as a person types it, `spike --samples sample:400`: a tool, run on a subject."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from game.by_hand.menu import Tool, load_tool, price
from game.by_hand.quote import Quote, quote
from game.by_hand.subject import ToolSubject
from game.by_hand.words import WordsError, given
from game.tools.kit.result import ToolResult
from models.naming import quoted, unknown

_SAVED = re.compile(r"\w+\.json:")


@dataclass(frozen=True)
class Ready:
    """A tool with its arguments, checked, and not yet run.

    Attributes:
        tool: Which.
        arguments: By name.
        price: Credits that it says it will take; None if it does not say.
    """

    tool: Tool
    arguments: Mapping[str, Any]
    price: float | None


def read_line(line: str, subject: ToolSubject, folder: Path, seed: int = 0) -> Ready:
    """What a line asks for.

    Args:
        line: A tool's name and its arguments, as behind `audit-game tool`.
        subject: What it is run on.
        folder: Where results were kept; `spike.json:read[0]` is a part of one.
        seed: Of prompts that are drawn.

    Raises:
        MenuError: No such tool.
        WordsError: Words that fit nothing.
        AccessError: The model's own answers are needed, and it may not be asked.
        BudgetExceededError: These answers and the tool cost more than what is left; nothing was charged.
    """
    try:
        name, *parts = shlex.split(line)
    except ValueError as error:
        raise WordsError(f"got {quoted(line)}: {error}") from error
    tool = load_tool(name)
    if tool.unreadable:
        raise WordsError(f"{name} is for programs only; its {', '.join(tool.unreadable)} has no words")
    words = _words(tool, [str(folder / part) if _SAVED.match(part) else part for part in parts])
    if subject.metered:
        quote(tool, words, subject, seed).check(subject.box.budget)
    found = given(tool, words, subject, seed)
    return Ready(tool, found.arguments, price(tool, subject.box.config, found.arguments, found.tokens))


def run_ready(ready: Ready, subject: ToolSubject, folder: Path) -> ToolResult:
    """What the tool finds; kept in the folder under the tool's name, for the lines that follow.

    Raises:
        AccessError, BudgetExceededError, RequestError: The call is refused; nothing was charged.
    """
    Quote(ready.price, answers=0.0).check(subject.box.budget)
    result = ready.tool.function(subject.box, **ready.arguments)
    kept = json.dumps(result.to_dict(), allow_nan=False)
    (folder / f"{ready.tool.name}.json").write_text(kept, encoding="utf-8")
    return result


def _words(tool: Tool, parts: Sequence[str]) -> dict[str, list[str]]:
    """The words behind each argument's flag."""
    flags = {parameter.flag: parameter for parameter in tool.parameters if parameter.form != "unreadable"}
    switches = {f"--no-{p.name.replace('_', '-')}": p for p in flags.values() if p.form == "bool"}
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for part in parts:
        if part.startswith("--"):
            parameter = flags.get(part) or switches.get(part)
            if parameter is None:
                raise WordsError(unknown(f"argument of {tool.name}", part, [*flags, *switches]))
            current = found.setdefault(parameter.name, [])
            if parameter.form == "bool":
                current.append("no" if part in switches else "yes")
                current = None
        elif current is None:
            raise WordsError(f"got {quoted(part)}; wanted an argument of {tool.name}, such as {_some(flags)}")
        else:
            current.append(part)
    for name, words in found.items():
        if not words:
            raise WordsError(f"--{name.replace('_', '-')}: got nothing behind it")
    return found


def _some(flags: Mapping[str, object]) -> str:
    return next(iter(flags), "none: it takes no argument")
