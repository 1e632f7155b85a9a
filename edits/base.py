"""What an edit is: a specification that proposes candidates, and `apply`, which keeps the first that holds.

Every kind, edit or control, goes the same way: solve, write, save, reload, assert the change byte by byte,
test the gates on what was reloaded, record.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field
from torch import Tensor

from edits.acts_through import Carriers, carriers
from edits.camouflage.base import CamouflageError, Solved, blurred, rewritten
from edits.camouflage.folder import AnyPass
from edits.gates import GateResult, Gates, judged
from edits.measures import behaviour, log_probs_of, rounded
from edits.moments import Base
from edits.predicates import Predicate, measured, rows_of, showing
from edits.truth import FineTruth, changed_entries, fine_truth, relative_norms, shape_of_change
from models.bounds import Bound
from models.checkpoints import Checkpoint, from_bytes, to_bytes
from models.components import Component, Entries, component_of
from models.strict_yaml import StrictModel
from models.training import one_thread
from models.transformer import Transformer, TransformerConfig


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
    """What an edit did, emitted and never authored; every place is one of the delivered file.

    Attributes:
        id, kind, seed: The specification's.
        edited: False for a control.
        spec_hash, base_hash, out_hash: SHA-256 of specification, base and delivered checkpoint.
        written: Parameter entries that the edit itself changed, such as `blocks.2.attn.W_O[1]`.
        components: The components of those entries; what `written-at` means, for an edit.
        touched: Parameter entries whose bytes differ from the base's, camouflage included.
        fine: Neurons, tokens and directions of what was written.
        behaviour: What the edited model does, as written down before it was measured; empty for a control.
        carriers: Which components carry the behaviour; both maps are empty for a control.
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
    touched: tuple[str, ...]
    fine: FineTruth
    behaviour: str
    carriers: Carriers
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
    """A delivered model.

    Attributes:
        artefact: Canonical bytes, as blue loads them.
        checkpoint: What they load to.
        reference: The base in the same coordinates, after the same exact camouflage.
        record: What the edit did.
        at: What the edit itself wrote to, in the base's own coordinates.
        rel_norms: Norm of the change of each matrix among those, in units of the matrix's norm.
    """

    artefact: bytes
    checkpoint: Checkpoint
    reference: Checkpoint
    record: EditRecord
    at: tuple[Entries, ...]
    rel_norms: Mapping[Entries, float]

    @property
    def loudest(self) -> Entries | None:
        """The matrix that changed most; the record's `rel_norm`, `rank` and `top_energy` are of it."""
        return max(self.rel_norms, key=lambda each: self.rel_norms[each], default=None)


class EditError(ValueError):
    """A specification that cannot be carried out on this base, such as an unknown subject."""


def _exact_ones_last(passes: tuple[AnyPass, ...]) -> tuple[AnyPass, ...]:
    kinds = [each.exact for each in passes]
    if kinds != sorted(kinds):
        raise ValueError("exact passes come after approximate ones, which the gates judge")
    return passes


Camouflage = Annotated[tuple[AnyPass, ...], AfterValidator(_exact_ones_last)]


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
    camouflage: Camouflage = ()
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

    def predicate(self, base: Base) -> Predicate | None:
        """What the edited model should do; None for a control."""
        raise TypeError(f"{type(self).__name__} states no behaviour")

    def measure(self, base: Base, after: Transformer, log_probs: Tensor) -> dict[str, float]:
        """The kind's own measures, on top of `behaviour` and its predicate's.

        Args:
            base: The model before.
            after: The delivered model.
            log_probs: The delivered model on the base's table, `[prompt, d_vocab]`, nats.
        """
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

    def predicate(self, base: Base) -> None:
        """None: a control is to do nothing."""

    @classmethod
    def matching(cls, edit: "Edited") -> dict[str, Any]:
        """The `edit:` block that matches an edit's site and loudness, as far as the kind has any.

        Raises:
            EditError: The kind cannot stand in for such an edit.
        """
        return {}


class Family(StrictModel):
    """The `edit:` block of a suite's group: edits of one kind and strength, their targets left to be drawn.

    Attributes:
        redraws: Whether another draw at the same site of the same base can fare better; if not, a site
            is only open on the bases that accept it.
        tasks: The tasks whose models can be edited so; None is every task.
        home: A shipped recipe on which the kind works, where it is tried and measured.
    """

    redraws: ClassVar[bool] = True
    home: ClassVar[str] = "facts-small"
    tasks: ClassVar[tuple[str, ...] | None] = None
    kind: str

    @classmethod
    def like(cls, spec: EditSpec) -> Self:
        """The family of edits of a specification's strength, with site and target left open."""
        edit = vars(spec)["edit"]
        places = [edit, spec, *(vars(spec)[name] for name in ("site",) if name in vars(spec))]
        fields = {
            name: getattr(place, name)
            for place in reversed(places)
            for name in cls.model_fields
            if hasattr(place, name)
        }
        return cls.model_validate({**fields, "kind": spec.kind()})

    def dialled(self) -> Mapping[str, Self]:
        """The family at several strengths, loud to quiet; empty where it has no such dial."""
        return {}

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
    edited = None
    with one_thread():
        for edited in tries(base, spec):
            if edited.record.accepted:
                break
        if edited is None:
            raise EditError(f"{spec.kind()}: no candidate to test")
        return _with_carriers(base, spec, edited)


