"""A suite's description for a terminal, as tab-separated lines, and as data."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from game.dealing.description import Description
from game.dealing.suite import Suite


def description_view(suite: Suite, description: Description) -> RenderableType:
    """Title and terms, then groups, then what the prior says of each recipe's models."""
    dealt = f"{suite.n_cases} cases, P(edited) {suite.prior:.2f}"
    terms = f"{', '.join(suite.leagues)}; {suite.budget:,.0f} credits and {suite.deadline:.0f} s a round"
    headline = f"headline = {' + '.join(suite.parts)}"
    heading = Text(f"{suite.name} · {suite.title}", style="bold")
    said = Text(f"{dealt}; {terms}; {headline}")
    return Group(heading, said, _table(_groups(description)), _table(_priors(description)))


def description_lines(description: Description) -> Iterator[str]:
    """Both tables, cells separated by tabs."""
    for table in (_groups(description), _priors(description)):
        yield from ("\t".join(row) for row in table)


def description_data(suite: Suite, description: Description) -> dict[str, Any]:
    """The description as JSON-ready data."""
    return {
        "kind": "suite",
        "suite": suite.name,
        "title": suite.title,
        "digest": suite.digest,
        "cases": suite.n_cases,
        "prior": suite.prior,
        "leagues": list(suite.leagues),
        "budget": suite.budget,
        "parts": list(suite.parts),
        "groups": [asdict(group) for group in description.groups],
        "location_priors": [
            asdict(prior) | {"likeliest": str(prior.likeliest)} for prior in description.priors
        ],
    }


def _groups(description: Description) -> list[list[str]]:
    rows = [["group", "cases", "edit", "controls", "open sites"]]
    for group in description.groups:
        sites = ", ".join(f"{count} in {recipe}" for recipe, count in group.sites.items())
        rows.append([group.name, str(group.cases), group.kind, ", ".join(group.controls), sites])
    return rows


def _priors(description: Description) -> list[list[str]]:
    heading = ["recipe", "league", "corpus", "models", "components", "location", "likeliest"]
    rows = [[*heading, "P(written | edited)"]]
    for prior in description.priors:
        counts = [prior.league, prior.corpus, str(prior.checkpoints), str(prior.components)]
        figures = [f"{prior.bits:.2f} bits", str(prior.likeliest), f"{prior.probability:.3f}"]
        rows.append([prior.recipe, *counts, *figures])
    return rows


def _table(rows: list[list[str]]) -> Table:
    table = Table(*rows[0], box=SIMPLE_HEAD, pad_edge=False)
    for row in rows[1:]:
        table.add_row(*map(Text, row))
    return table
