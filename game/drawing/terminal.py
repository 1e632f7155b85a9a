"""A tool's result in a terminal: every kind of view drawn once, for all tools."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from game.api import PublicTask
from game.drawing.cells import CellGrid, legend, shaded
from game.drawing.panels import Drawing, Panel, Scale, drawing, number, strongest
from game.report.bars import LEVELS
from game.report.plain_text import one_line
from game.tools.kit.result import Summary, ToolResult

SLICES = 4  # panels of one view
LISTED = 24  # bars, rows, edges or sentences of one panel
SUSPECTS = 5  # places, and points beside a scatter plot
BESIDE = 38  # characters that a panel wants to stand beside another one
TRACK = 32  # characters of a bar
PLOT = (60, 12)  # columns and lines of a scatter plot


def result_view(result: ToolResult, task: PublicTask | None = None, slices: int = SLICES) -> RenderableType:
    """The result's figures, its suspects, its views and its notes.

    Args:
        result: What a tool found.
        task: Knows the words for token ids.
        slices: Panels of one view that are drawn.
    """
    parts: list[RenderableType] = [_heading(result)]
    if result.summary:
        parts.append(_summary(result.summary))
    if result.suspects:
        parts.append(_suspects(result))
    parts += [_View(drawing(result, view, task, slices)) for view in result.view]
    parts += [Text(one_line(note), style="dim") for note in result.notes]
    return Group(*parts)


def result_lines(result: ToolResult) -> Iterator[str]:
    """The result's figures and suspects, cells separated by tabs."""
    yield f"cost\t{result.cost:g}"
    for each in result.summary:
        low, high = (number(end) for end in each.null) if each.null else ("", "")
        yield "\t".join(("summary", each.name, f"{each.value:.6g}", low, high, str(each.n)))
    for place, value in _most_suspect(result):
        yield f"suspect\t{place}\t{value:.6g}"


@dataclass(frozen=True)
class _View:
    """A view's panels below its title and legend."""

    drawing: Drawing

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        drawn = self.drawing
        coloured = console.color_system is not None
        yield Text()
        if drawn.kind in ("heatmap", "attention", "compare", "tokens"):
            yield legend(drawn, coloured)
        else:
            yield Text(drawn.measure, style="bold")
        draw = _PANELS.get(drawn.kind, _table)
        panels = [
            Group(*[Text(panel.name, style="bold")] * bool(panel.name), draw(panel, drawn))
            for panel in drawn.panels
        ]
        if drawn.kind == "compare" and options.max_width >= BESIDE * len(panels):
            beside = Table.grid(padding=(0, 2), expand=True)
            for _ in panels:
                beside.add_column(ratio=1)
            beside.add_row(*panels)
            yield beside
        else:
            yield from panels
        if any(panel.null is not None for panel in drawn.panels):
            count = sum(int(panel.outside.sum()) for panel in drawn.panels)
            yield Text(f"{count} outside their null band, underlined or marked *", style="dim")
        if drawn.left_out:
            yield Text(f"... and {drawn.left_out} more like it; --slices shows more, --save all", style="dim")


def _heading(result: ToolResult) -> Text:
    given = ", ".join(f"{name} {_short(value)}" for name, value in result.args.items())
    return (
        Text(result.tool, style="bold")
        .append(f"  {given}", "default")
        .append(f"  {result.cost:.4g} credits", "dim")
    )


def _short(value: object) -> str:
    return one_line(f"{value:g}" if isinstance(value, float) else str(value), 40)


def _summary(summary: tuple[Summary, ...]) -> Table:
    table = Table("figure", "value", "null band", "n", "", box=SIMPLE_HEAD, pad_edge=False)
    for each in summary:
        band = f"{number(each.null[0])} .. {number(each.null[1])}" if each.null else "unknown"
        verdict = {True: Text("stands out", style="bold"), False: Text("within", style="dim"), None: Text()}
        table.add_row(each.name, f"{each.value:.4g}", band, str(each.n), verdict[each.stands_out])
    return table


def _suspects(result: ToolResult) -> Table:
    table = Table("suspect", "by", box=SIMPLE_HEAD, pad_edge=False)
    for place, value in _most_suspect(result)[:SUSPECTS]:
        table.add_row(place, f"{value:.4g}")
    left = len(result.suspects) - SUSPECTS
    if left > 0:
        table.add_row(Text(f"... and {left} more", style="dim"))
    return table