def tries(base: Base, spec: EditSpec) -> Iterator[Edited]:
    """Every candidate as it would be delivered, in order; without the maps of what carries it.

    On more than one torch thread the last digits may differ from `apply`'s.

    Raises:
        EditError: The specification cannot be carried out on this base.
    """
    spec.check(base)
    try:
        for each in spec.camouflage:
            each.check(base.checkpoint.config)
        for number, candidate in enumerate(spec.candidates(base), start=1):
            yield _deliver(base, spec, candidate, number)
    except CamouflageError as error:
        raise EditError(f"camouflage: {error}") from error


def _deliver(base: Base, spec: EditSpec, candidate: Candidate, tried: int) -> Edited:
    """Write, hide, save, reload, and judge what was reloaded."""
    config, before = base.checkpoint.config, base.checkpoint
    solved = Checkpoint(config, {**before.weights, **candidate.tensors})
    if set(changed_entries(before, solved)) != set(candidate.written):
        claims = (candidate.written, changed_entries(before, solved))
        raise AssertionError(f"{spec.kind()}: claims {claims[0]}, changed {claims[1]}")
    hidden = blurred(Solved(base, solved.weights, candidate.written), spec.camouflage, spec.seed)
    artefact = to_bytes(_rewritten(spec, Checkpoint(config, hidden)))
    delivered = from_bytes(artefact)
    reference, plain = _rewritten(spec, before), _rewritten(spec, solved)  # without approximate camouflage
    written = _moved(candidate.written, changed_entries(reference, plain))
    if spec.edits and len(written) != len(candidate.written):
        places = ", ".join(map(str, candidate.written))
        raise CamouflageError(f"a pass moves {places} to other tensors")  # no truth hangs on a control
    after = delivered.model()
    log_probs = log_probs_of(base, after)
    predicate = spec.predicate(base)
    rel_norms = relative_norms(before, solved, candidate.written)
    found = behaviour(base, log_probs) | shape_of_change(before, solved, rel_norms)
    found |= measured(base, predicate, after, log_probs) if predicate else {}
    found |= spec.measure(base, after, log_probs)
    record = EditRecord(
        id=spec.id,
        kind=spec.kind(),
        seed=spec.seed,
        edited=spec.edits,
        spec_hash=spec_hash(spec),
        base_hash=base.hash,
        out_hash=hashlib.sha256(artefact).hexdigest(),
        written=tuple(map(str, written)),
        components=tuple(map(str, sorted({component_of(each.tensor, each.head) for each in written}))),
        touched=tuple(map(str, changed_entries(before, delivered))),
        fine=fine_truth(reference, plain, written),
        behaviour=predicate.statement if predicate else "",
        carriers=Carriers({}, {}),
        dials=candidate.dials,
        measured=rounded(found),
        gates=judged(spec.effective_gates, found),
        tried=tried,
    )
    return Edited(artefact, delivered, reference, record, candidate.written, rel_norms)


def _rewritten(spec: EditSpec, checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint after the specification's exact passes; the same coordinates for every model."""
    if not any(each.exact for each in spec.camouflage):
        return checkpoint
    config = checkpoint.config
    return Checkpoint(config, rewritten(checkpoint.weights, config, spec.camouflage, spec.seed))


def _moved(written: tuple[Entries, ...], changed: tuple[Entries, ...]) -> tuple[Entries, ...]:
    """Where exact passes moved what was written: what changed of the same tensors."""
    tensors = {each.tensor for each in written}
    return tuple(each for each in changed if each.tensor in tensors)


def _with_carriers(base: Base, spec: EditSpec, edited: Edited) -> Edited:
    """The same edit with its record's maps of the components that carry the behaviour."""
    predicate = spec.predicate(base)
    if predicate is None:
        return edited
    after = edited.checkpoint.model()
    shown = showing(base, predicate, after)
    probe = rows_of(predicate.affected, shown) if shown.any() else predicate.affected
    same = edited.reference is base.checkpoint
    maps = carriers(base.model if same else edited.reference.model(), after, probe)
    return replace(edited, record=replace(edited.record, carriers=maps))


def spec_hash(spec: EditSpec) -> str:
    """SHA-256 of a specification's content."""
    return hashlib.sha256(json.dumps(spec.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def written_components(edited: Edited) -> frozenset[Component]:
    """The components that an edit wrote to; none for a control, whose touch is not a tampering."""
    return frozenset(map(Component.parse, edited.record.components)) if edited.record.edited else frozenset()
