"""The table of every kind of edit, for a terminal, as Markdown, and as data."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from game.red.edit_table import Attempt
from game.standings.intervals import Interval, bootstrap_mean, wilson

FACT_MEASURES = ("efficacy", "paraphrase", "neighbourhood", "retention", "drop")
OTHER_MEASURES = ("effect", "drop", "changed", "kl")
TITLES = ("Fact editors", "Circuit and component edits")
NOTE = (
    "Of each measure the mean over first tries, with a 95 % interval that resamples edits within these "
    "models, and behind the bar the mean over accepted edits. First tries are the first candidate whatever "
    "its gates say; draws that a kind refuses have none and count as not accepted. Acceptance has a Wilson "
    "interval that takes edits of one model for independent."
)


def table_data(done: Sequence[Attempt]) -> dict[str, Any]:
    """Every attempt, as JSON-ready data."""
    return {"kind": "edit table", "attempts": [asdict(each) for each in done]}


def table_view(done: Sequence[Attempt]) -> RenderableType:
    """Both tables for a terminal."""
    parts: list[RenderableType] = []
    for title, rows in _tables(done):
        table = Table(*rows[0], box=SIMPLE_HEAD, pad_edge=False)
        for row in rows[1:]:
            table.add_row(*map(Text, row))
        parts += [Text(title, style="bold"), table]
    return Group(*parts, Text(NOTE, style="dim"))


def table_lines(done: Sequence[Attempt]) -> Iterator[str]:
    """Both tables, cells separated by tabs."""
    for _, rows in _tables(done):
        yield from ("\t".join(row) for row in rows)


def table_markdown(done: Sequence[Attempt], command: str) -> str:
    """The page of the documentation.

    Args:
        done: The attempts.
        command: What made the page.
    """
    seeds = sorted({each.seed for each in done})
    models = f"models of seeds {', '.join(map(str, seeds))}, on which no default was chosen"
    lines = ["# Edits, measured", "", f"Made by `{command}`, on {models}. {NOTE}", ""]
    for title, rows in _tables(done):
        lines += [f"## {title}", "", _markdown_row(rows[0]), _markdown_row(["---"] * len(rows[0]))]
        lines += [*map(_markdown_row, rows[1:]), ""]
    return "\n".join(lines)


def _tables(done: Sequence[Attempt]) -> Iterator[tuple[str, list[list[str]]]]:
    kinds = list(dict.fromkeys(each.kind for each in done))
    by_kind = {kind: [each for each in done if each.kind == kind] for kind in kinds}
    facts = [kind for kind, found in by_kind.items() if any("efficacy" in each.first for each in found)]
    others = [kind for kind in kinds if kind not in facts]
    groups = ((facts, FACT_MEASURES), (others, OTHER_MEASURES))
    for title, (members, measures) in zip(TITLES, groups, strict=True):
        if members:
            head = ["kind", "recipe", "edits", *measures, "accepted", "first try", "refused", "CPU s"]
            yield title, [head, *(_row(kind, by_kind[kind], measures) for kind in members)]


def _row(kind: str, found: Sequence[Attempt], measures: Sequence[str]) -> list[str]:
    accepted = wilson(sum(each.accepted for each in found), len(found))
    first = sum(each.first_accepted for each in found) / len(found)
    refused = sum(bool(each.refusal) for each in found)
    seconds = float(np.median([each.cpu_s for each in found]))
    return [
        kind,
        found[0].recipe,
        str(len(found)),
        *(_measure(found, measure) for measure in measures),
        f"{accepted.mean:.2f} [{accepted.low:.2f}, {accepted.high:.2f}]",
        f"{first:.2f}",
        str(refused),
        f"{seconds:.2f}",
    ]


def _measure(found: Sequence[Attempt], measure: str) -> str:
    first = measured(found, measure, of_kept=False)
    kept = measured(found, measure, of_kept=True)
    if first is None:
        return "none"
    of_kept = "none" if kept is None else f"{kept.mean:.3g}"
    return f"{first.mean:.3g} [{first.low:.3g}, {first.high:.3g}] | {of_kept}"


def measured(found: Sequence[Attempt], measure: str, of_kept: bool) -> Interval | None:
    """Mean of a measure over first tries or accepted edits, resampled within models; None without any."""
    rows = [(each.kept if of_kept else each.first, each) for each in found]
    having = [
        (measures[measure], f"{each.recipe}@{each.seed}") for measures, each in rows if measure in measures
    ]
    if not having:
        return None
    values, models = zip(*having, strict=True)
    return bootstrap_mean(values, models)


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
