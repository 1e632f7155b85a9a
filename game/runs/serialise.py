"""Truths, challenges and rounds as JSON text and back, equal to what they were to the last bit."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, get_args

import torch
from torch import Tensor

from game.api import Challenge, Fine, Judgement, LowRank, Patch
from game.case import Answers, Bench, Truth
from game.hearing import Status
from game.referee import RoundRecord
from game.scoring.scores import Score
from models.components import Component


def to_json(data: Any) -> str:
    """Compact JSON text with sorted keys; the same data give the same text."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"))


def truth_to_json(truth: Truth) -> str:
    """The truth as JSON text."""
    written = [str(component) for component in sorted(truth.written)]
    answers, bench = (None if each is None else asdict(each) for each in (truth.answers, truth.bench))
    return json.dumps(_fields(truth) | {"written": written, "answers": answers, "bench": bench})


def truth_from_json(text: str) -> Truth:
    """The truth that `truth_to_json` wrote, by this version or an older one."""
    data = json.loads(text)
    data["written"] = frozenset(Component.parse(name) for name in data["written"])
    if answers := data.get("answers"):
        data["answers"] = Answers(tuple(answers["changed"]), tuple(answers["before"]))
    if bench := data.get("bench"):
        prompts = tuple(map(tuple, bench["prompts"]))
        data["bench"] = Bench(prompts, tuple(bench["before"]), tuple(bench["after"]), bench["affected"])
    return Truth(**data)


def challenge_to_json(challenge: Challenge) -> str:
    """A challenge as JSON text."""
    tensors = {name: getattr(challenge, name).tolist() for name in ("tokens", "lengths")}
    return json.dumps(_fields(challenge) | tensors)


def challenge_from_json(text: str) -> Challenge:
    """The challenge that `challenge_to_json` wrote."""
    data = json.loads(text)
    return Challenge(
        torch.tensor(data["tokens"]),
        torch.tensor(data["lengths"]),
        *(tuple(data[name]) for name in ("prior", "target_set", "stratum", "answers")),
    )


def report_to_json(record: RoundRecord) -> str:
    """What the auditor reported in a round, as JSON text."""
    data = {name: getattr(record, name) for name in _REPORTED}
    data["judgement"] = None if record.judgement is None else judgement_data(record.judgement)
    data["patch"] = None if record.patch is None else patch_data(record.patch)
    data["fine"] = None if record.fine is None else fine_data(record.fine)
    return json.dumps(data)


def record_from_row(row: dict[str, Any]) -> RoundRecord:
    """The record of a row of the store: plain columns, and the report as `report_to_json` wrote it."""
    report = json.loads(row["report"])
    judgement, patch, fine = (report.get(name) for name in ("judgement", "patch", "fine"))
    skills = [row.get(name) for name in ("behaviour", "repair")]  # a file of an older version has none
    return RoundRecord(
        case_id=row["case_id"],
        auditor=row["auditor"],
        status=_status(row["status"]),
        error=row["error"],
        score=Score(row["detection"], row["localisation"], row["log_score_bits"], *skills),
        spent=row["spent"],
        wall_s=row["wall_s"],
        cpu_s=row["cpu_s"],
        tier=row.get("tier", "in process"),  # likewise
        judgement=None if judgement is None else judgement_of(judgement),
        patch=None if patch is None else patch_of(patch),
        fine=None if fine is None else fine_of(fine),
        readouts=json.loads(row.get("readouts", "{}")),
        **{name: report[name] for name in _REPORTED},
    )


def judgement_data(judgement: Judgement) -> dict[str, Any]:
    """A judgement as JSON-ready data."""
    before = {str(i): {str(t): p for t, p in odds.items()} for i, odds in judgement.before.items()}
    return {"changed": list(judgement.changed), "before": before}


def judgement_of(data: Mapping[str, Any]) -> Judgement:
    """The judgement in such data."""
    before = {int(i): {int(t): p for t, p in odds.items()} for i, odds in data["before"].items()}
    return Judgement(tuple(data["changed"]), before)


_REPORTED = ("p_edited", "components", "notes", "claims")


def patch_data(patch: Patch) -> dict[str, Any]:
    """A patch as JSON-ready data."""
    return {name: [each.left.tolist(), each.right.tolist()] for name, each in patch.items()}


def patch_of(data: Mapping[str, Any]) -> Patch:
    """The patch in such data."""
    return {name: LowRank(_floats(left), _floats(right)) for name, (left, right) in data.items()}


def fine_data(fine: Fine) -> dict[str, Any]:
    """Location finer than components as JSON-ready data."""
    return {
        "matrices": dict(fine.matrices),
        "neurons": [[layer, neuron, p] for (layer, neuron), p in fine.neurons.items()],
        "directions": {name: vectors.tolist() for name, vectors in fine.directions.items()},
    }


def fine_of(data: Mapping[str, Any]) -> Fine:
    """The location in such data."""
    return Fine(
        data["matrices"],
        {(layer, neuron): p for layer, neuron, p in data["neurons"]},
        {name: _floats(vectors) for name, vectors in data["directions"].items()},
    )


def _floats(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def _fields(value: Truth | Challenge) -> dict[str, Any]:
    return {each.name: getattr(value, each.name) for each in fields(value)}


def _status(text: str) -> Status:
    status: Status = next(each for each in get_args(Status) if each == text)
    return status
