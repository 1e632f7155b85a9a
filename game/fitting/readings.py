"""What auditors read of practice cases, kept by content so that only what changed is read again."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from game.api import Component, component_entries
from game.auditing.evidence import Evidence
from game.case import Case
from game.catalogue import ROOT
from game.fitting.practice import Practice
from game.in_process import read_in_process
from game.loader import LoadedAuditor, settings_of
from game.referee import open_toolbox
from game.sources import imported_by, source_of
from game.toolbox.live import ModelToolbox
from models.checkpoints import write_atomically
from models.naming import one_line, unknown
from models.seeds import named_seed
from models.training import one_thread
from models.transformer import TransformerConfig
from models.zoo import code_of

_OF_PLAYERS = ("auditors", "game.tools", "game.auditing", "game.api")  # whose code decides what is read
_BELIEF = ROOT / "game" / "auditing" / "belief.py"  # comes afterwards
AS_DECLARED = 2.0  # cases as the declared prior has them, beside those of a league and task
_MODEL = ROOT / "models" / "transformer.py"


class ReadingError(ValueError):
    """An auditor cannot be fitted; the message names it, the case and why."""


@dataclass(frozen=True)
class Reading:
    """What an auditor read of one practice case, with the answer.

    Attributes:
        league: Of the case.
        task: Name of its task.
        base: Name of its base checkpoint.
        prior: P(edited).
        places: P(component was written to, given an edit), before looking.
        written: What the edit wrote to; empty for a control.
        evidence: What was read.
        spent: Credits that it took.
    """

    league: str
    task: str
    base: str
    prior: float
    places: Mapping[Component, float]
    written: frozenset[Component]
    evidence: Evidence
    spent: float = 0.0

    @property
    def edited(self) -> bool:
        """The answer."""
        return bool(self.written)


def as_dealt(readings: Sequence[Reading]) -> list[Reading]:
    """The same with the share of edits that was dealt in each league and task for a prior.

    Labels are drawn, and of eight cases one edit may be all. The declared prior is known exactly, so that
    what a few draws make of it is no evidence: weights are to explain labels beyond it.

    Source: King and Zeng 2001, "Logistic regression in rare events data" (prior correction).
    """
    dealt: dict[tuple[str, str], list[Reading]] = {}
    for each in readings:
        dealt.setdefault((each.league, each.task), []).append(each)
    shares = {
        cell: (sum(each.edited for each in own) + AS_DECLARED * own[0].prior) / (len(own) + AS_DECLARED)
        for cell, own in dealt.items()
    }
    return [replace(each, prior=shares[each.league, each.task]) for each in readings]


class Reader:
    """An auditor at practice.

    Args:
        player: Must have `read`.
        practice: The cases.

    Raises:
        ReadingError: It has no `read`.
    """

    def __init__(self, player: LoadedAuditor, practice: Practice) -> None:
        if not callable(getattr(player.auditor, "read", None)):
            raise ReadingError(
                f"auditor {player.name}: has no `read(toolbox, brief) -> Evidence`; "
                "only what is read can be fitted (docs/fitting.md)"
            )
        self._player, self._practice = player, practice
        self._digest = _digest(player)

    def reading(self, case_id: str) -> Reading:
        """What it reads of a case, from disk or now.

        Raises:
            ReadingError: It raises something, or what it reads breaks a rule.
            DealError: The case cannot be dealt.
        """
        path = self._practice.folder / "readings" / self._digest[:24] / f"{case_id}.json"
        try:
            return _reading_of(json.loads(path.read_text()))
        except (OSError, ValueError, KeyError, TypeError):
            case = self._practice.case(case_id)
            toolbox = open_toolbox(case)
            reading = _answered(case, self._read(case, toolbox), toolbox.budget.spent)
            write_atomically(path, json.dumps(_reading_data(reading)).encode())
            return reading

    def _read(self, case: Case, toolbox: ModelToolbox) -> Evidence:
        brief = replace(case.brief, seed=named_seed("practice", case.id, self._player.name))
        try:
            with one_thread():
                return _checked(read_in_process(self._player, toolbox, brief), brief.config)
        except Exception as error:
            fault = f"{type(error).__name__}: {one_line(str(error))}"
            raise ReadingError(f"auditor {self._player.name}: {case.id}: read: {fault}") from error


def _checked(evidence: object, config: TransformerConfig) -> Evidence:
    """The evidence, if it is about parts of that model and in finite numbers.

    Raises:
        ReadingError: It is not.
    """
    if not isinstance(evidence, Evidence):
        raise ReadingError(f"got {type(evidence).__name__}, wanted Evidence")
    components = component_entries(config)
    if strangers := [str(component) for component in evidence.places if component not in components]:
        raise ReadingError(f"places: {unknown('component', strangers[0], map(str, components))}")
    numbers: dict[str, object] = {f"whole.{name}": value for name, value in evidence.whole.items()}
    for component, each in evidence.places.items():
        numbers |= {f"{component}.{name}": value for name, value in each.items()}
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ReadingError(f"{name}: got {value!r}, wanted a finite number")
    return evidence


def _answered(case: Case, evidence: Evidence, spent: float) -> Reading:
    brief = case.brief
    places, written = brief.location_prior, case.truth.written
    return Reading(brief.league, brief.task.name, case.base, brief.prior, places, written, evidence, spent)


def _digest(player: LoadedAuditor) -> str:
    """Of all that a reading depends on beside the case: settings, and code down to the model's."""
    source = source_of(player.auditor)
    files = {source, *imported_by(source, _OF_PLAYERS), *(ROOT / "game" / "toolbox").glob("*.py"), _MODEL}
    code = [code_of(file) for file in sorted(files - {_BELIEF})]
    facts = [player.name, settings_of(player.auditor), code, torch.__version__]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _reading_data(reading: Reading) -> dict[str, Any]:
    evidence = reading.evidence
    return {
        "league": reading.league,
        "task": reading.task,
        "base": reading.base,
        "prior": reading.prior,
        "places": {str(component): p for component, p in reading.places.items()},
        "written": [str(component) for component in sorted(reading.written)],
        "read": {str(component): dict(numbers) for component, numbers in evidence.places.items()},
        "whole": dict(evidence.whole),
        "spent": reading.spent,
    }


def _reading_of(data: Mapping[str, Any]) -> Reading:
    """The reading in such data; notes are left out, as nothing is fitted to them."""
    places = {Component.parse(name): p for name, p in data["places"].items()}
    read = {Component.parse(name): numbers for name, numbers in data["read"].items()}
    return Reading(
        league=data["league"],
        task=data["task"],
        base=data["base"],
        prior=data["prior"],
        places=places,
        written=frozenset(map(Component.parse, data["written"])),
        evidence=Evidence(read, data["whole"]),
        spent=data["spent"],
    )
