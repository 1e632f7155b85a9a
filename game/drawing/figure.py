"""A tool's result as a plotly figure, for notebooks and the page; each kind of view is drawn once."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from game.api import PublicTask
from game.drawing.colours import BAND, NULL, SERIES, colours
from game.drawing.panels import (
    Cells,
    Drawing,
    Labelled,
    Numbers,
    Panel,
    Scale,
    drawing,
    number,
    strongest,
)
from game.tools.kit.result import ToolResult, View

PANELS = 24  # of one view
TABLES = ("table", "text")  # the other kinds have two axes
GAP, LETTER = 95, 5  # pixels between panels, and for each letter of labels that are turned
EDGES = 200  # lines of a graph, the strongest
LINE = 110  # letters of labels beside each other
TICKS = 40  # labels on one axis; of more only some are written

Traces = Iterator[Any]  # plotly has no types


def result_figure(
    result: ToolResult, task: PublicTask | None = None, views: Sequence[View] | None = None
) -> Any:
    """The result's views below each other as `plotly.graph_objects.Figure`, numbers under the pointer.

    Args:
        result: What a tool found.
        task: Knows the words for token ids.
        views: Which of the result's views; by default all.
    """
    drawings = [drawing(result, view, task, PANELS) for view in (result.view if views is None else views)]
    panels = [(drawn, panel) for drawn in drawings for panel in drawn.panels]
    heights = [_height(drawn, panel) for drawn, panel in panels]
    gap = GAP + LETTER * max((_turned(panel.columns) for drawn, panel in panels), default=0)
    whole = sum(heights) + gap * len(heights)
    figure = go.Figure()
    if panels:
        figure = make_subplots(
            rows=len(panels),
            cols=1,
            specs=[[{"type": "table" if drawn.kind in TABLES else "xy"}] for drawn, _ in panels],
            row_heights=heights,
            vertical_spacing=gap / whole if len(panels) > 1 else 0,
            subplot_titles=[", ".join(filter(None, (drawn.measure, panel.name))) for drawn, panel in panels],
        )
    for row, (drawn, panel) in enumerate(panels, start=1):
        figure.add_traces(list(_DRAW[drawn.kind](panel, drawn)), rows=row, cols=1)
        if drawn.kind not in TABLES:
            _label_axes(figure, panel, drawn, row)
    title = f"{result.tool}, {result.cost:.4g} credits"
    figure.update_layout(height=whole + 120, title=title, showlegend=False, template="plotly_white")
    return figure


def _height(drawn: Drawing, panel: Panel) -> float:
    """Pixels."""
    rows = len(panel.values) if panel.rows else 1
    if drawn.kind == "graph":
        return 40.0 + 15.0 * max(len(panel.row_labels), len(panel.columns.labels))
    if drawn.kind in TABLES:
        return 40.0 + 22 * min(rows if panel.rows else panel.values.size, 30)
    return min(60.0 + 24 * rows, 500) if drawn.kind in _COLOURED else 260.0


def _cells(panel: Panel, drawn: Drawing) -> Traces:
    scale = drawn.scale
    yield go.Heatmap(
        z=panel.values,
        zmin=scale.low,
        zmax=scale.high,
        colorscale=_colour_scale(scale),
        showscale=False,
        text=panel.words,
        texttemplate="%{text}" if panel.words is not None else None,
        hovertext=_hover(panel, drawn),
        hoverinfo="text",
        xgap=1,
        ygap=1,
    )


def _bars(panel: Panel, drawn: Drawing) -> Traces:
    places = np.arange(panel.values.shape[1], dtype=float)
    yield from _null_band(panel, np.stack([places - 0.5, places + 0.5], 1).ravel(), 2)
    for row, texts in enumerate(_hover(panel, drawn)):
        errors = _errors(panel, row)
        shade = SERIES[row % len(SERIES)]
        yield go.Bar(
            x=places,
            y=panel.values[row],
            error_y=errors,
            marker_color=shade,
            hovertext=texts,
            hoverinfo="text",
        )


def _lines(panel: Panel, drawn: Drawing) -> Traces:
    at = (
        np.broadcast_to(np.arange(panel.values.shape[1], dtype=float), panel.values.shape)
        if panel.x is None
        else panel.x
    )
    yield from _null_band(panel, at[0], 1)
    for row, texts in enumerate(_hover(panel, drawn)):
        yield _points(panel, row, at[row], texts, "lines")


def _scatter(panel: Panel, drawn: Drawing) -> Traces:
    assert panel.x is not None
    for row, texts in enumerate(_hover(panel, drawn)):
        yield _points(panel, row, panel.x[row], texts, "markers")


def _edges(panel: Panel, drawn: Drawing) -> Traces:
    """Sources on the left, targets on the right, a line as thick as its number is far from zero."""
    largest = max(abs(drawn.scale.low), abs(drawn.scale.high))
    texts = _hover(panel, drawn)
    for names, at, side in ((panel.row_labels, 0, "left"), (panel.columns.labels, 1, "right")):
        heights = np.linspace(1, 0, len(names))
        yield go.Scatter(
            x=[at] * len(names),
            y=heights,
            text=names,
            mode="markers+text",
            textposition=f"middle {side}",
            marker_color=NULL,
            hoverinfo="skip",
        )
    left, right = (np.linspace(1, 0, size) for size in panel.values.shape)
    for row, column in strongest(panel.values, EDGES):
        value = float(panel.values[row, column])
        line = {"width": 0.5 + 5 * abs(value) / largest, "color": SERIES[1] if value > 0 else SERIES[0]}
        ends = [left[row], (left[row] + right[column]) / 2, right[column]]
        yield go.Scatter(
            x=[0, 0.5, 1], y=ends, mode="lines", line=line, hovertext=texts[row][column], hoverinfo="text"
        )


def _table(panel: Panel, drawn: Drawing) -> Traces:
    if panel.rows is not None:
        heads = [panel.rows.name, *panel.columns.labels]
        columns = [
            panel.row_labels,
            *([number(value) for value in column] for column in panel.values.T.tolist()),
        ]
    else:
        words = {"word": panel.words[0]} if panel.words is not None else {}
        told = {name: cells[0] for name, cells in panel.told.items()}
        values = {drawn.measure: [number(value) for value in panel.values[0].tolist()]}
        shown = {panel.columns.name: list(panel.columns.labels), **words, **values, **told}
        heads, columns = list(shown), list(shown.values())
    yield go.Table(header={"values": heads}, cells={"values": columns})


_COLOURED = ("heatmap", "tokens", "attention", "compare")
_DRAW: dict[str, Callable[[Panel, Drawing], Traces]] = {
    **dict.fromkeys(_COLOURED, _cells),
    **dict.fromkeys(TABLES, _table),
    "bars": _bars,
    "lines": _lines,
    "scatter": _scatter,
    "graph": _edges,
}


def _points(panel: Panel, row: int, at: Numbers, texts: list[str], mode: str) -> Any:
    """One series."""
    name, shade = panel.row_labels[row], SERIES[row % len(SERIES)]
    return go.Scatter(
        x=at,
        y=panel.values[row],
        mode=mode,
        name=name,
        error_y=_errors(panel, row),
        line_color=shade,
        marker_color=shade,
        hovertext=texts,
        hoverinfo="text",
    )


def _hover(panel: Panel, drawn: Drawing) -> Cells:
    """Everything that is known of each number, a line each."""
    return [
        ["<br>".join(_facts(panel, drawn, row, column)) for column in range(panel.values.shape[1])]
        for row in range(len(panel.values))
    ]


def _facts(panel: Panel, drawn: Drawing, row: int, column: int) -> Iterator[str]:
    if panel.rows:
        yield f"{panel.rows.name}: {panel.rows.labels[row]}"
    yield f"{panel.columns.name}: {panel.columns.labels[column]}"
    yield f"{drawn.measure}: {number(float(panel.values[row, column]))}"
    if panel.words is not None:
        yield f"word: {panel.words[row][column]}"
    yield from (f"{name}: {cells[row][column]}" for name, cells in panel.told.items())
    for name, pair in (("interval", panel.interval), ("null band", panel.null)):
        if pair is not None:
            yield f"{name}: {number(float(pair[0][row, column]))} to {number(float(pair[1][row, column]))}"


def _errors(panel: Panel, row: int) -> dict[str, Any] | None:
    if panel.interval is None:
        return None
    low, high = (end[row] for end in panel.interval)
    values = panel.values[row]
    return {"type": "data", "symmetric": False, "array": high - values, "arrayminus": values - low}


def _null_band(panel: Panel, at: Numbers, points: int) -> Traces:
    """The first series' band; each number spans so many of the places."""
    if panel.null is not None:
        low, high = (np.repeat(end[0], points) for end in panel.null)
        yield go.Scatter(x=at, y=low, mode="lines", line={"width": 0}, hoverinfo="skip")
        yield go.Scatter(
            x=at,
            y=high,
            mode="lines",
            line={"width": 0},
            fill="tonexty",
            fillcolor=BAND,
            hoverinfo="skip",
        )


