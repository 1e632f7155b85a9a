"""Views: how arrays are to be drawn, as data. A tool says what is shown; each medium draws all tools alike.

| kind | axes | what is drawn |
|---|---|---|
| `heatmap` | `[..., row, column]`, or one | a cell for each number; `words` are written into the cells |
| `tokens` | `[..., prompt, pos]`, or `[pos]` | the prompts, each token shaded by its number; wants `words` |
| `attention` | `[..., query, key]` | from where to where is looked; tokens as the labels of both axes |
| `bars` | `[..., series, bar]`, or `[bar]` | a bar for each number |
| `lines` | `[..., series, point]`, or `[point]` | a line for each series, over `x` if it is given |
| `scatter` | `[..., series, point]`, or `[point]` | a point at (`x`, data); wants `x` |
| `table` | `[row, column]`, or `[row]` | numbers; with one axis, `columns` are further arrays |
| `graph` | `[source, target]` | an arrow for each number that is neither 0 nor NaN |
| `text` | `[sentence]` | the axis's labels as sentences, each with its number |
| `compare` | `[panel, ..., row, column]` | heatmaps side by side, on one scale |

Of an array with more axes than these, slices are shown, each with its name: of the leading axes, or of those
that the view names under `slices`.
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
    "scatter": (1, None),
    "table": (1, 2),
    "graph": (2, 2),
    "text": (1, 1),
    "compare": (2, None),
}
DRAWN: Mapping[ViewKind, int] = dict.fromkeys(AXES, 2) | {"compare": 3}  # at most, in one picture
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
        words: Name of an array of token ids, -1 for none; they are written into the picture.
        tooltip: Name of an array that is told beside the data.
        tokens: Names of those of the data, tooltip and columns whose numbers are token ids.
        columns: Of a `table` with one axis: names of further arrays.
        slices: Names of the axes of which each entry is a picture of its own; by default those before the
            last two, and of `compare` none but those between the first and the last two.
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
    tokens: NotRequired[Sequence[str]]
    columns: NotRequired[Sequence[str]]
    slices: NotRequired[Sequence[str]]
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
    for key, name in _tokens_named(view):
        if name in shapes and name not in whole:
            yield f'{key}: "{name}" does not hold token ids, which are whole numbers'
    if "range" in view and not view["range"][0] < view["range"][1]:
        yield f"range: got {view['range']}, wanted the lower end first"


def _axis_faults(view: View) -> Iterator[str]:
    kind, count = view["kind"], len(view["axes"])
    least, most = AXES[kind]
    if not least <= count <= (most or count):
        wanted = f"{least}" if least == most else f"from {least}" + (f" to {most}" if most else "")
        yield f"axes: a {kind} has {wanted}, got {count}"
    names = [axis["name"] for axis in view["axes"]]
    shown = {view["data"], view.get("tooltip"), *view.get("columns", ())}
    if strange := [name for name in view.get("tokens", ()) if name not in shown]:
        yield f'tokens: "{strange[0]}" is neither data nor tooltip nor a column'
    if len(set(names)) < count:
        yield f"axes: wanted names of their own, got {', '.join(names)}"
    if strange := [name for name in view.get("slices", ()) if name not in names]:
        yield f"slices: no axis is called {strange[0]}; allowed: {', '.join(names)}"
    left = count - len(view.get("slices", names[: max(count - DRAWN[kind], 0)]))
    if not least <= left <= DRAWN[kind]:
        yield f"slices: {left} axes are left to draw, a {kind} wants {least} to {DRAWN[kind]}"
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


def _tokens_named(view: View) -> Iterator[tuple[str, str]]:
    if "words" in view:
        yield "words", view["words"]
    yield from (("tokens", name) for name in view.get("tokens", ()))


def _named(view: View) -> Iterator[tuple[str, str]]:
    """Every name of an array in a view, with the key under which it stands."""
    yield "data", view["data"]
    for key, name in (("words", view.get("words")), ("tooltip", view.get("tooltip")), ("x", view.get("x"))):
        if name is not None:
            yield key, name
    for key, names in (("columns", view.get("columns", ())), ("interval", view.get("interval", ()))):
        yield from ((key, name) for name in names)
    yield from (("null", name) for name in view.get("null", ()))
