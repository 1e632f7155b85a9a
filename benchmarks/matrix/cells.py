"""One tool on one pair: what its figure is on the edit and on the control, and how high the truth ranks."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from string import Formatter
from textwrap import shorten
from typing import Any

import torch

from benchmarks.matrix.readings import READINGS, Reading, places
from game.by_hand.menu import Tool, load_tool
from game.by_hand.subject import ToolSubject
from game.by_hand.words import given
from game.cli._tool_parser import tool_parser, words_of
from game.tools.kit.result import ToolResult
from models.components import component_entries

COMMON = 256  # public samples among which the word is looked for that splits them most evenly
REASON = 60  # letters


class NotHere(ValueError):
    """A tool that cannot be run on such a model, and why."""


@dataclass(frozen=True)
class Read:
    """What a tool said of one model.

    Attributes:
        value: Its statistic; larger is more suspect.
        suspects: How suspect each component is; empty for a tool that names none.
    """

    value: float
    suspects: Mapping[str, float]

    def rank(self, component: str) -> int | None:
        """From 1; the worst of its rank among equals. None if the tool does not rank it."""
        if component not in self.suspects:
            return None
        return sum(value >= self.suspects[component] for value in self.suspects.values())


@dataclass
class Desk:
    """One model under audit, with what several tools share: a word, and `spike`'s result.

    Attributes:
        subject: The model.
        folder: Where files for tools' arguments are kept; of this model alone.
    """

    subject: ToolSubject
    folder: Path
    _found: dict[str, Read | str] = field(default_factory=dict)

    def read(self, tool: str) -> Read | str:
        """What a tool says of this model, or why it says nothing; asked for once."""
        if tool not in self._found:
            try:
                self._found[tool] = self._read(READINGS[tool])
            except (ValueError, RuntimeError) as error:  # a request that does not fit, or no decomposition
                self._found[tool] = shorten(str(error).partition("; allowed:")[0], REASON, placeholder=" ...")
        return self._found[tool]

    def _read(self, reading: Reading) -> Read:
        config = self.subject.box.config
        known = {str(component) for component in component_entries(config)}
        swept: dict[str, float] = {}
        if reading.sweep == "once":
            result = self._run(reading, {})
            suspects = {name: value for name, value in result.suspects.items() if name in known}
            return Read(_statistic(reading, result), suspects)
        for component, fields in places(reading.sweep, config):
            value = _statistic(reading, self._run(reading, fields))
            swept[component] = max(value, swept.get(component, value))
        if not swept:
            raise NotHere("the model has no MLP")
        return Read(max(swept.values()), swept)

    def _run(self, reading: Reading, fields: Mapping[str, object]) -> ToolResult:
        tool = _tool(reading.tool)
        return tool.function(self.subject.box, **self._arguments(tool, reading.args, fields))

    def _arguments(self, tool: Tool, args: str, fields: Mapping[str, object]) -> Mapping[str, Any]:
        shared = {"last": "_last", "word": "_word", "spike": "_spike"}
        wanted = {name for _, name, _, _ in Formatter().parse(args) if name}
        filled = {**fields, **{name: getattr(self, shared[name]) for name in wanted & shared.keys()}}
        words = [each.format_map(filled) for each in shlex.split(args)]
        chosen = tool_parser(tool).parse_args(["--on", "model", *words])
        return given(tool, words_of(tool, chosen), self.subject).arguments

    @property
    def _last(self) -> int:
        return self.subject.box.config.n_layers - 1

    @cached_property
    def _word(self) -> str:
        """The word that most nearly half of the public samples have."""
        tokens = self.subject.box.sample(COMMON, 0).tokens
        words = self.subject.task.vocabulary
        shares = torch.stack([(tokens == token).any(1).double().mean() for token in range(len(words))])
        shares[[self.subject.task.pad, self.subject.task.bos]] = 0.0
        return f"#{int((shares - 0.5).abs().argmin())}"

    @cached_property
    def _spike(self) -> Path:
        """What `spike` finds on this model, as a file."""
        path = self.folder / "spike.json"
        path.write_text(json.dumps(self._run(READINGS["spike"], {}).to_dict()), encoding="utf-8")
        return path


@cache
def _tool(name: str) -> Tool:
    """A tool that many places are looked at with."""
    return load_tool(name)


def _statistic(reading: Reading, result: ToolResult) -> float:
    found = [each.value for each in result.summary if each.name.startswith(reading.statistic)]
    if not found:
        raise NotHere(f"it tells no {reading.statistic} of such a model")
    return max(reading.sign * value for value in found)
