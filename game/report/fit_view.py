"""What an auditor's fit is worth, for a terminal, as tab-separated lines, and as data."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from game.auditing.belief import Belief, Fit
from game.fitting.fit import Fitted
from game.report.plain_text import one_line

SHOWN = 3  # numbers a belief, those of most weight first
HEADINGS = (
    "belief",
    "cases",
    "fitted to",
    "penalty",
    "nats",
    "prior's",
    "AUROC",
    "calibration",
    "top-1",
    "prior's",
)


def fit_view(fit: Fit, rows: Sequence[Fitted]) -> RenderableType:
    """A table with a row for each belief; every figure is of cases on bases that were left out."""
    heading = Text(f"{one_line(fit.auditor)} fitted to {fit.cases} cases of {fit.suite}", style="bold")
    if not rows:
        return Group(heading, Text("nothing was read in enough cases; it reports the declared prior"))
    table = Table(*HEADINGS, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*map(Text, _figures(row)))
    said = "all figures are of cases on base checkpoints that the weights were not fitted to"
    weights = [Text(f"{row.name}: {_weights(row)}", style="dim") for row in rows]
    return Group(heading, table, Text(said, style="dim"), *weights)


def fit_lines(fit: Fit, rows: Sequence[Fitted]) -> Iterator[str]:
    """The same as lines with tabs."""
    yield "\t".join(("auditor", *HEADINGS, "what weighs most"))
    for row in rows:
        yield "\t".join((one_line(fit.auditor), *_figures(row), _weights(row)))


def fit_data(fit: Fit, row: Fitted) -> dict[str, Any]:
    """One belief as JSON-ready data."""
    head = {"kind": "fit", "auditor": fit.auditor, "suite": fit.suite, "digest": fit.digest}
    return head | asdict(row)


def weightiest(belief: Belief) -> list[str]:
    """The numbers that move the log-odds most, with how much a standard deviation of each is worth."""
    numbers = {**belief.places, **{f"model: {name}": each for name, each in belief.whole.items()}}
    order = sorted(numbers, key=lambda name: -abs(numbers[name].weight) - abs(numbers[name].tail))
    return [f"{one_line(name)} {numbers[name].weight + numbers[name].tail:+.2f}" for name in order[:SHOWN]]


def _figures(row: Fitted) -> list[str]:
    figures = [f"{x:.3f}" for x in (row.loss, row.prior_loss, row.auroc, row.error, row.hit, row.prior_hit)]
    return [row.name, str(row.cases), str(row.fitted_to), f"{row.strength:g}", *figures]


def _weights(row: Fitted) -> str:
    return "no better than the prior" if row.belief is None else ", ".join(weightiest(row.belief))
