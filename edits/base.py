"""What an edit, a control and a family are, and what is recorded of one that was carried out."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field
from torch import Tensor

from edits.acts_through import Carriers
from edits.camouflage.folder import AnyPass
from edits.gates import GateResult, Gates
from edits.moments import Base
from edits.predicates import Asked, Predicate, in_halves
from edits.truth import FineTruth
from models.bounds import Bound
from models.checkpoints import Checkpoint
from models.components import Component, Entries
from models.naming import unknown
from models.seeds import named_generator
from models.strict_yaml import StrictModel
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

    def check_gates(self) -> None:
        """Refuse gates outside the kind's floor, and such as admit what it refuses.

        Raises:
            EditError: With the floor.
        """
        for name, bound in self.gates.items():
            if name not in self.floor:
                raise EditError(f"gates.{name}: {unknown('gate', name, self.floor)}")
            if not bound.no_looser_than(self.floor[name]):
                floor = self.floor[name].model_dump(exclude_none=True)
                raise EditError(f"gates.{name}: looser than this kind's floor, {floor}")

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

    def asked(self, base: Base, predicate: Predicate) -> Asked:
        """The predicate's prompts, as a challenge may put them: in the words of the solving, and in others.

        Where a kind makes no such difference, each is a random half.
        """
        return in_halves(predicate.affected, named_generator(self.seed, "asked"))

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
        replaces: Whether its weights are others altogether, and not the base's plus a change.
    """

    edits: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    replaces: ClassVar[bool] = False

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
        dials: What `like` takes from a specification, by the family's field: a path such as `edit.alpha`; of
            a list, the length where the field is a number. None: the family cannot say how strong it is.
    """

    redraws: ClassVar[bool] = True
    home: ClassVar[str] = "facts-small"
    dials: ClassVar[Mapping[str, str] | None] = None
    tasks: ClassVar[tuple[str, ...] | None] = None
    kind: str

    @classmethod
    def like(cls, spec: EditSpec) -> Self:
        """The family of edits of a specification's strength, with site and target left open.

        Raises:
            EditError: The family cannot say how strong its edits are, or the gates are tightened.
        """
        if cls.dials is None:
            raise EditError(f"edit.kind: {spec.kind()} is dealt at its family's own strength only")
        if spec.effective_gates != dict(spec.floor):
            raise EditError("gates: edits like this one are dealt under the kind's floor; leave gates out")
        fields: dict[str, Any] = {}
        for name, path in cls.dials.items():
            value: Any = spec
            for step in path.split("."):
                value = getattr(value, step)
            counted = isinstance(value, tuple) and cls.model_fields[name].annotation is int
            fields[name] = len(value) if counted else value
        return cls.model_validate({**fields, "kind": spec.kind()})

    def dialled(self) -> Mapping[str, Self]:
        """The family at several strengths, loud to quiet; empty where it has no such dial."""
        return {}

    def strength(self) -> dict[str, float]:
        """How strong the edits are: the dials that are numbers, and what differs along `dialled`."""
        numbers = {name: getattr(self, name) for name in self.dials or ()} | _differing(self)
        return {name: float(value) for name, value in numbers.items() if isinstance(value, int | float)}

    def open_sites(self, config: TransformerConfig) -> tuple[Component, ...]:
        """The components that this family can write to in such a model."""
        raise TypeError(f"{type(self).__name__} names no sites")

    def writes(self, site: Component) -> frozenset[Component]:
        """Every component that an edit at this site writes to."""
        return frozenset({site})

    def draw(self, base: Base, site: Component, spec_id: str, seed: int) -> EditSpec:
        """An edit at this site, everything else drawn from the seed."""
        raise TypeError(f"{type(self).__name__} draws nothing")


def _differing(family: Family) -> dict[str, Any]:
    """The innermost settings, by their own names, that change from one strength of a family to another."""
    own = _innermost(family.model_dump())
    others = [_innermost(each.model_dump()) for each in family.dialled().values()]
    return {path[-1]: value for path, value in own.items() if any(each[path] != value for each in others)}


def _innermost(settings: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    found: dict[tuple[str, ...], Any] = {}
    for name, value in settings.items():
        inside = _innermost(value, (*path, name)) if isinstance(value, Mapping) else {(*path, name): value}
        found |= inside
    return found
