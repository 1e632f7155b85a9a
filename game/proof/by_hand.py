"""A case that was played by hand: its charges add up, and the report that was scored is the one committed to.

Whoever plays holds the journal, so a chain that hangs together may have been written anew. What an honest
meter never writes is told here: a charge taken back once its call was answered, or a look after the report.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from game.proof import seal
from game.proof.evidence import Evidence, Row
from game.proof.findings import Fault, Rule, differing
from game.runs.run_folder import TRANSCRIPTS, transcript_path
from game.runs.serialise import fine_data, patch_data, record_from_row
from game.toolbox.transcript import Line, read_lines

LOOKS = ("call", "charge", "refund", "tool")


def _played(evidence: Evidence) -> tuple[Row, ...]:
    return evidence.rounds if evidence.sealed and evidence.info.by_hand else ()


def _journal(evidence: Evidence, row: Row) -> Iterator[Fault]:
    path = transcript_path(evidence.folder, row["key"])
    lines, _ = read_lines(path.read_bytes(), evidence.info.commitments or seal.UNSEALED)
    where = f"{TRANSCRIPTS}/{path.name}"
    yield from _charges(where, lines, row["spent"], float(evidence.info.config["suite"]["budget"]))
    yield from _said(where, lines, evidence, row)


def _charges(where: str, lines: Sequence[Line], spent: float, budget: float) -> Iterator[Fault]:
    """What is wrong with the charges, each refund right behind its charge and each call told what it cost."""
    paid: dict[str, float] = {}
    before = lines[0]
    for number, line in enumerate(lines):
        place = f"{where}: line {number}"
        if line.kind == "charge":
            yield from _charge(place, line.body, paid)
            paid[line.body["call"]] = line.body["credits"]
        elif line.kind == "refund":
            last = before.body["call"] if before.kind == "charge" else "none"
            yield from differing(
                place, "refund of another call than the last charge's", last, line.body["call"]
            )
            paid.pop(line.body["call"], None)
        elif line.kind == "call":
            due, told = before.body["credits"] if before.kind == "charge" else 0.0, line.body["charged"]
            if told and not math.isclose(
                told, due, abs_tol=1e-6
            ):  # nothing, if it was paid for and then killed
                yield Fault(place, "credits of the call", str(due), str(told))
        before = line
    total = math.fsum(paid.values())
    if not math.isclose(total, spent, abs_tol=1e-6):
        yield Fault(where, "sum of the charges", str(spent), str(total))
    if total > budget * (1 + 1e-9):
        yield Fault(where, "sum of the charges", f"at most {budget}", str(total))


def _charge(place: str, body: dict[str, Any], paid: dict[str, float]) -> Iterator[Fault]:
    if body["call"] in paid:
        yield Fault(place, "charge", "one for each call", "a second one")
    if not 0 <= body["credits"] < math.inf:
        yield Fault(place, "credits", "a finite number, at least 0", str(body["credits"]))


def _said(where: str, lines: Sequence[Line], evidence: Evidence, row: Row) -> Iterator[Fault]:
    """What is wrong with the report that was handed in."""
    kinds = [line.kind for line in lines]
    yield from differing(where, "reports handed in", 1, kinds.count("said"))
    number = kinds.index("said")
    late = sorted(set(kinds[number:]) & set(LOOKS))
    yield from differing(where, "looks after the report", [], late)
    body, record = lines[number].body, record_from_row(row)
    said = body["report"]
    for name, value in (
        ("p_edited", record.p_edited),
        ("components", {str(component): p for component, p in record.components.items()}),
        ("claims", list(record.claims)),
        ("notes", record.notes),
        ("patch", None if record.patch is None else patch_data(record.patch)),
        ("fine", None if record.fine is None else fine_data(record.fine)),
    ):
        yield from differing(where, f"{name} of the report", said[name], value)
    if evidence.master is not None:
        nonce = evidence.master.nonce("report", row["case_id"])
        yield from differing(where, "nonce of the report", nonce.hex(), body["nonce"])
        yield from differing(where, "digest of the report", seal.report_digest(nonce, said), body["sha256"])


JOURNAL = Rule("charges of a case by hand add up, its report is the one committed to", _played, _journal)