def _label_axes(figure: Any, panel: Panel, drawn: Drawing, row: int) -> None:
    """Labels in the place of numbers; equal labels stay apart."""
    if drawn.kind == "graph":
        figure.update_xaxes(visible=False, range=[-0.3, 1.3], row=row, col=1)
        figure.update_yaxes(visible=False, row=row, col=1)
        return
    ticks = {} if panel.x is not None else _ticks(panel.columns)
    if _turned(panel.columns) and ticks:
        ticks["tickangle"] = 60
    name = drawn.along if drawn.kind == "scatter" else panel.columns.name
    figure.update_xaxes(title_text=name, **ticks, row=row, col=1)
    if drawn.kind in _COLOURED:
        down = _ticks(panel.rows) if panel.rows else {"showticklabels": False}
        name = panel.rows.name if panel.rows else ""
        figure.update_yaxes(title_text=name, autorange="reversed", **down, row=row, col=1)
    else:
        figure.update_yaxes(title_text=drawn.unit, row=row, col=1)


def _ticks(axis: Labelled) -> dict[str, Any]:
    step = -(-len(axis.labels) // TICKS)
    return {"tickvals": list(range(0, len(axis.labels), step)), "ticktext": axis.labels[::step]}


def _turned(axis: Labelled) -> int:
    """Letters of the longest label where labels are turned, as they would not fit side by side."""
    longest = max(map(len, axis.labels), default=0)
    return longest if longest * min(len(axis.labels), TICKS) > LINE else 0


def _colour_scale(scale: Scale) -> list[tuple[float, str]]:
    stops = colours(scale)
    return [(place / (len(stops) - 1), f"rgb{stop}") for place, stop in enumerate(stops)]
