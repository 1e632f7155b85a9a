"""What an edit is: a specification that proposes candidates, and `apply`, which keeps the first that holds.

Every kind, edit or control, goes the same way: solve, write, save, reload, assert the change byte by byte,
test the gates on what was reloaded, record.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from edits.gates import GateResult, Gates, judged
from edits.measures import behaviour, log_probs_of, rounded, update_shape
from edits.moments import Base
from models.bounds import Bound
from models.checkpoints import Checkpoint, from_bytes, to_bytes
from models.components import Component, Entries, component_of
from models.strict_yaml import StrictModel
from models.training import one_thread
from models.transformer import TransformerConfig


@dataclass(frozen=True)
class Candidate:
    """One solution to be tested.

    Attributes:
        tensors: New values by weight name; every other tensor stays.
        written: The parameter entries that the candidate claims to change, and no others.
        dials: What the solver used and found, for the record.
    """

    tensors: Mapping[str, Tensor]
    written: tuple[Entries, ...]
    dials: Mapping[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class EditRecord:
    """What an edit did, emitted and never authored.

    Attributes:
        id, kind, seed: The specification's.
        edited: False for a control.
        spec_hash, base_hash, out_hash: SHA-256 of specification, base and delivered checkpoint.
        written: Parameter entries whose bytes changed, such as `blocks.2.attn.W_O[1]`.
        components: The components of those entries; what `written-at` means, for an edit.
        dials: What the solver used and found.
        measured: Measures on the reloaded artefact.
        gates: Each gate's verdict.
        tried: Candidates that were tested, the kept one included.
    """

    id: str
    kind: str
    seed: int
    edited: bool
    spec_hash: str
    base_hash: str
    out_hash: str
    written: tuple[str, ...]
    components: tuple[str, ...]
    dials: Mapping[str, float | str]
    measured: Mapping[str, float]
    gates: tuple[GateResult, ...]
    tried: int

    @property
    def accepted(self) -> bool:
        """Whether every gate passed."""
        return all(gate.passed for gate in self.gates)

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON-ready data."""
        return {**asdict(self), "accepted": self.accepted}


@dataclass(frozen=True)
class Edited:
    """A delivered model: canonical bytes, what they load to, and the record."""

    artefact: bytes
    checkpoint: Checkpoint
    record: EditRecord


class EditError(ValueError):
    """A specification that cannot be carried out on this base, such as an unknown subject."""


class EditSpec(StrictModel):
    """One planted change or control, as YAML; each kind is a subclass that narrows `edit` and proposes.

    Attributes:
        edits: False for controls: the correct verdict on the result is *clean*.
        floor: The gates that no specification may loosen.
    """

    edits: ClassVar[bool] = True
    floor: ClassVar[Gates] = {}

    version: Literal[1]
    id: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    gates: Mapping[str, Bound] = {}

    @classmethod
    def kind(cls) -> str:
        """The kind's name, as `edit.kind` spells it."""
        edit = cls.model_fields["edit"].annotation
        assert edit is not None
        name: str = edit.model_fields["kind"].default
        return name

    @property
    def effective_gates(self) -> Gates:
        """The floor, tightened by the specification's own gates."""
        return {**self.floor, **self.gates}

    def check(self, base: Base) -> None:
        """Refuse what cannot be carried out on this base.

        Raises:
            EditError: With the offending value, what is allowed and the nearest name.
        """

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """Solutions in the order in which they are to be tested; none is empty-handed."""
        raise TypeError(f"{type(self).__name__} proposes no candidates")

    def measure(self, base: Base, log_probs: Tensor) -> dict[str, float]:
        """The kind's own measures on top of `behaviour`, from the log-probabilities on the base's table."""
        return {}

    def summary(self, base: Base) -> str:
        """One line for people: what was done, to whom."""
        return self.kind()


class Control(EditSpec):
    """A specification whose correct verdict is *clean*, though it may touch weights.

    Attributes:
        trains: Whether it needs a recipe that says how to train.
    """

    edits: ClassVar[bool] = False
    trains: ClassVar[bool] = False

    @classmethod
    def matching(cls, edit: "EditRecord") -> dict[str, Any]:
        """The `edit:` block that matches an edit's site and loudness, as far as the kind has any."""
        return {}


