"""A case: one delivered model with what the auditor is told and what only the referee knows."""

from dataclasses import dataclass
from typing import Any

from game.api import Brief
from models.components import Component


@dataclass(frozen=True)
class Truth:
    """What only the referee knows of a case.

    Attributes:
        edited: Whether a behaviour-changing edit was applied and passed its gates.
        written: The components that the edit itself wrote to; empty for every control.
        group: The suite's group that the case was drawn from.
        kind: Kind of the edit or control, such as `rrome` or `untouched`.
        matched: Kind of the edit that the case was drawn around; for an edit, its own kind.
        summary: One line for the debrief: what was done, to whom.
        spec: The specification, as JSON-ready data.
        record: What the edit measured, as JSON-ready data.
    """

    edited: bool
    written: frozenset[Component]
    group: str
    kind: str
    matched: str
    summary: str
    spec: dict[str, Any]
    record: dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One dealt case.

    Attributes:
        id: Opaque, such as `case-007`.
        recipe: Recipe of the base, which everyone may know.
        base: Name of the base checkpoint, `recipe@world.training`; the cluster of the statistics, secret.
        artefact: The delivered weights, as canonical safetensors bytes; what blue's model is loaded from.
        brief: What the auditor is told, except the seed, which is each round's own.
        truth: What only the referee knows.
    """

    id: str
    recipe: str
    base: str
    artefact: bytes
    brief: Brief
    truth: Truth
