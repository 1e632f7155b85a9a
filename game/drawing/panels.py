"""What every medium needs to draw a tool's result: slices, words in the place of token ids, one scale."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from game.api import PublicTask
from game.tools.kit.result import ToolResult, View, ViewKind
from game.tools.kit.view import Axis

Numbers: TypeAlias = NDArray[np.float64]
Cells: TypeAlias = list[list[str]]

NO_WORD = "·"  # padding, or -1
_TOKEN = re.compile(r"#(\d+)")  # in a sentence


@dataclass(frozen=True)
class Scale:
    """From which number to which colours or bars run; a diverging one has zero in the middle."""

    low: float
    high: float
    diverging: bool

    def share(self, value: float) -> float:
        """Where a number lies, from 0 at the low end to 1 at the high one."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)


@dataclass(frozen=True)
class Labelled:
    """One axis of a panel, its labels as text."""

    name: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Panel:
    """One picture: a slice of a view with at most two axes, a single axis as one row.

    Attributes:
        name: Of the slice, such as `layer 2, prompt 0`; empty if there is only one.
        rows: None if the slice has one axis.
        columns: Its other axis.
        values: `[row, column]`; NaN is drawn as nothing.
        words: Text for each cell, where the view has some.
        told: Further text for each cell, by the name of its array: the tooltip, or a table's columns.
        x: Places along the columns, where the view has some.
        interval: Ends of the error bars.
        null: Ends of the null band.
    """

    name: str
    rows: Labelled | None
    columns: Labelled
    values: Numbers
    words: Cells | None = None
    told: Mapping[str, Cells] = field(default_factory=dict)
    x: Numbers | None = None
    interval: tuple[Numbers, Numbers] | None = None
    null: tuple[Numbers, Numbers] | None = None

    @property
    def row_labels(self) -> tuple[str, ...]:
        return self.rows.labels if self.rows else ("",)

    @property
    def outside(self) -> NDArray[np.bool_]:
        """Which numbers lie outside their null band."""
        if self.null is None:
            return np.zeros(self.values.shape, dtype=bool)
        return (self.values < self.null[0]) | (self.values > self.null[1])


@dataclass(frozen=True)
class Drawing:
    """A view with everything that drawing needs; its panels share the scale.

    Attributes:
        kind: The view's.
        title: The view's, or the array's name.
        unit: Of the data; may be empty.
        along: What a scatter's places along the bottom are; may be empty.
        scale: Of all panels.
        panels: At most as many as were asked for.
        left_out: How many further panels there are.
    """

    kind: ViewKind
    title: str
    unit: str
    along: str
    scale: Scale
    panels: tuple[Panel, ...]
    left_out: int

    @property
    def measure(self) -> str:
        """The title with its unit."""
        return f"{self.title} [{self.unit}]" if self.unit else self.title


def drawing(result: ToolResult, view: View, task: PublicTask | None = None, most: int = 12) -> Drawing:
    """A view of a result, ready to be drawn.

    Args:
        result: What the tool found.
        view: One of its views.
        task: Knows the words for token ids; without it they are written `#17`.
        most: Panels wanted.
    """
    cut = _cut(view)
    places = [range(len(_labels(axis, task))) if sliced else [None] for axis, sliced in _with(view, cut)]
    indices: list[tuple[int | None, ...]] = list(product(*places))
    ends = _ends(view)
    values = np.concatenate([_numbers(result, key).ravel() for key in (view["data"], *ends)])
    return Drawing(
        kind=view["kind"],
        title=view.get("title", view["data"].replace("_", " ")),
        unit=view.get("unit", ""),
        along=view.get("x", "").replace("_", " "),
        scale=_scale(values, view),
        panels=tuple(_panel(result, view, index, task) for index in indices[:most]),
        left_out=max(len(indices) - most, 0),
    )


def _ends(view: View) -> tuple[str, ...]:
    """Arrays that have to lie within the scale beside the data: ends of error bars and of null bands."""
    kind = view["kind"]
    intervals = view.get("interval", ()) if kind in ("bars", "lines", "scatter") else ()
    return (*intervals, *(view.get("null", ()) if kind in ("bars", "lines") else ()))


