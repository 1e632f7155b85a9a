"""Coloured cells and shaded text in a terminal; without colours, digits from 0 to 9 stand for them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from rich.console import Console, ConsoleOptions, RenderResult
from rich.style import Style
from rich.text import Text

from game.drawing.colours import colour, ink
from game.drawing.panels import Drawing, Numbers, Panel, Scale, number, spoken

LABEL = 16  # most characters of a row's label
ROWS = 40  # most rows of cells
WORD, FIGURE = 9, 6  # characters of a cell with a word, or a number
SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉"


@dataclass(frozen=True)
class CellGrid:
    """A panel as a grid of cells, as wide as there is room.

    Cells with words stand in as many blocks as are needed, and of many rows those furthest from zero. Others
    lose their numbers where there is no room, and where there is no room for all of them, each stands for
    several: for the one furthest from zero.
    """

    panel: Panel
    scale: Scale

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The column's labels, then a line for each row."""
        panel, coloured = self.panel, console.color_system is not None
        margin = min(max(map(len, panel.row_labels)), LABEL) + 1
        room = max(options.max_width - margin, 8)
        if panel.words is not None:
            wide = min(max(len(text) for row in panel.words for text in row), WORD) + 1 + (not coloured)
            step = max(room // wide, 1)
            rows = _furthest_rows(panel.values, ROWS)
            for start in range(0, len(panel.columns.labels), step):
                block = slice(start, start + step)
                yield from self._lines(panel.values, block, wide, margin, coloured, rows)
            if left := len(panel.values) - len(rows):
                yield Text(f"those furthest from zero; {left} more", style="dim")
            return
        values, down, across = pooled(panel.values, ROWS, room)
        wide = min(room // values.shape[1], FIGURE)
        rows = range(len(values))
        yield from self._lines(values, slice(None), wide, margin, coloured, rows, down, across)
        if down * across > 1:
            yield Text(f"each cell is the one furthest from zero of {down} x {across}", style="dim")

    def _lines(
        self,
        values: Numbers,
        block: slice,
        wide: int,
        margin: int,
        coloured: bool,
        rows: Sequence[int],
        down: int = 1,
        across: int = 1,
    ) -> Iterator[Text]:
        """One block of columns."""
        panel, labels = self.panel, self.panel.row_labels[::down]
        yield Text(" " * margin + _header(panel.columns.labels[::across][block], wide), style="dim")
        for place in rows:
            line = Text(_clipped(labels[place], margin - 1).ljust(margin), style="dim", no_wrap=True, end="")
            for column in range(values.shape[1])[block]:
                text = _clipped(panel.words[place][column], WORD) if panel.words is not None else None
                marked = down * across == 1 and bool(panel.outside[place, column])
                cell = _cell(float(values[place, column]), text, self.scale, wide, coloured)
                line.append(
                    cell.plain, Style.combine([cast(Style, cell.style), Style(bold=marked, underline=marked)])
                )
            yield line
            yield Text()


def _furthest_rows(values: Numbers, most: int) -> Sequence[int]:
    """At most so many rows, in their order: those with a number furthest from zero."""
    if len(values) <= most:
        return range(len(values))
    sizes = np.nan_to_num(np.abs(values), nan=-1.0).max(axis=1)
    return sorted(int(place) for place in np.argsort(-sizes, kind="stable")[:most])


def pooled(values: Numbers, rows: int, columns: int) -> tuple[Numbers, int, int]:
    """At most so many rows and columns of cells; each stands for so many, by the one furthest from zero."""
    down, across = (-(-size // most) for size, most in zip(values.shape, (rows, columns), strict=True))
    if down * across == 1:
        return values, 1, 1
    high, wide = -(-values.shape[0] // down), -(-values.shape[1] // across)
    padded = np.full((high * down, wide * across), np.nan)
    padded[: values.shape[0], : values.shape[1]] = values
    blocks = padded.reshape(high, down, wide, across).swapaxes(1, 2).reshape(high, wide, -1)
    furthest = np.argmax(np.where(np.isnan(blocks), -1.0, np.abs(blocks)), axis=-1)
    return np.take_along_axis(blocks, furthest[..., None], -1)[..., 0], down, across


def shaded(words: Sequence[str], values: Sequence[float], scale: Scale, coloured: bool) -> Text:
    """Words on grounds that tell their numbers; padding at the end is left out."""
    line = Text()
    for text, value in zip(spoken(words), values, strict=False):
        line.append_text(_cell(value, text, scale, len(text) + (not coloured), coloured)).append(" ")
    return line


def legend(drawing: Drawing, coloured: bool) -> Text:
    """What is drawn, the ends of its scale, and what lies between them."""
    scale, panel = drawing.scale, drawing.panels[0]
    line = Text(drawing.measure, style=Style(bold=True)).append(f"  {number(scale.low)} ", Style(bold=False))
    steps = 20 if coloured else 10
    for step in range(steps):
        line.append_text(
            _cell(scale.low + (scale.high - scale.low) * step / (steps - 1), None, scale, 1, coloured)
        )
    down = f"{panel.rows.name} down, " if panel.rows else ""
    along = "" if drawing.kind == "tokens" else f"  {down}{panel.columns.name} across"
    return line.append(f" {number(scale.high)}", Style(bold=False)).append(along, Style(bold=False, dim=True))


def _cell(value: float, text: str | None, scale: Scale, wide: int, coloured: bool) -> Text:
    """One cell of that many characters: the text, or else the number if there is room for it."""
    if not math.isfinite(value):
        return Text(_clipped(text or "", wide).ljust(wide), style=Style())
    level = min(int(scale.share(value) * 10), 9)
    if not coloured:
        shown = _digits(value, wide, scale) if text is None else _clipped(text, wide - 1) + SUBSCRIPTS[level]
        return Text((shown or str(level)).ljust(wide), style=Style())
    ground = colour(value, scale)
    shown = _digits(value, wide, scale) if text is None else _clipped(text, wide)
    style = f"rgb{_triple(ink(ground))} on rgb{_triple(ground)}"
    return Text(shown.ljust(wide), style=Style.parse(style))


def _triple(rgb: tuple[int, int, int]) -> str:
    return f"({rgb[0]},{rgb[1]},{rgb[2]})"


def _digits(value: float, wide: int, scale: Scale) -> str:
    """The number, all of a scale with equally many decimals and a blank behind; empty if there is no room."""
    largest = max(abs(scale.low), abs(scale.high))
    whole = len(f"{largest:.0f}") + (scale.low < 0)
    if wide <= whole:
        return ""
    decimals = min(max(wide - whole - 2, 0), 3)
    return f"{round(value, decimals) + 0.0:.{decimals}f}" if largest >= 10.0**-decimals else ""


def _header(labels: Sequence[str], wide: int) -> str:
    """Labels above their columns, those without room left out."""
    line = ""
    for place, label in enumerate(labels):
        if len(line) <= place * wide:
            line = line.ljust(place * wide) + (_clipped(label, wide - 1) if wide > 3 else label) + " "
    return line[: wide * len(labels)]


def _clipped(text: str, wide: int) -> str:
    return text if len(text) <= wide else text[: max(wide - 1, 0)] + "…"[: min(wide, 1)]
