"""Views: how arrays are to be drawn, as data. A tool says what is shown; each medium draws all tools alike.

| kind | axes | what is drawn |
|---|---|---|
| `heatmap` | `[..., row, column]`, or one | a cell for each number; `words` are written into the cells |
| `tokens` | `[..., prompt, pos]`, or `[pos]` | the prompts, each token shaded by its number; wants `words` |
| `attention` | `[..., query, key]` | from where to where is looked; tokens as the labels of both axes |
| `bars` | `[..., series, bar]`, or `[bar]` | a bar for each number |
| `lines` | `[..., series, point]`, or `[point]` | a line for each series, over `x` if it is given |
| `scatter` | `[series, point]`, or `[point]` | a point at (`x`, data); wants `x` |
| `table` | `[row, column]`, or `[row]` | numbers; with one axis, `columns` are further arrays |
| `graph` | `[source, target]` | an arrow for each number that is neither 0 nor NaN |
| `text` | `[sentence]` | the axis's labels as sentences, each with its number |
| `compare` | `[panel, ..., row, column]` | heatmaps side by side, on one scale |

Of an array with more axes than a medium can show, slices of the leading axes are shown, each with its name.
A tool has no vocabulary. It gives token ids, as an axis's `tokens` or as an array under `words`; whoever
draws for a task that is known puts words in their place, and `#17` otherwise.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal, NotRequired, TypedDict

ViewKind = Literal[
    "heatmap", "tokens", "attention", "bars", "lines", "scatter", "table", "graph", "text", "compare"
]
Link = Literal["prompt", "pos", "layer", "head", "neuron", "component", "token"]
Shape = tuple[int, ...]

AXES: Mapping[ViewKind, tuple[int, int | None]] = {  # at least, at most
    "heatmap": (1, None),
    "tokens": (1, None),
    "attention": (2, None),
    "bars": (1, None),
    "lines": (1, None),
    "scatter": (1, 2),
    "table": (1, 2),
    "graph": (2, 2),
    "text": (1, 1),
    "compare": (2, None),
}
WANTED: Mapping[ViewKind, str] = {"tokens": "words", "scatter": "x"}


class Axis(TypedDict):
    """One axis of a view: its name, and for each entry either a label or the id of a token."""

    name: str
    labels: NotRequired[Sequence[str]]
    tokens: NotRequired[Sequence[int]]


class View(TypedDict):
    """How to draw one array. What names arrays wants them of the shape of `axes`, unless told otherwise.

    Attributes:
        kind: One of the table above.
        axes: Of the data, in its order.
        data: Name of the array that is drawn. NaN is drawn as nothing.
        title: Of the picture; by default the array's name.
        unit: Of the data, such as `nats`.
        words: Name of an array of token ids.
        tooltip: Name of an array that is told beside the data.
        columns: Of a `table` with one axis: names of further arrays.
        x: Name of an array of places along the last axis; of `lines` it may have that one axis alone.
        interval: Names of two arrays, the ends of an error bar.
        null: Names of two arrays, the ends of the null band; each may also be a single number.
        diverging: Whether to colour around zero.
        range: Ends of the scale; by default the data's.
        link: Which cursor each axis follows, from the first on; None follows none.
    """

    kind: ViewKind
    axes: Sequence[Axis]
    data: str
    title: NotRequired[str]
    unit: NotRequired[str]
    words: NotRequired[str]
    tooltip: NotRequired[str]
    columns: NotRequired[Sequence[str]]
    x: NotRequired[str]
    interval: NotRequired[tuple[str, str]]
    null: NotRequired[tuple[str, str]]
    diverging: NotRequired[bool]
    range: NotRequired[tuple[float, float]]
    link: NotRequired[Sequence[Link | None]]


def numbered(name: str, size: int, first: int = 0) -> Axis:
    """An axis whose entries are called by their number."""
    return Axis(name=name, labels=[str(first + index) for index in range(size)])


def axis_size(axis: Axis) -> int:
    """How many entries an axis has."""
    return len(axis["tokens"] if "tokens" in axis else axis["labels"])


def view_faults(view: View, shapes: Mapping[str, Shape], whole: Collection[str]) -> Iterator[str]:
    """Everything in which a view does not fit the arrays.

    Args:
        view: The view.
        shapes: Of the arrays, by name.
        whole: Names of the arrays that hold whole numbers.
    """
    kind = view["kind"]
    if kind not in AXES:
        yield f'kind: got "{kind}"; allowed: {", ".join(AXES)}'
        return
    if strange := sorted(set(view) - View.__annotations__.keys()):
        yield f"unknown key {strange[0]}; allowed: {', '.join(View.__annotations__)}"
    if unlabelled := [axis["name"] for axis in view["axes"] if ("labels" in axis) == ("tokens" in axis)]:
        yield f"axis {unlabelled[0]}: wanted either labels or tokens"
        return
    yield from _axis_faults(view)
    yield from _array_faults(view, shapes)
    if "words" in view and view["words"] in shapes and view["words"] not in whole:
        yield f'words: "{view["words"]}" does not hold token ids, which are whole numbers'
    if "range" in view and not view["range"][0] < view["range"][1]:
        yield f"range: got {view['range']}, wanted the lower end first"


def _axis_faults(view: View) -> Iterator[str]:
    kind, count = view["kind"], len(view["axes"])
    least, most = AXES[kind]
    if not least <= count <= (most or count):
        wanted = f"{least}" if least == most else f"from {least}" + (f" to {most}" if most else "")
        yield f"axes: a {kind} has {wanted}, got {count}"
    if kind in WANTED and WANTED[kind] not in view:
        yield f"{WANTED[kind]}: missing, and {kind} wants it"
    if "columns" in view and (kind, count) != ("table", 1):
        yield "columns: only a table with one axis has them"
    if len(view.get("link", ())) > count:
        yield f"link: got {len(view['link'])} cursors for {count} axes"


def _array_faults(view: View, shapes: Mapping[str, Shape]) -> Iterator[str]:
    wanted = tuple(axis_size(axis) for axis in view["axes"])
    for key, name in _named(view):
        allowed = {wanted}
        if key == "null":
            allowed.add(())
        if key == "x" and view["kind"] == "lines":
            allowed.add(wanted[-1:])
        if name not in shapes:
            yield f'{key}: "{name}" is not among the arrays: {", ".join(shapes)}'
        elif shapes[name] not in allowed:
            yield f'{key}: "{name}" has shape {shapes[name]}, its view has axes of {wanted}'


def _named(view: View) -> Iterator[tuple[str, str]]:
    """Every name of an array in a view, with the key under which it stands."""
    yield "data", view["data"]
    for key, name in (("words", view.get("words")), ("tooltip", view.get("tooltip")), ("x", view.get("x"))):
        if name is not None:
            yield key, name
    for key, names in (("columns", view.get("columns", ())), ("interval", view.get("interval", ()))):
        yield from ((key, name) for name in names)
    yield from (("null", name) for name in view.get("null", ()))