def number(value: float) -> str:
    """Three significant digits; empty for what was not measured."""
    if math.isnan(value):
        return ""
    value += 0.0  # no minus before a zero
    return f"{value:.0f}" if value == round(value) and abs(value) < 1e5 else f"{value:.3g}"


def word(token: int, task: PublicTask | None) -> str:
    """A token as text."""
    if token < 0 or (task is not None and token == task.pad):
        return NO_WORD
    return f"#{token}" if task is None else task.vocabulary[token]


def spoken(words: Sequence[str]) -> Sequence[str]:
    """A prompt's words without the padding at its end."""
    return words[: max((place + 1 for place, text in enumerate(words) if text != NO_WORD), default=0)]


def strongest(values: Numbers, most: int) -> list[tuple[int, int]]:
    """Rows and columns of the numbers furthest from zero, at most so many; no zeros."""
    sizes = np.nan_to_num(np.abs(values))
    order = np.argsort(-sizes, axis=None, kind="stable")[:most]
    places = zip(*np.unravel_index(order, values.shape), strict=True)
    return [(int(row), int(column)) for row, column in places if sizes[row, column] > 0]


def _cut(view: View) -> set[str]:
    """Names of the axes of which each entry is a panel."""
    names = [axis["name"] for axis in view["axes"]]
    if view["kind"] == "compare":
        return {names[0], *view.get("slices", names[1:-2])}
    return set(view.get("slices", names[:-2]))


def _with(view: View, cut: set[str]) -> Iterator[tuple[Axis, bool]]:
    return ((axis, axis["name"] in cut) for axis in view["axes"])


def _panel(result: ToolResult, view: View, index: tuple[int | None, ...], task: PublicTask | None) -> Panel:
    chosen = tuple(slice(None) if place is None else place for place in index)
    axes = list(zip(view["axes"], index, strict=True))
    left = [Labelled(axis["name"], _labels(axis, task)) for axis, place in axes if place is None]
    name = ", ".join(
        _entry(axis["name"], _labels(axis, task)[place]) for axis, place in axes if place is not None
    )
    values = _numbers(result, view["data"])
    told = ([view["tooltip"]] if "tooltip" in view else []) + list(view.get("columns", ()))
    if view["data"] in view.get("tokens", ()):
        told = [view["data"], *told]

    def picked(key: str) -> Numbers:
        array = _numbers(result, key)
        return np.atleast_2d(np.broadcast_to(array, values.shape)[chosen])

    return Panel(
        name=name,
        rows=left[0] if len(left) == 2 else None,
        columns=left[-1],
        values=picked(view["data"]),
        words=_words(picked(view["words"]), task) if "words" in view else None,
        told={
            key: _words(picked(key), task) if key in view.get("tokens", ()) else _texts(picked(key))
            for key in told
        },
        x=picked(view["x"]) if "x" in view else None,
        interval=(picked(view["interval"][0]), picked(view["interval"][1])) if "interval" in view else None,
        null=(picked(view["null"][0]), picked(view["null"][1])) if "null" in view else None,
    )


def _entry(axis: str, label: str) -> str:
    """`layer 2`, or the label alone where it says so itself."""
    return label if label.startswith(axis) else f"{axis} {label}"


def _labels(axis: Axis, task: PublicTask | None) -> tuple[str, ...]:
    if "tokens" in axis:
        return tuple(word(token, task) for token in axis["tokens"])
    return tuple(_TOKEN.sub(lambda found: word(int(found[1]), task), label) for label in axis["labels"])


def _numbers(result: ToolResult, key: str) -> Numbers:
    return np.asarray(result.arrays[key].detach().double().numpy())


def _words(tokens: Numbers, task: PublicTask | None) -> Cells:
    return [[word(int(token), task) for token in row] for row in tokens]


def _texts(values: Numbers) -> Cells:
    return [[number(float(value)) for value in row] for row in values]


def _scale(values: Numbers, view: View) -> Scale:
    """From the least to the largest number; of a diverging view as far to both sides."""
    diverging = view.get("diverging", False)
    if "range" in view:
        return Scale(*view["range"], diverging)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if view["kind"] == "bars":
        low, high = min(low, 0.0), max(high, 0.0)
    if diverging:
        high = max(abs(low), abs(high))
        low = -high
    return Scale(low, high if high > low else low + 1.0, diverging)
