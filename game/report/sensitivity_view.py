"""The minimum detectable effect of each auditor: as a table, as lines, as data, as a plot."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from math import ceil
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from game.report.plain_text import one_line
from game.report.readouts_view import detectable
from game.standings.dose_response import DETECTED, DoseResponse

NAME = 28  # characters of a name
COLUMNS = 2  # panels beside each other
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#000000")
MARKERS = "osD^vP*X"
NOTE = f"detection skill {DETECTED:g}: 0 is the declared prior, 1 the perfect report; 95 % intervals"


@dataclass(frozen=True)
class Sensitivity:
    """One auditor against one dial of one family."""

    auditor: str
    curve: DoseResponse

    @property
    def family(self) -> str:
        """The family, its dial, what was fixed beside it and the league, as one heading."""
        fixed = ", ".join(f"{name} {value:g}" for name, value in self.curve.fixed)
        return (
            f"{self._dial} ({fixed}), {self.curve.league}" if fixed else f"{self._dial}, {self.curve.league}"
        )

    @property
    def _dial(self) -> str:
        return f"{self.curve.family}, by {self.curve.dial}"


def sensitivity_data(found: Sequence[Sensitivity]) -> Iterator[dict[str, Any]]:
    """As JSON-ready rows; strengths run from the weakest to the strongest, whatever their sign."""
    for each in found:
        tested = {"weakest": each.curve.doses[0].strength, "strongest": each.curve.doses[-1].strength}
        row = {"kind": "sensitivity", "auditor": each.auditor, "beyond_tested": each.curve.beyond or None}
        yield row | tested | asdict(each.curve) | {"fixed": dict(each.curve.fixed)}


def sensitivity_lines(found: Sequence[Sensitivity]) -> Iterator[str]:
    """A heading and a line for each, cells separated by tabs."""
    yield "\t".join(
        ("family", "dial", "auditor", "detectable", "low", "high", "beyond", "weakest", "strongest", "league")
    )
    for each in found:
        curve = each.curve
        ends = ("" if end is None else f"{end:.4g}" for end in (curve.detectable, curve.low, curve.high))
        tested = (f"{curve.doses[0].strength:g}", f"{curve.doses[-1].strength:g}")
        names = (curve.family, curve.dial, one_line(each.auditor, NAME))
        yield "\t".join((*names, *ends, curve.beyond, *tested, curve.league))


def sensitivity_view(found: Sequence[Sensitivity]) -> RenderableType:
    """A table for each family and dial."""
    views: list[RenderableType] = []
    for family, rows in _by_family(found):
        tested = "  ".join(f"{dose.strength:g} ({dose.n})" for dose in rows[0].curve.doses)
        table = Table(
            "auditor", "skill, from weak to strong", "detectable from", box=SIMPLE_HEAD, pad_edge=False
        )
        for each in rows:
            skills = "  ".join(f"{dose.skill:+.2f}" for dose in each.curve.doses)
            table.add_row(Text(one_line(each.auditor, NAME)), skills, detectable(each.curve))
        views += [Text(family, style="bold"), Text(f"tested, from weak to strong (cases): {tested}"), table]
    return Group(*views, Text(NOTE, style="dim"))


def sensitivity_picture(found: Sequence[Sensitivity], form: str) -> bytes:
    """A panel for each family and dial: every auditor's skill against strength, and where the fit is reached.

    Args:
        found: At least one.
        form: `png` or `svg`.
    """
    families = _by_family(found)
    rows = ceil(len(families) / COLUMNS)
    columns = min(COLUMNS, len(families))
    figure = Figure(figsize=(6.4 * columns, 4.4 * rows), dpi=120, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    names = list(dict.fromkeys(each.auditor for each in found))
    for axes, (family, curves) in zip(panels, families, strict=False):
        _draw(axes, family, curves, names)
    for axes in panels[len(families) :]:
        axes.set_axis_off()
    picture = io.BytesIO()
    figure.savefig(picture, format=form, metadata={"Date": None} if form == "svg" else None)
    return picture.getvalue()


def _draw(axes: Axes, family: str, curves: Sequence[Sensitivity], names: Sequence[str]) -> None:
    strengths = [dose.strength for dose in curves[0].curve.doses]
    if min(strengths) > 0 and max(strengths) > 10 * min(strengths):
        axes.set_xscale("log")
    if strengths[0] > strengths[-1]:
        axes.invert_xaxis()  # stronger is to the right
    for each in curves:
        number = names.index(each.auditor)
        style: dict[str, Any] = {"color": COLOURS[number % len(COLOURS)]}
        marker = MARKERS[(number // len(COLOURS) + number) % len(MARKERS)]
        doses = each.curve.doses
        axes.plot(strengths, [dose.fitted for dose in doses], **style, label=one_line(each.auditor, NAME))
        axes.plot(strengths, [dose.skill for dose in doses], marker, markersize=4, alpha=0.6, **style)
        if each.curve.detectable is not None:
            axes.plot([each.curve.detectable], [DETECTED], marker, markersize=9, fillstyle="none", **style)
    axes.axhline(DETECTED, color="#999999", linestyle="--", linewidth=1)
    axes.axhline(0, color="#999999", linewidth=1)
    axes.set(title=family, xlabel=f"{curves[0].curve.dial}, stronger to the right", ylabel="detection skill")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)


def _by_family(found: Sequence[Sensitivity]) -> list[tuple[str, list[Sensitivity]]]:
    """Auditors by family, families in the order of their names."""
    ordered = sorted(found, key=lambda each: each.family)
    return [(family, list(rows)) for family, rows in groupby(ordered, key=lambda each: each.family)]
