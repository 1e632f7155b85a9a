"""What a tool returns: arrays, and views of them as data that a terminal and a page draw alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NotRequired, TypedDict

from torch import Tensor

ViewKind = Literal[
    "heatmap", "tokens", "attention", "bars", "lines", "scatter", "table", "graph", "text", "compare"
]
Link = Literal["prompt", "pos", "layer", "head", "neuron"]


class Axis(TypedDict):
    """One axis of a view: its name, and a label for each entry."""

    name: str
    labels: Sequence[str]


class View(TypedDict):
    """How to draw one array.

    `data` and `tooltip` are keys of the result's arrays and have one axis each for `axes`; `diverging`
    colours around zero, `range` fixes the ends of the scale, and `link` says which cursors the axes follow.
    """

    kind: ViewKind
    axes: Sequence[Axis]
    data: str
    tooltip: NotRequired[str]
    diverging: NotRequired[bool]
    range: NotRequired[tuple[float, float]]
    link: NotRequired[Sequence[Link]]


@dataclass(frozen=True)
class ToolResult:
    """What a tool found.

    Attributes:
        tool: The tool's name.
        args: Its arguments in words or numbers, for the log.
        cost: Credits that it took.
        arrays: What it measured, by name; the tool's docstring says shapes and units.
        view: How to draw it.
        notes: Sentences for the reader, such as a null band.

    Raises:
        ValueError: A view names no array, or its axes do not fit the array's shape.
    """

    tool: str
    args: Mapping[str, object]
    cost: float
    arrays: Mapping[str, Tensor]
    view: tuple[View, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for view in self.view:
            wanted = tuple(len(axis["labels"]) for axis in view["axes"])
            for key in (view["data"], view.get("tooltip", view["data"])):
                if key not in self.arrays:
                    raise ValueError(f'{self.tool}: a view shows "{key}", which is not among the arrays')
                if (got := tuple(self.arrays[key].shape)) != wanted:
                    raise ValueError(f'{self.tool}: "{key}" has shape {got}, its view has axes of {wanted}')
