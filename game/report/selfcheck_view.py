"""What leak auditors found, as a table, as lines and as data."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from game.selfcheck.chance import TOLD
from game.selfcheck.verdicts import Row, SelfCheck


def selfcheck_view(found: SelfCheck) -> Group:
    """A row for each look, and under it how sharp the look was."""
    table = Table("probe", "what it sees", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("AUROC", "p", "power"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict")
    for row in found.rows:
        verdict = Text(_verdict(row), style="bold red" if row.leaks else "")
        if row.detail:
            verdict.append(f"; {row.detail}", style="dim")
        table.add_row(row.probe, Text(row.sees, style="dim"), *_figures(row), verdict)
    return Group(
        Text(f"{found.suite}: {_summary(found)}", style="bold"), table, Text(_sharpness(found), "dim")
    )


def selfcheck_lines(found: SelfCheck) -> Iterator[str]:
    """The same as lines of tab-separated columns."""
    yield "\t".join(("probe", "auroc", "p", "power", "verdict", "detail"))
    for row in found.rows:
        yield "\t".join((row.probe, *_figures(row), _verdict(row), row.detail))
    yield "\t".join((found.suite, "", "", f"{found.power:.2f}", _summary(found), ""))


def selfcheck_data(found: SelfCheck) -> Iterator[dict[str, Any]]:
    """The same as JSON-ready data: one object for each look, then one for all."""
    for row in found.rows:
        yield {"kind": "probe", **asdict(row)}
    summary = {name: value for name, value in asdict(found).items() if name != "rows"}
    yield {"kind": "selfcheck", **summary, "leaks": list(found.leaks)}


def _figures(row: Row) -> tuple[str, str, str]:
    if row.auroc is None or row.p is None or row.power is None:
        return "", "", ""
    return f"{row.auroc:.2f}", f"{row.p:.2g}", f"{row.power:.2f}"


def _verdict(row: Row) -> str:
    if row.test == "exact":
        return "differs" if row.leaks else "the same"
    return "leaks" if row.leaks else "at chance"


def _summary(found: SelfCheck) -> str:
    return f"leaks by {', '.join(found.leaks)}" if found.leaks else "nothing leaks"


def _sharpness(found: SelfCheck) -> str:
    return (
        f"{found.cases} cases, {found.edited} of them edited, dealt for this and thrown away; one number a "
        f"case with an area of {TOLD:g} would have been found with probability {found.power:.2f}"
    )