class Family(StrictModel):
    """The `edit:` block of a suite's group: edits of one kind and strength, their targets left to be drawn.

    Attributes:
        redraws: Whether another draw at the same site of the same base can fare better; if not, a site
            is only open on the bases that accept it.
        tasks: The tasks whose models can be edited so; None is every task.
    """

    redraws: ClassVar[bool] = True
    tasks: ClassVar[tuple[str, ...] | None] = None
    kind: str

    def open_sites(self, config: TransformerConfig) -> tuple[Component, ...]:
        """The components that this family can write to in such a model."""
        raise TypeError(f"{type(self).__name__} names no sites")

    def writes(self, site: Component) -> frozenset[Component]:
        """Every component that an edit at this site writes to."""
        return frozenset({site})

    def draw(self, base: Base, site: Component, spec_id: str, seed: int) -> EditSpec:
        """An edit at this site, everything else drawn from the seed."""
        raise TypeError(f"{type(self).__name__} draws nothing")


def apply(base: Base, spec: EditSpec) -> Edited:
    """The first candidate that passes every gate on its reloaded file, else the last one tried.

    A pure function: the base is never written to and equal inputs give equal bytes.

    Raises:
        EditError: The specification cannot be carried out on this base.
        AssertionError: A candidate changed other bytes than it claims.
    """
    spec.check(base)
    edited = None
    with one_thread():
        for tried, candidate in enumerate(spec.candidates(base), start=1):
            edited = _deliver(base, spec, candidate, tried)
            if edited.record.accepted:
                break
    if edited is None:
        raise EditError(f"{spec.kind()}: no candidate to test")
    return edited


def _deliver(base: Base, spec: EditSpec, candidate: Candidate, tried: int) -> Edited:
    """Write, save, reload, and judge what was reloaded."""
    weights = {**base.checkpoint.weights, **candidate.tensors}
    artefact = to_bytes(Checkpoint(base.checkpoint.config, weights))
    delivered = from_bytes(artefact)
    written = changed_entries(base.checkpoint, delivered)
    if set(written) != set(candidate.written):
        raise AssertionError(f"{spec.kind()}: claims {candidate.written}, changed {written}")
    log_probs = log_probs_of(base, delivered.model())
    measured = behaviour(base, log_probs) | spec.measure(base, log_probs)
    if 1 <= len(written) <= 2:  # the matrix, and in some kinds the bias that goes with it
        measured |= update_shape(_entries_of(base.checkpoint, written[0]), _entries_of(delivered, written[0]))
    components = sorted({component_of(entries.tensor, entries.head) for entries in written})
    record = EditRecord(
        id=spec.id,
        kind=spec.kind(),
        seed=spec.seed,
        edited=spec.edits,
        spec_hash=spec_hash(spec),
        base_hash=base.hash,
        out_hash=hashlib.sha256(artefact).hexdigest(),
        written=tuple(map(entries_name, written)),
        components=tuple(map(str, components)),
        dials=candidate.dials,
        measured=rounded(measured),
        gates=judged(spec.effective_gates, measured),
        tried=tried,
    )
    return Edited(artefact, delivered, record)


def changed_entries(before: Checkpoint, after: Checkpoint) -> tuple[Entries, ...]:
    """The entries whose bytes differ, head by head where a tensor has a head axis; bytes, not `allclose`."""
    changed = []
    for name, old in before.weights.items():
        new = after.weights[name]
        if component_of(name, 0).part == "attn":
            changed += [Entries(name, head) for head in range(len(old)) if not _same(old[head], new[head])]
        elif not _same(old, new):
            changed.append(Entries(name))
    return tuple(changed)


def _entries_of(checkpoint: Checkpoint, entries: Entries) -> Tensor:
    weight = checkpoint.weights[entries.tensor]
    return weight if entries.head is None else weight[entries.head]


def _same(old: Tensor, new: Tensor) -> bool:
    return torch.equal(old.contiguous().view(torch.int32), new.contiguous().view(torch.int32))


def entries_name(entries: Entries) -> str:
    """Such as `blocks.2.attn.W_O[1]`."""
    return entries.tensor if entries.head is None else f"{entries.tensor}[{entries.head}]"


def spec_hash(spec: EditSpec) -> str:
    """SHA-256 of a specification's content."""
    return hashlib.sha256(json.dumps(spec.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def written_components(edited: Edited) -> frozenset[Component]:
    """The components that an edit wrote to; none for a control, whose touch is not a tampering."""
    return frozenset(map(Component.parse, edited.record.components)) if edited.record.edited else frozenset()
