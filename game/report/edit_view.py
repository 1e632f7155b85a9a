"""An edit with its truth, gates and measures, for a terminal, as tab-separated lines, and as data."""

from collections.abc import Iterator
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edits.gates import GateResult
from game.dealing.suite import as_data
from game.red.lab import Preview
from game.report.bars import probability_bar, sparkline
from game.report.plain_text import one_line
from models.bounds import Bound

SHOWN = 8  # carriers and touched entries in one table or line


def preview_data(preview: Preview) -> dict[str, Any]:
    """Everything that is known, as JSON-ready data."""
    record = preview.edited.record.to_dict()
    base = {"base": preview.base.trained.name, "summary": preview.summary}
    return {"kind": "edit", **base, "spec": as_data(preview.spec), "record": record}


def preview_lines(preview: Preview) -> Iterator[str]:
    """Truth, gates and measures, a line each, cells separated by tabs."""
    yield from ("\t".join(row) for row in _truth(preview))
    for gate in preview.edited.record.gates:
        yield "\t".join(("gate", gate.name, f"{gate.value:.4f}", _bound(gate), _verdict(gate)))
    for name, value in preview.edited.record.measured.items():
        yield f"{name}\t{value:.4f}"


def preview_view(preview: Preview) -> RenderableType:
    """What was done and where, what the gates say, what carries it, and the change's spectrum."""
    record = preview.edited.record
    verdict = Text("accepted", style="bold green") if record.accepted else Text("refused", style="bold red")
    heading = Text(one_line(preview.summary), style="bold").append(f"  on {preview.base.trained.name}: ")
    parts: list[RenderableType] = [heading.append_text(verdict), _plain(list(_truth(preview)))]
    if record.gates:
        parts += [Text("\ngates, on the reloaded file", style="bold"), _gates(record.gates)]
    parts += [Text("\nmeasures", style="bold"), _measures(preview)]
    if record.carriers.repairs:
        parts += [Text("\nwhat carries the behaviour", style="bold"), _carriers(preview)]
    change = preview.loudest()
    if change is not None:
        parts += [Text(f"\nsingular values of {change.tensor}, from the largest", style="bold")]
        for name, sigma in (("before", change.sigma_before), ("after", change.sigma_after)):
            parts.append(Text(f"{name:<7} {sparkline(sigma.tolist(), 64)}  first {float(sigma[0]):.3g}"))
        sigma = change.sigma_delta
        parts.append(Text(f"change  {sparkline(sigma.tolist(), 64)}  first {float(sigma[0]):.3g}"))
    return Group(*parts)


def _truth(preview: Preview) -> Iterator[list[str]]:
    record = preview.edited.record
    yield ["kind", record.kind + ("" if record.edited else ", a control: the right verdict is clean")]
    if record.behaviour:
        yield ["behaviour", one_line(record.behaviour)]
    yield ["written at", _listed(record.components)]
    yield ["entries", _listed(record.written)]
    if set(record.touched) != set(record.written):
        yield ["touched", f"{len(record.touched)} entries, camouflage included"]
    if record.fine.neurons:
        yield ["neurons", _listed([f"{layer}.{neuron}" for layer, neuron in record.fine.neurons])]
    if record.fine.rows:
        yield ["rows", _listed([f"{tensor}[{row}]" for tensor, row in record.fine.rows])]
    if record.carriers.acts_through:
        yield ["acts through", _listed(record.carriers.acts_through)]
    for name, dial in record.dials.items():
        yield [name, f"{dial:g}" if isinstance(dial, float) else str(dial)]


def _gates(gates: tuple[GateResult, ...]) -> Table:
    table = Table("gate", "value", "wanted", "", box=SIMPLE_HEAD, pad_edge=False)
    for gate in gates:
        style = "green" if gate.passed else "red"
        table.add_row(gate.name, f"{gate.value:.4f}", _bound(gate), Text(_verdict(gate), style=style))
    return table


def _measures(preview: Preview) -> Table:
    gated = {gate.name for gate in preview.edited.record.gates}
    rows = [[n, f"{v:.4g}"] for n, v in preview.edited.record.measured.items() if n not in gated]
    return _plain(rows)


def _carriers(preview: Preview) -> Table:
    carriers = preview.edited.record.carriers
    chosen = sorted(carriers.repairs, key=lambda name: -max(carriers.repairs[name], carriers.suffices[name]))
    table = Table("component", "restored, it repairs", "alone, it suffices", box=SIMPLE_HEAD, pad_edge=False)
    written = set(preview.edited.record.components)
    for name in chosen[:SHOWN]:
        repairs, suffices = carriers.repairs[name], carriers.suffices[name]
        cells = (f"{probability_bar(share, 12)} {share:.2f}" for share in (repairs, suffices))
        table.add_row(name, *cells, style="bold" if name in written else "")
    return table


def _bound(gate: GateResult) -> str:
    return str(Bound(min=gate.min, max=gate.max))


def _verdict(gate: GateResult) -> str:
    return "holds" if gate.passed else "fails"


def _listed(names: Any) -> str:
    shown = list(names)
    more = f", ... ({len(shown)} in all)" if len(shown) > SHOWN else ""
    return ", ".join(shown[:SHOWN]) + more or "nothing"


def _plain(rows: list[list[str]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, text in rows:
        table.add_row(Text(name, style="dim"), Text(text))
    return table
