"""The readouts of a run as tables for a person and as tab-separated lines for a script."""

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from game.report.plain_text import one_line
from game.standings.dose_response import DoseResponse
from game.standings.readouts import Figure, Prevalence, Readouts

NAME = 28  # characters of a name

FIGURES = (
    # field                heading
    ("auroc", "AUROC"),
    ("average_precision", "AP"),
    ("true_positives", "TPR at 5 %"),
    ("component", "component"),
    ("layer", "layer"),
)


def readouts_view(found: Sequence[Readouts]) -> RenderableType:
    """Ranking, location, calibration and precision elsewhere; the rounds' own readouts; doses."""
    views: list[RenderableType] = [
        Text("beside the skills, never ranked (in brackets: knowing nothing)", style="bold"),
        _figures(found),
        Text("calibration of p_edited, and precision of a flag where edits are rarer", style="bold"),
        _calibration(found),
    ]
    names = sorted({name for each in found for name in each.means})
    if names:
        views += [Text("means over the rounds that have them", style="bold"), _means(found, names)]
    if any(each.doses for each in found):
        views += [Text("detection against the strength of the edit", style="bold"), _doses(found)]
    return Group(Text(""), *views)


def readout_lines(found: Sequence[Readouts]) -> Iterator[str]:
    """A heading and one line a figure: auditor, name, value, and the chance level or number behind it."""
    yield "\t".join(["readout", "auditor", "value", "chance", "rounds"])
    for each in found:
        for name, value, chance, n in _rows(each):
            cells = ["" if x is None else f"{x:.4f}" for x in (value, chance)]
            yield "\t".join([name, one_line(each.auditor), *cells, str(n)])
    yield "\t".join(["dose", "auditor", "dial", "strength", "skill", "fitted", "rounds", "league"])
    for each in found:
        for curve in each.doses:
            names = [curve.family, one_line(each.auditor), curve.dial]
            for dose in curve.doses:
                figures = [
                    f"{dose.strength:g}",
                    f"{dose.skill:.4f}",
                    f"{dose.fitted:.4f}",
                    str(dose.n),
                    curve.league,
                ]
                yield "\t".join([*names, *figures])


def _rows(each: Readouts) -> Iterator[tuple[str, float | None, float | None, int]]:
    for field, _ in FIGURES:
        figure: Figure | None = getattr(each, field)
        n = each.edits if field in ("component", "layer") else each.n
        if figure is not None:
            yield field, figure.value, figure.chance, n
    for rare in each.prevalences:
        yield f"precision_at_{rare.share:g}", rare.precision, rare.share, each.n
        yield f"precision_at_{rare.share:g}_least", rare.least, rare.share, each.n
    if each.calibration is not None:
        for name in ("reliability", "resolution", "uncertainty", "error"):
            yield name, getattr(each.calibration, name), None, each.n
    for name, (mean, n) in each.means.items():
        yield name, mean, None, n
    for curve in each.doses:
        name = f"detectable_{curve.family}_{curve.dial}_{curve.league}"
        yield name, curve.detectable, None, sum(dose.n for dose in curve.doses)


def _figures(found: Sequence[Readouts]) -> Table:
    table = _table(*(heading for _, heading in FIGURES), "n")
    for each in found:
        figures: list[Figure | None] = [getattr(each, field) for field, _ in FIGURES]
        table.add_row(_name(each), *map(_beside, figures), str(each.n))
    return table


def _calibration(found: Sequence[Readouts]) -> Table:
    table = _table("reliability", "resolution", "uncertainty", "error", "at 10 %", "at 2 %")
    for each in found:
        told = each.calibration
        cells = [] if told is None else [told.reliability, told.resolution, told.uncertainty, told.error]
        precisions = [_percent(rare) for rare in each.prevalences]
        table.add_row(_name(each), *(f"{cell:.3f}" for cell in cells), *precisions)
    return table


def _percent(rare: Prevalence) -> str:
    known = rare.precision is not None and rare.least is not None
    return f"{rare.precision:.0%} (≥ {rare.least:.0%})" if known else "no flags"


def _means(found: Sequence[Readouts], names: Sequence[str]) -> Table:
    table = _table(*(name.replace("_", "\n") for name in names))  # a word a line: 80 columns hold them all
    for each in found:
        if each.means:
            table.add_row(_name(each), *(_mean(each, name) for name in names))
    return table


def _mean(each: Readouts, name: str) -> str:
    mean, n = each.means.get(name, (0.0, 0))
    return f"{mean:.2f} ({n})" if n else ""


def _doses(found: Sequence[Readouts]) -> Table:
    table = _table("edit", "skill by strength", "detectable from")
    for each in found:
        for curve in each.doses:
            skills = "  ".join(f"{dose.strength:g}: {dose.skill:.2f}" for dose in curve.doses)
            edit = f"{curve.family} {curve.dial}, {curve.league}"
            table.add_row(_name(each), edit, skills, detectable(curve))
    return table


def detectable(curve: DoseResponse) -> str:
    """The minimum detectable effect with its interval."""
    weakest, strongest = curve.doses[0].strength, curve.doses[-1].strength
    if curve.detectable is None:
        return f"above the strongest tested, {strongest:g}"
    if curve.beyond == "at or below":
        return f"the weakest tested, {weakest:g}, or less"
    low, high = (f"above {strongest:g}" if end is None else f"{end:.3g}" for end in (curve.low, curve.high))
    return f"{curve.detectable:.3g} [{low}, {high}]"


def _beside(figure: Figure | None) -> str:
    return "" if figure is None else f"{figure.value:.2f} ({figure.chance:.2f})".replace("(0.", "(.")


def _name(each: Readouts) -> Text:
    return Text(one_line(each.auditor, NAME))


def _table(*headings: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("auditor", min_width=16)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table
