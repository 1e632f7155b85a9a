"""What a red strategy is told, and the protocol it keeps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from edits.apply import apply
from edits.base import EditError, EditSpec
from edits.facts.rome import Rrome
from edits.kinds import edit_kinds
from edits.moments import Base


@dataclass(frozen=True)
class Target:
    """The change that red was assigned: a subject's object in a relation, as ids of the base's world."""

    subject: int
    relation: int
    object_new: int


@dataclass(frozen=True)
class Trial:
    """How the panel fared against edits like one specification, on other worlds than the judged ones.

    Attributes:
        skills: Mean headline skill by auditor; the declared prior earns 0, a perfect report 1.
        cases: How many cases, matched controls among them.
    """

    skills: Mapping[str, float]
    cases: int

    @property
    def best(self) -> float:
        """The best auditor's skill: what red wants to be low."""
        return max(self.skills.values())


class TrialsSpentError(RuntimeError):
    """A trial beyond those granted."""


class Briefing(Protocol):
    """One assignment. The base is red's to study; the panel is met through `trial` alone.

    Attributes:
        id: Of the case; every specification carries it.
        seed: The strategy's own randomness.
        base: The model to be edited.
        target: What must be changed.
        trials_left: How many times `trial` may still be called.
    """

    @property
    def id(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def base(self) -> Base: ...
    @property
    def target(self) -> Target: ...
    @property
    def trials_left(self) -> int: ...

    def trial(self, spec: EditSpec) -> Trial:
        """How the panel fares against edits of this kind and strength, targets redrawn elsewhere.

        Raises:
            TrialsSpentError: None is left.
        """
        ...


class RedStrategy(Protocol):
    """A frozen dataclass whose fields are its settings."""

    def plan(self, briefing: Briefing) -> EditSpec:
        """The edit of the briefing's target that should be hardest to find."""
        ...


def spec_for(briefing: Briefing, kind: str, **blocks: Any) -> EditSpec:
    """A specification of the assigned target.

    Args:
        briefing: The assignment.
        kind: Of fact editor.
        blocks: `site`, `solver`, `camouflage`, as in YAML.

    Raises:
        pydantic.ValidationError: A block that the kind does not have.
    """
    edit = {"kind": kind, "facts": [vars(briefing.target)]}
    data = {"version": 1, "id": briefing.id, "seed": briefing.seed, "edit": edit, **blocks}
    return edit_kinds()[kind].model_validate(_tuples(data))


def usual_site(briefing: Briefing) -> dict[str, str]:
    """Where the default editor would write, as a `site` block; measured once for each base.

    Raises:
        EditError: No layer takes its edits.
    """
    usual = spec_for(briefing, "rrome")
    assert isinstance(usual, Rrome)
    place = usual.place(briefing.base)
    return {"tensor": f"blocks.{place.layer}.mlp.W_out", "token": place.token}


def holds(briefing: Briefing, spec: EditSpec) -> bool:
    """Whether a specification passes its gates on the briefing's base; one that is refused does not."""
    try:
        return apply(briefing.base, spec).record.accepted
    except EditError:
        return False


def under_noise(noise: float) -> list[dict[str, Any]]:
    """Camouflage: noise where activations hardly point, then every symmetry that each shipped model allows.

    Args:
        noise: Norm in units of the written matrix's norm; 0 is none.
    """
    symmetries = [{"kind": kind} for kind in ("neuron_permute", "head_permute", "qk_gauge", "ov_gauge")]
    return ([{"kind": "nullspace_noise", "rel_norm": noise}] if noise else []) + symmetries


def _tuples(value: Any) -> Any:
    """Lists as tuples, which strict models want from Python."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
