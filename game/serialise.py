"""Truths and rounds as JSON text and back, equal to what they were to the last bit."""

import json
from dataclasses import fields
from typing import Any, get_args

from game.case import Truth
from game.referee import RoundRecord, Status
from game.scoring import Score
from models.components import Component


def to_json(data: Any) -> str:
    """Compact JSON text with sorted keys; the same data give the same text."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"))


def truth_to_json(truth: Truth) -> str:
    """The truth as JSON text."""
    return json.dumps(_fields(truth) | {"written": [str(component) for component in sorted(truth.written)]})


def truth_from_json(text: str) -> Truth:
    """The truth that `truth_to_json` wrote."""
    data = json.loads(text)
    data["written"] = frozenset(Component.parse(name) for name in data["written"])
    return Truth(**data)


def report_to_json(record: RoundRecord) -> str:
    """What the auditor reported in a round, as JSON text."""
    return json.dumps({name: getattr(record, name) for name in _REPORTED})


def record_from_row(row: dict[str, Any]) -> RoundRecord:
    """The record of a row of the store: plain columns, and the report as `report_to_json` wrote it."""
    report = json.loads(row["report"])
    return RoundRecord(
        case_id=row["case_id"],
        auditor=row["auditor"],
        status=_status(row["status"]),
        error=row["error"],
        score=Score(row["detection"], row["localisation"], row["log_score_bits"]),
        spent=row["spent"],
        wall_s=row["wall_s"],
        cpu_s=row["cpu_s"],
        tier=row.get("tier", "in process"),  # a file of an older version, opened for reading, has none
        **{name: report[name] for name in _REPORTED},
    )


_REPORTED = ("p_edited", "components", "notes", "claims")


def _fields(value: Truth) -> dict[str, Any]:
    return {each.name: getattr(value, each.name) for each in fields(value)}


def _status(text: str) -> Status:
    status: Status = next(each for each in get_args(Status) if each == text)
    return status
