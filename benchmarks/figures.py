"""How a benchmark says its figures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import bootstrap


@dataclass(frozen=True)
class Figure:
    """One figure with its range.

    Attributes:
        value: The figure.
        unit: What it counts.
        low, high: 95 % bootstrap interval of a mean; for a few repeats, their smallest and largest.
        peer: The same figure of the peer beside us, where there is one.
    """

    value: float
    unit: str
    low: float
    high: float
    peer: float | None = None


@dataclass(frozen=True)
class Missing:
    """A figure that could not be measured, and why."""

    reason: str


def mean_of(values: Sequence[float], unit: str) -> Figure:
    """Mean with a 95 % percentile bootstrap interval over the values."""
    data = np.asarray(values, dtype=float)
    if len(data) < 2 or np.ptp(data) == 0:
        return Figure(float(data.mean()), unit, float(data.mean()), float(data.mean()))
    found = bootstrap((data,), np.mean, method="percentile", n_resamples=2000, rng=np.random.default_rng(0))
    interval = found.confidence_interval
    return Figure(float(data.mean()), unit, float(interval.low), float(interval.high))


def spread_of(values: Sequence[float], unit: str) -> Figure:
    """Median of a few repeats, with the smallest and the largest."""
    return Figure(float(np.median(values)), unit, min(values), max(values))


def show(title: str, rows: Mapping[str, Figure | Missing], note: str = "") -> None:
    """Print figures as a table."""
    table = Table(title=title, caption=note)
    for heading in ("figure", "value", "from", "to", "unit", "peer"):
        table.add_column(heading, no_wrap=True)
    for name, row in rows.items():
        if isinstance(row, Missing):
            table.add_row(name, "missing", "", "", row.reason)
            continue
        peer = "" if row.peer is None else f"{row.peer:.4g}"
        table.add_row(name, f"{row.value:.4g}", f"{row.low:.4g}", f"{row.high:.4g}", row.unit, peer)
    Console(width=max(Console().width, 110)).print(table)


def show_grid(title: str, rows: Mapping[str, Mapping[str, Figure]]) -> None:
    """Print several rows of the same figures as a table, each cell with its range."""
    columns = next(iter(rows.values()))
    table = Table("", *columns, title=title)
    for name, row in rows.items():
        cells = (
            f"{figure.value:.3f} [dim]{figure.low:.3f} to {figure.high:.3f}[/dim]" for figure in row.values()
        )
        table.add_row(name, *cells)
    Console(width=max(Console().width, 120)).print(table)


def print_json(rows: Mapping[str, Figure | Missing]) -> None:
    """Print figures as one JSON object; a missing one has the value null and its reason."""
    data = {
        name: {"value": None, "missing": row.reason} if isinstance(row, Missing) else asdict(row)
        for name, row in rows.items()
    }
    print(json.dumps(data, allow_nan=False))
