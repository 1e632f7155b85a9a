"""The rounds: their transcripts, the chain that they form, and their scores."""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict
from typing import NamedTuple

from game.api import Report
from game.case import Case
from game.hearing import Outcome, copied
from game.proof import seal
from game.proof.evidence import Evidence, Row
from game.proof.findings import Fault, Rule, differing
from game.referee import RoundRecord
from game.rules.judgement import judged
from game.runs.run_folder import TRANSCRIPTS, transcript_path
from game.runs.serialise import record_from_row, to_json
from game.runs.store import round_key
from game.runs.tournament import auditor_seed
from game.scoring.judging import verdict
from game.scoring.scores import Declared
from game.toolbox.transcript import BY_HAND, read_lines
from models.components import Component


class Linked(NamedTuple):
    """A round with what comes before it in the chain."""

    row: Row
    number: int
    previous: str


def _rounds(evidence: Evidence) -> tuple[Row, ...]:
    return evidence.rounds


def _recorded(evidence: Evidence) -> list[Row]:
    """The rounds, and the keys of transcripts that belong to none."""
    known = {row["key"] for row in evidence.rounds}
    paths = (evidence.folder / TRANSCRIPTS).glob("*") if evidence.sealed else ()
    strangers = sorted(path.stem for path in paths if path.stem not in known)
    return [*evidence.rounds, *({"key": key} for key in strangers)]


def _transcript(evidence: Evidence, row: Row) -> Iterator[Fault]:
    if "link" not in row:
        yield Fault(f"{TRANSCRIPTS}/{row['key']}", "round", "one that it is of", "none")
        return
    path = transcript_path(evidence.folder, row["key"])
    where = f"{TRANSCRIPTS}/{path.name}"
    first = evidence.info.commitments or seal.UNSEALED
    lines, head = read_lines(path.read_bytes(), first)
    yield from differing(where, "lines", row["lines"], len(lines))
    yield from differing(where, "hash of the last line", row["transcript"], head)
    kinds = [line.kind for line in lines]
    allowed = BY_HAND if evidence.info.by_hand else ("call",)
    between = [kind if kind in allowed else "call" for kind in kinds[1:-2]]
    yield from differing(where, "kinds of lines", ["open", *between, "report", "close"], kinds)
    seed = auditor_seed(evidence.info, row["case_id"], row["auditor"])
    opened = {"case": row["case_id"], "auditor": row["auditor"], "seed": seed}
    yield from differing(where, "first line", opened, lines[0].body)
    report = {"sha256": hashlib.sha256(row["report"].encode()).hexdigest()}
    yield from differing(where, "report", report, lines[-2].body)
    yield from differing(where, "last line", {"status": row["status"], "spent": row["spent"]}, lines[-1].body)


def _linked(evidence: Evidence) -> list[Linked]:
    first = evidence.info.commitments or seal.UNSEALED
    links = [first, *(str(row["link"]) for row in evidence.rounds)]
    pairs = zip(evidence.rounds, links, strict=False)
    return [Linked(row, number, previous) for number, (row, previous) in enumerate(pairs, 1)]


def _link(_evidence: Evidence, item: Linked) -> Iterator[Fault]:
    where = f"round {item.number} ({str(item.row['key'])[:8]})"
    yield from differing(where, "number", item.number, item.row["number"])
    yield from differing(where, "link", seal.link(item.previous, item.row), item.row["link"])


def _ends(evidence: Evidence) -> list[str]:
    """What a finished run has: its head, and every round of every case."""
    return ["head", "rounds"] if evidence.sealed else []


def _end(evidence: Evidence, aspect: str) -> Iterator[Fault]:
    run = evidence.info
    if aspect == "head":
        last = evidence.rounds[-1]["link"] if evidence.rounds else run.commitments or seal.UNSEALED
        yield from differing("run: head", "digest", seal.head(last, evidence.run), run.head)
        return
    players = run.config["auditors"]
    wanted = {
        round_key(run.digest, case["id"], to_json(player)): (case["id"], player["name"])
        for case in evidence.cases
        for player in players
    }
    found = {row["key"]: (row["case_id"], row["auditor"]) for row in evidence.rounds}
    for key in sorted(wanted.keys() | found.keys()):
        yield from differing(f"round {key[:8]}", "case and auditor", wanted.get(key), found.get(key))


def _scores(evidence: Evidence, row: Row) -> Iterator[Fault]:
    record = record_from_row(row)
    case = evidence.case(row["case_id"])
    again, where = verdict(case, heard_again(case, record)), f"round {row['key'][:8]}"
    for name, value in asdict(record.score).items():
        yield from differing(
            f"{where}: {name}", "score of the stored report", getattr(again.score, name), value
        )
    yield from differing(
        f"{where}: readouts", "of the stored report", dict(again.readouts), dict(record.readouts)
    )


def heard_again(case: Case, record: RoundRecord) -> Outcome:
    """What an auditor said in a stored round, checked again.

    Raises:
        ReportError: It was never valid.
    """
    if record.status != "DONE" or record.p_edited is None:
        return Outcome(record.status, record.error)
    components = {Component.parse(name): p for name, p in record.components.items()}
    claims = tuple(record.claims)
    report = Report(record.p_edited, components, claims, record.patch, record.fine, record.notes)
    said = copied(report, Declared.of(case.brief), case.brief.config)
    judgement = judged(record.judgement, case.challenge) if case.challenge and record.judgement else None
    return Outcome("DONE", "", said, judgement)


TRANSCRIPT = Rule("transcripts hang together", _recorded, _transcript)
CHAIN = Rule("rounds are chained in the order they were played", _linked, _link)
END = Rule("no round is missing, the head is that of the last", _ends, _end)
SCORES = Rule("scores follow from reports and truths", _rounds, _scores)