def _most_suspect(result: ToolResult) -> list[tuple[str, float]]:
    return sorted(result.suspects.items(), key=lambda pair: -pair[1])


@dataclass(frozen=True)
class _Prompts:
    """Prompts as shaded text."""

    panel: Panel
    drawing: Drawing

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        panel, coloured = self.panel, console.color_system is not None
        table = _borderless()
        for label, words, values in zip(panel.row_labels, panel.words or (), panel.values, strict=True):
            if table.row_count < LISTED:
                shown = shaded(words, values.tolist(), self.drawing.scale, coloured)
                table.add_row(Text(label, style="dim"), shown)
        yield _with_rest(table, len(panel.values))


def _bars(panel: Panel, drawn: Drawing) -> RenderableType:
    table = _borderless()
    for row, column in _furthest(panel):
        track = _track(panel, drawn.scale, row, column)
        table.add_row(_label(panel, row, column), track, *_numbers_of(panel, row, column))
    return _with_rest(table, panel.values.size)


def _lines(panel: Panel, drawn: Drawing) -> RenderableType:
    table = _borderless()
    for label, values, outside in zip(panel.row_labels, panel.values, panel.outside, strict=True):
        if table.row_count < LISTED:
            ends = f"{number(float(values[0]))} .. {number(float(values[-1]))}"
            mark = f" {int(outside.sum())} *" if outside.any() else ""
            table.add_row(Text(label, style="dim"), spark(values.tolist(), drawn.scale), ends + mark)
    labels = panel.columns.labels
    first, last = (labels[0], labels[-1]) if panel.x is None else map(number, panel.x[0, [0, -1]].tolist())
    along = Text(f"{panel.columns.name} {first} to {last}; height {_ends(drawn.scale)}")
    along.stylize("dim")
    return Group(_with_rest(table, len(panel.values)), along)


def _scatter(panel: Panel, drawn: Drawing) -> RenderableType:
    assert panel.x is not None
    scale = drawn.scale
    x, y = panel.x.ravel(), panel.values.ravel()
    seen = np.isfinite(x) & np.isfinite(y)
    wide, high = PLOT
    left, right = (float(x[seen].min()), float(x[seen].max())) if seen.any() else (0.0, 1.0)
    across = Scale(left, right if right > left else left + 1.0, False)
    cells = [[" "] * wide for _ in range(high)]
    for place in np.flatnonzero(seen):
        column = round(across.share(float(x[place])) * (wide - 1))
        line = round((1 - scale.share(float(y[place]))) * (high - 1))
        cells[line][column] = "•" if cells[line][column] == " " else "●"
    edges = [number(scale.high), *[""] * (high - 2), number(scale.low)]
    margin = max(map(len, edges))
    plot = [f"{edge.rjust(margin)} │{''.join(line)}" for edge, line in zip(edges, cells, strict=True)]
    foot = number(across.low).ljust(wide - len(number(across.high))) + number(across.high)
    points = Text("\n".join([*plot, f"{' ' * margin} └{'─' * wide}", f"{' ' * margin}  {foot}"]))
    return Group(points, _listing(panel, drawn, _furthest(panel, SUSPECTS)))


def _edges(panel: Panel, drawn: Drawing) -> RenderableType:
    table = _borderless()
    for row, column in strongest(panel.values, LISTED):
        arrow = f"{panel.row_labels[row]} ──▶ {panel.columns.labels[column]}"
        table.add_row(arrow, _track(panel, drawn.scale, row, column), *_numbers_of(panel, row, column))
    return _with_rest(table, int(np.count_nonzero(np.nan_to_num(panel.values))))


def _sentences(panel: Panel, drawn: Drawing) -> RenderableType:
    return _listing(panel, drawn, _furthest(panel))


def _table(panel: Panel, drawn: Drawing) -> RenderableType:
    """Numbers; of one axis a line for each entry, with its further columns."""
    if panel.rows is None:
        return _listing(panel, drawn, [(0, column) for column in range(panel.values.shape[1])][:LISTED])
    table = Table(panel.rows.name, *panel.columns.labels, box=SIMPLE_HEAD, pad_edge=False)
    for label, values, outside in zip(panel.row_labels, panel.values, panel.outside, strict=True):
        if table.row_count < LISTED:
            cells = [number(value) + " *" * bool(mark) for value, mark in zip(values, outside, strict=True)]
            table.add_row(label, *cells)
    return _with_rest(table, len(panel.values))


