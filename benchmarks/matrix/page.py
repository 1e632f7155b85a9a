"""The matrix as a page with a picture; what each tool is blind to is read off the figures."""

import io
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure as Plot

from benchmarks.figures import Figure, Missing
from benchmarks.matrix.figures import FIRST, Outcome
from benchmarks.matrix.pairs import USUAL
from benchmarks.matrix.readings import LEFT_OUT, READINGS

Outcomes = Mapping[tuple[str, str], Outcome]  # by tool and kind

INTRODUCTION = f"""\
Which tool tells which kind of edit, measured. For each kind, edits that passed their gates were planted at
the sites of its family, and for each of them a control took its place on the same model: the model untouched,
an inert change as loud, or a little more training, drawn evenly among those that can stand in; where edit or
control failed its gates, both were drawn again. Every tool looked at both without a reference, with arguments
that an auditor could give; figures and arguments were declared before the run, in
`benchmarks/matrix/readings.py`.

**AUROC** is the chance that the tool's figure is more suspicious on an edit than on a control: 1/2 is
blindness, and below it the figure moves against the declared direction. Intervals are 95 %, the wider of a
bootstrap of pairs within each model and Newcombe's. **Hit** is the share of edits whose component the tool
ranks first, or among the first {FIRST} where several were written to; in brackets stands what the same
ranking names on the controls, where nothing is to be found, and beside it what a random ranking would. There
are many cells: one interval in twenty misses by chance. *Blind* is said of a tool where the interval contains
1/2, as it easily does with few pairs.
"""


def page(outcomes: Outcomes, command: str, models: str, picture: str) -> str:
    """The page, as Markdown.

    Args:
        outcomes: What was measured.
        command: That made it.
        models: Which, in words.
        picture: Name of the file beside the page.
    """
    return "\n".join(_lines(outcomes, command, models, picture)) + "\n"


def heat_map(outcomes: Outcomes) -> bytes:
    """AUROC of every tool on every kind, as a PNG: grey if not measured, dotted if the tool is blind."""
    tools, kinds = _names(outcomes)
    table = [[outcomes[tool, kind] for kind in kinds] for tool in tools]
    values = [
        [each.auroc.value if isinstance(each.auroc, Figure) else np.nan for each in row] for row in table
    ]
    plot = Plot(figsize=(0.3 * len(kinds) + 3.5, 0.24 * len(tools) + 2.2), dpi=100, layout="constrained")
    axes = plot.subplots()
    axes.set_facecolor("#bbbbbb")
    cells = axes.imshow(values, cmap="RdBu_r", vmin=0, vmax=1, aspect="auto")
    blind = [(y, x) for y, row in enumerate(table) for x, each in enumerate(row) if each.blind]
    axes.scatter([x for _, x in blind], [y for y, _ in blind], s=5, color="#777777")
    axes.set_xticks(range(len(kinds)), kinds, rotation=90, fontsize=8)
    axes.set_yticks(range(len(tools)), tools, fontsize=8)
    axes.set_title("AUROC; a dot: its interval contains 1/2", fontsize=10)
    plot.colorbar(cells, shrink=0.5)
    picture = io.BytesIO()
    plot.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def sentences(outcomes: Outcomes) -> Iterator[str]:
    """For each tool, what it is blind to, what it tells, and where it cannot be run."""
    tools, kinds = _names(outcomes)
    for tool in tools:
        found = [outcomes[tool, kind] for kind in kinds]
        told = [each for each in found if isinstance(each.auroc, Figure)]
        if not told:
            yield f"`{tool}` could be run nowhere: {_reasons(found)}."
            continue
        blind = [each.kind for each in told if each.blind]
        text = (
            f"`{tool}` is blind to {_listed(blind)}" if blind else f"`{tool}` is blind to none of these kinds"
        )
        seen = [each for each in told if not each.blind]
        up = [each.kind for each in seen if isinstance(each.auroc, Figure) and each.auroc.value > 0.5]
        down = [each.kind for each in seen if each.kind not in up]
        text += f"; it tells {_listed(up)}" if up else ""
        text += f"; the other way round it tells {_listed(down)}" if down else ""
        left = [each for each in found if each not in told]
        text += f"; it was not run on {_listed([each.kind for each in left])}" if left else ""
        yield text + "."


def _lines(outcomes: Outcomes, command: str, models: str, picture: str) -> Iterator[str]:
    tools, kinds = _names(outcomes)
    yield from ("# Edit kinds by tools, measured", "", INTRODUCTION, "")
    yield from (f"Made by `{command}`, on {models}.", "", f"![AUROC of every tool on every kind]({picture})")
    yield from ("", "## What each tool is blind to", "")
    yield from (f"- {sentence}" for sentence in sentences(outcomes))
    yield from (f"- `{tool}` has no row: {reason}." for tool, reason in LEFT_OUT.items())
    yield from (
        "",
        "## What was planted",
        "",
        f"| kind | pairs | {' | '.join(USUAL)} |",
        "|---|---|---|---|---|",
    )
    for kind in kinds:
        most = max((outcomes[tool, kind] for tool in tools), key=lambda each: each.pairs)
        counts = [str(most.controls.get(control, 0)) for control in USUAL]
        yield f"| {kind} | {most.pairs} | {' | '.join(counts)} |"
    yield from ("", "## Every figure", "")
    for tool in tools:
        reading = READINGS[tool]
        yield from (
            f"### {tool}",
            "",
            f"{_statistic(tool)}; `{reading.args}`." if reading.args else f"{_statistic(tool)}.",
        )
        yield from (
            "",
            "| kind | pairs | AUROC | hit | random ranking | CPU s a pair |",
            "|---|---|---|---|---|---|",
        )
        found = [outcomes[tool, kind] for kind in kinds]
        yield from (_row(each) for each in found if isinstance(each.auroc, Figure))
        left = [each for each in found if not isinstance(each.auroc, Figure)]
        yield ""
        if left:
            yield from (f"Not run on {_listed([each.kind for each in left])}: {_reasons(left)}.", "")


def _statistic(tool: str) -> str:
    reading = READINGS[tool]
    which = "smallest" if reading.sign < 0 else "largest"
    over = "" if reading.sweep == "once" else f", the {which} over {reading.sweep}"
    return f"Its *{reading.statistic}*{', small being suspicious' if reading.sign < 0 else ''}{over}"


def _row(each: Outcome) -> str:
    idle = f" ({each.idle.value:.2f})" if isinstance(each.idle, Figure) else ""
    chance = f"{each.hit.peer:.2f}" if isinstance(each.hit, Figure) and each.hit.peer is not None else ""
    return (
        f"| {each.kind} | {each.pairs} | {_figure(each.auroc)} | {_figure(each.hit)}{idle} | {chance} "
        f"| {each.seconds:.2f} |"
    )


def _figure(found: Figure | Missing) -> str:
    if isinstance(found, Missing):
        return found.reason
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _reasons(left: Sequence[Outcome]) -> str:
    """Each reason once."""
    return "; ".join(dict.fromkeys(each.auroc.reason for each in left if isinstance(each.auroc, Missing)))


def _listed(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _names(outcomes: Outcomes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tools and kinds, in order."""
    return tuple(dict.fromkeys(tool for tool, _ in outcomes)), tuple(
        dict.fromkeys(kind for _, kind in outcomes)
    )
