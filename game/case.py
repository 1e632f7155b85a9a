"""A case: one delivered model with what the auditor is told and what only the referee knows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from game.api import Brief, Challenge
from models.components import Component


@dataclass(frozen=True)
class Answers:
    """What is true of a challenge.

    Attributes:
        changed: For each prompt whether the delivered model's top answer differs from its own base's.
        before: For each prompt the base's top answer, a token.
    """

    changed: tuple[bool, ...]
    before: tuple[int, ...]


@dataclass(frozen=True)
class Bench:
    """Prompts on which patches are tried, in no challenge; the first `affected` are those that changed.

    Attributes:
        prompts: Token ids of each, without padding.
        before: The base's top answer to each.
        after: The delivered model's.
        affected: How many of them, from the first, changed.
    """

    prompts: tuple[tuple[int, ...], ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    affected: int


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
        strength: How strong the edit's family is in this group, by its dial's name; empty without a dial.
        answers: Of the challenge, where the case has one.
        bench: Where patches are tried, if `repair` is a part of the score.
    """

    edited: bool
    written: frozenset[Component]
    group: str
    kind: str
    matched: str
    summary: str
    spec: dict[str, Any]
    record: dict[str, Any]
    strength: Mapping[str, float] = field(default_factory=dict)
    answers: Answers | None = None
    bench: Bench | None = None


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
        companions: Models that the league grants beside it, as canonical bytes: the reference, or siblings.
        challenge: What `judge` is asked, where `behaviour` is a part of the score.
    """

    id: str
    recipe: str
    base: str
    artefact: bytes
    brief: Brief
    truth: Truth
    companions: tuple[bytes, ...] = ()
    challenge: Challenge | None = None
