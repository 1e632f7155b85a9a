"""A tool's result as a picture: every kind of view drawn once, for all tools, as PNG or SVG."""

import io
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from game.api import PublicTask
from game.drawing.colours import NULL, SERIES, colour, colours, ink
from game.drawing.panels import Drawing, Labelled, Panel, Scale, drawing, number, spoken, strongest
from game.tools.kit.result import ToolResult, View

PANELS = 12  # of one view
LABELS = 24  # on one axis; of more only some are written
LETTERS = 60  # of labels beside each other
ROWS = 30  # of a table or a list
EDGES = 60  # arrows of a graph, the strongest
WIDE = 13.0  # inches of panels beside each other
CELLS = 400  # a panel with more has no room for numbers


def result_picture(
    result: ToolResult,
    task: PublicTask | None = None,
    form: Literal["png", "svg"] = "png",
    views: Sequence[View] | None = None,
    panels: int = PANELS,
) -> bytes:
    """The result's views below each other, as the bytes of a file.

    Args:
        result: What a tool found.
        task: Knows the words for token ids.
        form: Of the file.
        views: Which of the result's views; by default all.
        panels: Of one view.
    """
    drawings = [drawing(result, view, task, panels) for view in (result.view if views is None else views)]
    rows = [(drawn, beside) for drawn in drawings for beside in _rows(drawn)]
    sizes = [_inches(drawn, beside) for drawn, beside in rows]
    wide = max((width for width, _ in sizes), default=6.0)
    figure = Figure(figsize=(wide, sum(height for _, height in sizes) + 0.8), dpi=100, layout="constrained")
    figure.suptitle(_heading(result), fontsize=10)
    folders = figure.subfigures(
        max(len(rows), 1), 1, height_ratios=[height for _, height in sizes] or None, squeeze=False
    )
    for folder, (drawn, beside) in zip(folders[:, 0], rows, strict=False):
        axes = folder.subplots(1, _across(drawn), squeeze=False)[0]
        for place in axes[len(beside) :]:
            place.set_axis_off()
        for place, panel in zip(axes, beside, strict=False):
            _DRAW.get(drawn.kind, _table)(place, panel, drawn)
            place.set_title(f"{drawn.measure}, {panel.name}" if panel.name else drawn.measure, fontsize=9)
        if drawn.kind in _COLOURED:
            _legend(folder, axes, drawn)
    return _saved(figure, form)


def _saved(figure: Figure, form: str) -> bytes:
    """The same bytes for the same figure: no date, and the names within an SVG drawn from a fixed salt."""
    picture = io.BytesIO()
    with rc_context({"svg.hashsalt": "audit-game", "svg.fonttype": "path"}):
        figure.savefig(picture, format=form, metadata={"Date": None} if form == "svg" else {"Software": None})
    return picture.getvalue()


def _heading(result: ToolResult) -> str:
    figures = [
        f"{each.name} {each.value:.3g}"
        + (f" (null {number(each.null[0])} to {number(each.null[1])})" if each.null else "")
        for each in result.summary[:2]
    ]
    return "\n".join([f"{result.tool}, {result.cost:.4g} credits", *figures])


