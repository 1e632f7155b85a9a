"""What a verification found: a table, tab-separated lines, or JSON."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from game.proof.verify import Verification
from game.report.plain_text import one_line


def verification_view(found: Verification) -> RenderableType:
    """What was checked and how much of it, then a line for each fault."""
    table = Table("holds", "looked at", "faults", title=f"run {found.folder.name}", title_justify="left")
    for check in found.checks:
        style = "red" if check.faults else "dim" if not check.count else "green"
        mark = str(len(check.faults)) if check.faults else "-" if not check.count else "none"
        table.add_row(check.name, str(check.count), Text(mark, style=style))
    lines = [Text(line, style="red") for line in _faults(found)]
    return Group(table, *lines, *(Text(line) for line in _ending(found)))


def verification_lines(found: Verification) -> Iterator[str]:
    """The same as tab-separated lines."""
    yield "holds\tlooked at\tfaults"
    for check in found.checks:
        yield f"{check.name}\t{check.count}\t{len(check.faults)}"
    yield from _faults(found)
    yield from _ending(found)


def verification_data(found: Verification) -> Iterator[dict[str, Any]]:
    """A line for each check, each fault, and the whole."""
    for check in found.checks:
        yield {"kind": "check", "name": check.name, "count": check.count, "faults": len(check.faults)}
    for fault in found.faults:
        yield {"kind": "fault", **asdict(fault)}
    yield {
        "kind": "verification",
        "run": found.folder.name,
        "holds": not found.faults,
        "notes": list(found.notes),
        "commitments": found.commitments or None,
        "head": found.head or None,
    }


def _faults(found: Verification) -> Iterator[str]:
    for each in found.faults:
        told = f"{each.where}: {each.what}: wanted {each.expected}; got {each.got}"
        yield one_line(told, 400)


def _ending(found: Verification) -> Iterator[str]:
    yield from (one_line(note, 200) for note in found.notes)
    if found.commitments:
        yield one_line(f"commitments {found.commitments}", 100)
    if found.head:
        yield one_line(f"head {found.head}", 100)
    yield f"{len(found.faults)} faults" if found.faults else "no fault"
