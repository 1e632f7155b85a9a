"""One kept checkpoint for a terminal, as tab-separated lines, and as data."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from game.report.bars import probability_bar, sparkline
from models.bounds import Bound
from models.shelf import Kept, Note, read
from models.strict_yaml import ConfigError
from models.tasks.base import Finding
from models.zoo import rebuilt, state_of

SHOWN = 8  # largest values of a long finding
WIDE = 12  # columns of a finding that is shown as a grid


def checkpoint_data(each: Kept) -> dict[str, Any]:
    """Everything that is known of a checkpoint, as JSON-ready data."""
    note, _, findings = _read(each)
    found = {
        name: {"meaning": finding.meaning, "axes": list(finding.axes), "values": finding.values.tolist()}
        for name, finding in findings.items()
    }
    head = {"kind": "checkpoint", "checkpoint": note.name, "state": state_of(each), "hash": note.hash}
    return head | note.model_dump(mode="json") | {"findings": found}


def checkpoint_lines(each: Kept) -> Iterator[str]:
    """Origin, measures and findings, a line each, cells separated by tabs."""
    note, _, findings = _read(each)
    yield from ("\t".join(row) for row in _origin(each, note))
    for name, value in note.metrics.items():
        yield f"{name}\t{value:.4f}\t{_wanted(note, name)}"
    for name, finding in findings.items():
        values = " ".join(f"{value:.3f}" for value in finding.values.flatten().tolist())
        yield f"{name}\t{' x '.join(finding.axes)}\t{values}"


def checkpoint_view(each: Kept) -> RenderableType:
    """Origin, measures beside what the recipe wants, the loss curve, and traces of the mechanism."""
    note, notes, findings = _read(each)
    parts: list[RenderableType] = [
        Text(note.name, style="bold"),
        Text(str(note.recipe.get("description", "")).strip()),
        _plain_table(list(_origin(each, note))),
        _measures(note),
    ]
    if note.curve:
        losses = [loss for _, loss, _ in note.curve]
        last = f"{losses[0]:.2f} to {losses[-1]:.3f} nats on answers in {note.curve[-1][0]} steps"
        parts += [Text(f"loss  {sparkline(losses)}  {last}"), Text("")]
    for name, finding in findings.items():
        parts += [Text(f"{name}: {finding.meaning}", style="italic"), _finding(finding)]
    return Group(*parts, Text(notes))


def _read(each: Kept) -> tuple[Note, str, Mapping[str, Finding]]:
    """A checkpoint's note, the task's notes and its findings, as far as its task is still known."""
    found = read(each.path)
    assert found is not None
    checkpoint, note = found
    try:
        task = rebuilt(note).task.build(note.world_seed)
    except ConfigError as error:
        return note, f"its task cannot be read now: {error}", {}
    return note, task.notes, task.findings(checkpoint.model())


def _origin(each: Kept, note: Note) -> Iterator[list[str]]:
    shape = note.recipe["architecture"]
    sizes = ", ".join(f"{name} {shape[name]}" for name in ("n_layers", "d_model", "n_heads", "d_mlp"))
    yield ["state", state_of(each)]
    yield ["task", str(note.recipe["task"]["kind"])]
    yield ["model", sizes]
    yield ["seeds", f"world {note.world_seed}, training {note.seed}"]
    yield ["origin", ", ".join(f"{name} {value}" for name, value in note.origin.items())]
    yield ["hash", note.hash]
    yield ["file", f"{each.path.name}, {each.size / 1e6:.2f} MB, sha256 {note.sha256[:16]}"]
    yield ["training", f"{note.cpu_s:.0f} CPU s"]


def _measures(note: Note) -> Table:
    table = Table("measure", "value", "wanted", box=SIMPLE_HEAD, pad_edge=False)
    for name, value in note.metrics.items():
        table.add_row(name, f"{value:.4f}", _wanted(note, name))
    return table


def _wanted(note: Note, name: str) -> str:
    bound = note.recipe.get("criterion", {}).get(name)
    return "" if bound is None else str(Bound.model_validate(bound))


def _finding(finding: Finding) -> Table:
    values = finding.values
    if values.dim() == 2 and values.shape[1] <= WIDE:
        row, column = finding.axes
        table = Table(
            row, *(f"{column} {i}" for i in range(values.shape[1])), box=SIMPLE_HEAD, pad_edge=False
        )
        for i, cells in enumerate(values.tolist()):
            table.add_row(str(i), *(Text(f"{cell:.2f}", style=_shade(cell)) for cell in cells))
        return table
    table = Table(" x ".join(finding.axes), "value", "", box=SIMPLE_HEAD, pad_edge=False)
    flat = values.flatten()
    chosen = flat.argsort(descending=True)[:SHOWN] if len(flat) > WIDE else range(len(flat))
    for place in sorted(map(int, chosen)):
        value = float(flat[place])
        table.add_row(_place(place, values.shape), f"{value:.3f}", probability_bar(min(max(value, 0.0), 1.0)))
    return table


def _place(place: int, shape: tuple[int, ...]) -> str:
    """An index into a flattened array, one number an axis."""
    indices = []
    for size in reversed(shape):
        place, index = divmod(place, size)
        indices.append(str(index))
    return ", ".join(reversed(indices))


def _shade(value: float) -> str:
    return "bold green" if value >= 0.5 else "" if value >= 0.1 else "dim"


def _plain_table(rows: list[list[str]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, text in rows:
        table.add_row(Text(name, style="dim"), Text(text))
    return table