def _across(drawn: Drawing) -> int:
    """How many panels stand beside each other, as there is room for, in rows that are about equally long."""
    most = max(int(WIDE / _inches(drawn, drawn.panels[:1])[0]), 1)
    rows = -(-len(drawn.panels) // most)
    return -(-len(drawn.panels) // rows)


def _rows(drawn: Drawing) -> list[tuple[Panel, ...]]:
    across = _across(drawn)
    return [drawn.panels[start : start + across] for start in range(0, len(drawn.panels), across)]


def _inches(drawn: Drawing, beside: Sequence[Panel]) -> tuple[float, float]:
    """Width and height of a row of panels."""
    rows, columns = beside[0].values.shape
    if drawn.kind in ("heatmap", "attention", "compare"):
        letters = max((len(text) for panel in beside for row in panel.words or [] for text in row), default=4)
        cell = max(0.09 * letters, 0.42) if _written(beside[0]) else 0.16
        wide = min(max(columns * cell, 3.0) + 1.3, 11.0)
        return len(beside) * wide, min(max(rows * (0.28 if cell > 0.16 else 0.16), 1.2), 8.0) + 0.7
    if drawn.kind == "tokens":
        return 9.0, 0.3 * min(rows, ROWS) + 0.7
    if drawn.kind in ("table", "text", "graph"):
        lines = rows if drawn.kind == "table" and beside[0].rows else int(np.isfinite(beside[0].values).sum())
        if drawn.kind == "graph":
            return 8.0 * len(beside), max(0.24 * min(lines, ROWS), 2.5) + 0.7
        return 8.0 * len(beside), 0.19 * (min(lines, ROWS) + 1) + 0.5
    return 5.0 * len(beside), 3.2


def _written(panel: Panel) -> bool:
    """Whether there is room for a number, or a word, in each cell."""
    return panel.values.size <= CELLS and panel.values.shape[1] <= LABELS


def _cells(axes: Axes, panel: Panel, drawn: Drawing) -> None:
    scale = drawn.scale
    axes.imshow(
        panel.values,
        cmap=_map(scale),
        vmin=scale.low,
        vmax=scale.high,
        aspect="auto",
        interpolation="nearest",
    )
    _ticks(axes, panel.columns, panel.rows)
    for row, column in np.ndindex(*panel.values.shape) if _written(panel) else ():
        value = float(panel.values[row, column])
        text = panel.words[row][column] if panel.words is not None else number(round(value, 2))
        shade = tuple(part / 255 for part in ink(colour(value, scale))) if np.isfinite(value) else "#888888"
        weight = "bold" if panel.outside[row, column] else "normal"
        axes.text(column, row, text, ha="center", va="center", fontsize=6.5, color=shade, weight=weight)


def _prompts(axes: Axes, panel: Panel, drawn: Drawing) -> None:
    """Each prompt a line, its words side by side."""
    words = (panel.words or [])[:ROWS]
    longest = max((sum(len(text) + 1.5 for text in row) for row in words), default=1.0)
    for line, (row, values) in enumerate(zip(words, panel.values, strict=False)):
        left = 0.0
        for text, value in zip(spoken(row), values.tolist(), strict=False):
            known = np.isfinite(value)
            ground = colour(value, drawn.scale) if known else (255, 255, 255)
            box = {"facecolor": [part / 255 for part in ground], "edgecolor": "none", "pad": 1.5}
            shade = [part / 255 for part in ink(ground)]
            axes.text(left, line, text, fontsize=7.5, family="monospace", va="center", color=shade, bbox=box)
            left += len(text) + 1.5
    axes.set(xlim=(-1, max(longest, 100)), ylim=(len(words) - 0.5, -0.5))
    axes.set_xticks([])
    axes.set_yticks(range(len(words)), panel.row_labels[: len(words)], fontsize=7)
    axes.spines[:].set_visible(False)


def _bars(axes: Axes, panel: Panel, drawn: Drawing) -> None:
    count, places = len(panel.values), np.arange(panel.values.shape[1])
    thick = 0.8 / count
    for row, (label, values) in enumerate(zip(panel.row_labels, panel.values, strict=True)):
        at = places - 0.4 + thick * (row + 0.5)
        axes.bar(at, values, thick, color=SERIES[row % len(SERIES)], label=label)
        if panel.interval is not None:
            ends = np.abs(np.stack([end[row] for end in panel.interval]) - values)
            axes.errorbar(at, values, ends, fmt="none", ecolor="black", elinewidth=0.8, capsize=2)
        if panel.null is not None:
            low, high = (end[row] for end in panel.null)
            axes.bar(at, high - low, 1.15 * thick, bottom=low, color=NULL, alpha=0.5, zorder=0)
    axes.axhline(0, color="black", linewidth=0.6)
    _on_scale(axes, drawn.scale)
    _column_ticks(axes, panel.columns)
    _named(axes, panel, drawn)


def _on_scale(axes: Axes, scale: Scale) -> None:
    """The numbers' axis from one end of the scale to the other, with some room beyond what is drawn."""
    margin = 0.05 * (scale.high - scale.low)
    axes.set_ylim(scale.low - margin * (scale.low != 0), scale.high + margin)


def _lines(axes: Axes, panel: Panel, drawn: Drawing) -> None:
    for row, (label, values) in enumerate(zip(panel.row_labels, panel.values, strict=True)):
        at = np.arange(len(values)) if panel.x is None else panel.x[row]
        shade = SERIES[row % len(SERIES)]
        axes.plot(
            at, values, color=shade, label=label, marker="." if len(values) < 30 else None, linewidth=1.2
        )
        if panel.interval is not None:
            axes.fill_between(at, panel.interval[0][row], panel.interval[1][row], color=shade, alpha=0.2)
        if panel.null is not None and row == 0:
            axes.fill_between(
                at, panel.null[0][row], panel.null[1][row], color=NULL, alpha=0.5, label="null band"
            )
    _on_scale(axes, drawn.scale)
    if panel.x is None:
        _column_ticks(axes, panel.columns)
    else:
        axes.set_xlabel(panel.columns.name, fontsize=8)
    _named(axes, panel, drawn)


def _scatter(axes: Axes, panel: Panel, drawn: Drawing) -> None:
    assert panel.x is not None
    for row, (label, values) in enumerate(zip(panel.row_labels, panel.values, strict=True)):
        shade = SERIES[row % len(SERIES)]
        axes.scatter(panel.x[row], values, s=12, color=shade, label=label)
        for column in np.argsort(-np.nan_to_num(np.abs(values)))[:5]:
            text = panel.words[row][column] if panel.words is not None else panel.columns.labels[column]
            at = (panel.x[row, column], values[column])
            axes.annotate(text, at, fontsize=6.5, xytext=(3, 3), textcoords="offset points")
    axes.set_xlabel(drawn.along, fontsize=8)
    _named(axes, panel, drawn)


def _graph(axes: Axes, panel: Panel, drawn: Drawing) -> None:
    """Sources on the left, targets on the right, an arrow as thick as its number is far from zero."""
    sources, targets = panel.row_labels, panel.columns.labels
    left, right = (np.linspace(1, 0, len(names)) for names in (sources, targets))
    largest = max(abs(drawn.scale.low), abs(drawn.scale.high))
    for row, column in strongest(panel.values, EDGES):
        value = float(panel.values[row, column])
        shade = SERIES[1] if value > 0 else SERIES[0]
        arrow = {"arrowstyle": "->", "color": shade, "lw": 0.4 + 3 * abs(value) / largest, "alpha": 0.8}
        axes.annotate("", (0.75, right[column]), (0.25, left[row]), arrowprops=arrow)
    for names, heights, at, side in ((sources, left, 0.24, "right"), (targets, right, 0.76, "left")):
        for text, height in zip(names, heights, strict=True):
            axes.text(at, height, text, ha=side, va="center", fontsize=7)
    axes.set(xlim=(0, 1), ylim=(-0.08, 1.08))
    axes.set_axis_off()


def _table(axes: Axes, panel: Panel, drawn: Drawing) -> None:
    """Numbers in rows and columns; of one axis a row for each entry, with its further columns."""
    axes.set_axis_off()
    if panel.rows is not None:
        heads = list(panel.columns.labels)
        cells = [[number(value) for value in row] for row in panel.values.tolist()]
        labels = list(panel.row_labels)
    else:
        words = {"word": panel.words[0]} if panel.words is not None else {}
        columns = {
            **words,
            drawn.measure: [number(value) for value in panel.values[0].tolist()],
            **{name: told[0] for name, told in panel.told.items()},
        }
        heads, labels = list(columns), list(panel.columns.labels)
        cells = [list(row) for row in zip(*columns.values(), strict=True)]
    table = axes.table(
        cells[:ROWS], rowLabels=labels[:ROWS], colLabels=heads, loc="upper center", edges="horizontal"
    )
    table.auto_set_font_size(False)
    table.set_fontsize(7)
    table.auto_set_column_width(range(len(heads)))


_COLOURED = ("heatmap", "attention", "compare", "tokens")
_DRAW: dict[str, Callable[[Axes, Panel, Drawing], None]] = {
    "heatmap": _cells,
    "attention": _cells,
    "compare": _cells,
    "tokens": _prompts,
    "bars": _bars,
    "lines": _lines,
    "scatter": _scatter,
    "graph": _graph,
}


def _map(scale: Scale) -> Colormap:
    stops = [[part / 255 for part in stop] for stop in colours(scale)]
    return LinearSegmentedColormap.from_list("scale", stops)


def _legend(folder: Figure, axes: Sequence[Axes], drawn: Drawing) -> None:
    scale = drawn.scale
    shown = ScalarMappable(Normalize(scale.low, scale.high), _map(scale))
    bar = folder.colorbar(shown, ax=list(axes), fraction=0.04, pad=0.01)
    bar.set_label(drawn.unit, fontsize=7)
    bar.ax.tick_params(labelsize=7)


def _ticks(axes: Axes, columns: Labelled, rows: Labelled | None) -> None:
    _column_ticks(axes, columns)
    labels = rows.labels if rows else ("",)
    step = -(-len(labels) // LABELS)
    axes.set_yticks(range(0, len(labels), step), labels[::step], fontsize=7)
    axes.set_ylabel(rows.name if rows else "", fontsize=8)


def _column_ticks(axes: Axes, columns: Labelled) -> None:
    longest = max(map(len, columns.labels))
    long = longest > 3 and len(columns.labels) > 3
    step = -(-len(columns.labels) // (LABELS if long else min(LABELS, LETTERS // (longest + 1))))
    places = range(0, len(columns.labels), step)
    turned: dict[str, Any] = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"} if long else {}
    axes.set_xticks(places, columns.labels[::step], fontsize=7, **turned)
    axes.set_xlabel(columns.name, fontsize=8)


def _named(axes: Axes, panel: Panel, drawn: Drawing) -> None:
    """Axis texts, and the series' names where there are several."""
    axes.set_ylabel(drawn.unit, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    if panel.rows is not None:
        axes.legend(frameon=False, fontsize=7, title=panel.rows.name, title_fontsize=7)
