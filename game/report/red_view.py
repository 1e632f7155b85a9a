"""How well an edit hid: the panel's skill at each strength, in a terminal, as lines, as data, as a plot."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from game.report.bars import interval_bar
from game.report.plain_text import one_line
from game.standings.intervals import Interval

NAME = 28  # characters of a name
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


@dataclass(frozen=True)
class Faced:
    """What the panel made of the edits of one strength, matched controls among them.

    Attributes:
        strength: Such as `as given` or `ridge 0.1`.
        cases: How many, and how many of them were edits.
        edited: See `cases`.
        redraws: Draws that failed their gates before one passed, over all cases.
        skills: Mean headline skill by auditor, with its interval.
        red_score: Minus the best auditor's skill, chosen and scored on different halves.
    """

    strength: str
    cases: int
    edited: int
    redraws: int
    skills: dict[str, Interval]
    red_score: float


def faced_data(title: str, faced: Sequence[Faced]) -> dict[str, Any]:
    """As JSON-ready data."""
    rows = [
        vars(each) | {"skills": {name: vars(found) for name, found in each.skills.items()}} for each in faced
    ]
    return {"kind": "red", "title": title, "strengths": rows}


def faced_lines(faced: Sequence[Faced]) -> Iterator[str]:
    """A line for each strength and auditor, cells separated by tabs."""
    yield "\t".join(("strength", "cases", "edited", "redraws", "auditor", "skill", "from", "to", "red"))
    for each in faced:
        counts = (each.strength, str(each.cases), str(each.edited), str(each.redraws))
        for name, found in each.skills.items():
            figures = (f"{number:.3f}" for number in (found.mean, found.low, found.high))
            yield "\t".join((*counts, one_line(name, NAME), *figures, f"{each.red_score:.3f}"))


def faced_view(title: str, faced: Sequence[Faced]) -> RenderableType:
    """A table: a row for each strength and auditor."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("strength", "edits", "auditor", "headline skill", "-1       0       +1"):
        table.add_column(heading, no_wrap=True)
    table.add_column("red", justify="right", no_wrap=True)
    for each in faced:
        head = (each.strength, f"{each.edited}/{each.cases}")
        for place, (name, found) in enumerate(each.skills.items()):
            figure = f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
            first = (*head, f"{each.red_score:+.2f}") if place == 0 else ("", "", "")
            table.add_row(*first[:2], Text(one_line(name, NAME)), figure, interval_bar(found), first[2])
        table.add_section()
    note = "0 is the declared prior, 1 the perfect report; red's score is minus the best auditor's skill"
    return Group(Text(title, style="bold"), table, Text(note, style="dim"))


def faced_png(title: str, faced: Sequence[Faced]) -> bytes:
    """Each auditor's skill against strength, with its interval, as PNG."""
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    names = list(faced[0].skills)
    for place, name in enumerate(names):
        found = [each.skills[name] for each in faced]
        shift = 0.06 * (place - (len(names) - 1) / 2)
        means = [each.mean for each in found]
        below = [each.mean - each.low for each in found]
        above = [each.high - each.mean for each in found]
        axes.errorbar(
            [number + shift for number in range(len(faced))],
            means,
            yerr=[below, above],
            marker="o",
            capsize=3,
            color=COLOURS[place % len(COLOURS)],
            label=one_line(name, NAME),
        )
    axes.axhline(0, color="#999999", linewidth=1)
    axes.set_xticks(range(len(faced)), [each.strength for each in faced])
    axes.set(title=title, xlabel="strength", ylabel="headline skill of the panel")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()