def _cells(panel: Panel, drawn: Drawing) -> RenderableType:
    return CellGrid(panel, drawn.scale)


_PANELS: dict[str, Callable[[Panel, Drawing], RenderableType]] = {
    "heatmap": _cells,
    "attention": _cells,
    "compare": _cells,
    "tokens": _Prompts,
    "bars": _bars,
    "lines": _lines,
    "scatter": _scatter,
    "graph": _edges,
    "text": _sentences,
}


def _listing(panel: Panel, drawn: Drawing, places: list[tuple[int, int]]) -> RenderableType:
    """One line for each of these entries: label, word, number, and what is told beside it."""
    told = [name for name in panel.told if name]
    words = ["word"] * (panel.words is not None)
    table = Table(panel.columns.name, *words, drawn.measure, *told, box=SIMPLE_HEAD, pad_edge=False)
    for row, column in places:
        word = [panel.words[row][column]] if panel.words is not None else []
        value, _ = _numbers_of(panel, row, column)
        beside = [panel.told[name][row][column] for name in told]
        table.add_row(_label(panel, row, column), *word, value, *beside)
    left = int(np.isfinite(panel.values).sum()) - len(places)
    return Group(table, Text(f"those furthest from zero; {left} more", style="dim")) if left > 0 else table


def _furthest(panel: Panel, most: int = LISTED) -> list[tuple[int, int]]:
    """Where the numbers are that are listed: all in order, or else those furthest from zero, falling."""
    wide = panel.values.shape[1]
    sizes = np.nan_to_num(np.abs(panel.values), nan=-1.0).ravel()
    places = range(sizes.size) if sizes.size <= most else np.argsort(-sizes, kind="stable")[:most]
    return [(int(place) // wide, int(place) % wide) for place in places if sizes[place] >= 0]


def _label(panel: Panel, row: int, column: int) -> Text:
    return Text(" ".join((panel.row_labels[row], panel.columns.labels[column])).strip(), style="dim")


def _numbers_of(panel: Panel, row: int, column: int) -> tuple[str, Text]:
    """An entry's number, marked if it lies outside its null band, and its interval."""
    value = number(float(panel.values[row, column])) + " *" * bool(panel.outside[row, column])
    if panel.interval is None:
        return value, Text()
    low, high = (number(float(end[row, column])) for end in panel.interval)
    return value, Text(f"{low} .. {high}", style="dim")


def _track(panel: Panel, scale: Scale, row: int, column: int) -> Text:
    """A bar from zero to the number, the null band behind it."""
    cells = [" "] * TRACK
    if panel.null is not None:
        ends = (float(end[row, column]) for end in panel.null)
        first, last = (round(scale.share(end) * (TRACK - 1)) for end in ends)
        cells[first : last + 1] = "░" * (last - first + 1)
    zero, end = (round(scale.share(place) * TRACK) for place in (0.0, float(panel.values[row, column])))
    first, last = min(zero, end), max(zero, end)
    cells[first:last] = "█" * (last - first)
    if first == last and panel.values[row, column] != 0:
        cells[min(first, TRACK - 1)] = "▏"
    return Text("".join(cells))


def _ends(scale: Scale) -> str:
    return f"{number(scale.low)} to {number(scale.high)}"


def spark(values: list[float], scale: Scale, width: int = 60) -> str:
    """A curve in one line on that scale; each character is the furthest from the low end of its share."""
    count = min(width, len(values))
    chunks = [values[i * len(values) // count : (i + 1) * len(values) // count] for i in range(count)]
    tops = [max((value for value in chunk if value == value), default=None) for chunk in chunks]
    last = len(LEVELS) - 1
    return "".join(" " if top is None else LEVELS[round(scale.share(top) * last)] for top in tops)


def _borderless() -> Table:
    return Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))


def _with_rest(table: Table, size: int) -> RenderableType:
    """The table, and how much of what there is it leaves out."""
    left = size - table.row_count
    return Group(table, Text(f"... and {left} more", style="dim")) if left > 0 else table
