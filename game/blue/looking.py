"""Running a tool on a case by hand: first its price, then the tool; what it found is kept for later lines."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from game.blue.play import Play
from game.by_hand.menu import Tool
from game.by_hand.quote import Quote, quote
from game.by_hand.words import given
from game.tools.kit.result import ToolResult

Words = Mapping[str, Sequence[str]]
_KEPT = re.compile(r"\w+\.json:")
_FILE = re.compile(r"(.+\.json):")


def quoted(play: Play, tool: Tool, words: Words, draw: int) -> Quote:
    """What a tool costs with these words; nothing, if just that was run before.

    Raises:
        WordsError: Words that do not fit.
        AccessError: The report is in.
    """
    found = quote(tool, _placed(play, words), play.subject, draw)
    return Quote(0.0, 0.0) if _line(play, tool, words, draw) in _run_before(play) else found


def look(play: Play, tool: Tool, words: Words, draw: int) -> ToolResult:
    """What a tool finds; its result is kept under the tool's name.

    Raises:
        WordsError: Words that do not fit.
        AccessError, RequestError: The model refuses.
        BudgetExceededError: It costs more than what is left. Nothing was charged in any of these cases.
    """
    budget = play.subject.box.budget
    quoted(play, tool, words, draw).check(budget)
    line = _line(play, tool, words, draw)  # before the result takes the place of one that it was made from
    found = given(tool, _placed(play, words), play.subject, draw)
    result = tool.function(play.subject.box, **found.arguments)
    kept = json.dumps(result.to_dict(), allow_nan=False)
    (play.results / f"{tool.name}.json").write_text(kept, encoding="utf-8")
    charged = play.subject.box.budget.spent - budget.spent
    play.journal.add("tool", line | {"charged": charged})
    return result


def _line(play: Play, tool: Tool, words: Words, draw: int) -> dict[str, Any]:
    """What was typed, and the hashes of the files that it names: words mean what is in them."""
    typed = {"tool": tool.name, "words": {name: list(each) for name, each in words.items()}, "draw": draw}
    placed = [word for each in _placed(play, words).values() for word in each]
    files = [Path(match[1]) for word in placed if (match := _FILE.match(word))]
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()]
    return typed | ({"files": hashes} if hashes else {})


def _run_before(play: Play) -> list[dict[str, Any]]:
    return [{k: v for k, v in body.items() if k != "charged"} for body in play.journal.bodies("tool")]


def _placed(play: Play, words: Words) -> dict[str, list[str]]:
    """The words with results that were kept, such as `spike.json:read[0]`, where they are."""
    return {
        name: [f"{play.results}/{word}" if _KEPT.match(word) else word for word in each]
        for name, each in words.items()
    }
