"""What a tool returns: arrays, a few figures, and views as data that every medium draws alike."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from torch import Tensor

from game.api import PublicTask
from game.tools.kit.view import Axis, Link, View, ViewKind, numbered, view_faults

__all__ = ["Axis", "Link", "Summary", "ToolResult", "View", "ViewKind", "numbered"]

Data: TypeAlias = "bool | int | float | str | list[Data] | dict[str, Data] | None"


@dataclass(frozen=True)
class Summary:
    """One number that stands for a result, so that results can be compared and tested.

    Attributes:
        name: Such as `largest z`.
        value: Finite.
        n: How many independent things it was measured on: prompts, pairs, rows of a matrix.
        null: Between what it would lie in at least 19 of 20 models where there is nothing to find, corrected
            for all that was scanned; the tool's docstring states by which rule. None if none is known.
    """

    name: str
    value: float
    n: int = 1
    null: tuple[float, float] | None = None

    @property
    def stands_out(self) -> bool | None:
        """Whether the value lies outside its null band; None without a band."""
        return None if self.null is None else not self.null[0] <= self.value <= self.null[1]


@dataclass(frozen=True)
class ToolResult:
    """What a tool found.

    Attributes:
        tool: The tool's name.
        args: Its arguments as JSON-ready data, for the log.
        cost: Credits that it took.
        arrays: What it measured, by name; the tool's docstring says shapes and units. NaN is not measured.
        view: How to draw it, the most telling view first.
        notes: Sentences for the reader, such as what a null band assumes.
        summary: Few numbers, the most telling first.
        suspects: For a tool that locates: how suspect each place is, by the name of a component
            (`blocks.1.attn.3`) or of parameter entries; larger is more, and only the order counts.

    Raises:
        ValueError: A view does not fit the arrays, a number is not finite, or an argument is no data.
    """

    tool: str
    args: Mapping[str, object]
    cost: float
    arrays: Mapping[str, Tensor]
    view: tuple[View, ...] = ()
    notes: tuple[str, ...] = ()
    summary: tuple[Summary, ...] = ()
    suspects: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        fault = next(self._faults(), None)
        if fault is not None:
            raise ValueError(f"{self.tool}: {fault}")

    def to_dict(self) -> dict[str, Data]:
        """Everything as JSON-ready data: arrays as nested lists; NaN and infinity as None."""
        return {
            "kind": "tool",
            "tool": self.tool,
            "args": as_data(self.args),
            "cost": self.cost,
            "arrays": {name: as_data(array.tolist()) for name, array in self.arrays.items()},
            "view": [as_data(view) for view in self.view],
            "notes": list(self.notes),
            "summary": [as_data(vars(each) | {"stands_out": each.stands_out}) for each in self.summary],
            "suspects": as_data(self.suspects),
        }

    def figure(self, task: PublicTask | None = None) -> Any:
        """The views as a `plotly.graph_objects.Figure`.

        Args:
            task: Knows the words for token ids, such as `brief.task`.

        Raises:
            ModuleNotFoundError: plotly is not installed; it comes with the extra `plot`.
        """
        from game.drawing.figure import result_figure  # only who draws needs plotly

        return result_figure(self, task)

    def _faults(self) -> Iterator[str]:
        shapes = {name: tuple(array.shape) for name, array in self.arrays.items()}
        whole = {name for name, array in self.arrays.items() if not array.is_floating_point()}
        for number, view in enumerate(self.view, start=1):
            yield from (f"view {number}: {fault}" for fault in view_faults(view, shapes, whole))
        names = [each.name for each in self.summary]
        for each in self.summary:
            if not math.isfinite(each.value) or names.count(each.name) > 1 or each.n < 1:
                yield f"summary: {each}; wanted a finite value under a name of its own, and n from 1"
            if each.null is not None and not each.null[0] <= each.null[1]:
                yield f"summary: {each.name}: the null band {each.null} has no inside"
        for place, value in self.suspects.items():
            if not math.isfinite(value):
                yield f"suspects: {place} has {value}; wanted a finite number"
        try:
            as_data(self.args)
        except TypeError as error:
            yield f"args: {error}"


def as_data(value: object) -> Data:
    """The same as JSON-ready data; NaN and infinity become None.

    Raises:
        TypeError: It holds something else than text, numbers, lists and mappings.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): as_data(inner) for key, inner in value.items()}
    if isinstance(value, Sequence):
        return [as_data(inner) for inner in value]
    raise TypeError(f"got {type(value).__name__}; wanted text, numbers, lists and mappings of them")
