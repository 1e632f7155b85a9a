"""What a camouflage pass is: exact rewritings, which change no answer, and approximate blurs, which may.

Approximate passes come first and are judged with the edit by its gates. Exact ones come last and move
indices; what the referee says of the edit always describes the delivered file.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from edits.moments import Base
from edits.reading import reading_matrices
from models.components import Entries
from models.naming import unknown
from models.seeds import named_generator
from models.strict_yaml import StrictModel
from models.transformer import TransformerConfig

Weights = Mapping[str, Tensor]


class CamouflageError(ValueError):
    """A pass that this architecture, or this edit, does not allow."""


class Pass(StrictModel):
    """One pass, as an entry of `camouflage:`; each kind is a file of its own."""

    exact: ClassVar[bool]
    moves_heads: ClassVar[bool] = False  # whether a head may become any other one of its layer
    kind: str

    def at(self, written: Sequence[Entries]) -> Self:
        """The same pass as a control needs it in place of an edit that wrote there."""
        return self

    def check(self, config: TransformerConfig) -> None:
        """Refuse an architecture that the pass does not suit.

        Raises:
            CamouflageError: With what the pass needs.
        """


class Exact(Pass):
    """A rewriting of all weights that leaves the function as it was.

    Attributes:
        keeps_logits: Whether logits stay, and not only log-probabilities.
    """

    exact: ClassVar[bool] = True
    keeps_logits: ClassVar[bool] = True

    @abstractmethod
    def rewritten(self, weights: Weights, config: TransformerConfig, generator: torch.Generator) -> Weights:
        """New weights of the same function; computed in float64, cast once.

        Every draw comes from the generator and none depends on the weights, so that the base and the edited
        model, rewritten with equal generators, stay in the same coordinates.
        """


@dataclass(frozen=True)
class Solved:
    """An edited model on its way to delivery.

    Attributes:
        base: The model before.
        weights: Every weight after the edit.
        written: What the edit wrote to; empty for some controls.
    """

    base: Base
    weights: Weights
    written: tuple[Entries, ...]

    def change(self, entries: Entries) -> Tensor:
        """How far these entries are from the base's, float64."""
        return entries.of(self.weights).double() - entries.of(self.base.checkpoint.weights).double()

    @cached_property
    def as_it_stands(self) -> Base:
        """The model on its way as one to be measured: what its activations are now."""
        checkpoint = replace(self.base.checkpoint, weights=self.weights)
        return Base(replace(self.base.trained, checkpoint=checkpoint))


class Approximate(Pass):
    """A change of some weights that hides an edit and may cost some of its effect.

    Attributes:
        of_change: Whether it works on the difference from the base, which means something only while both
            have the same coordinates.
    """

    exact: ClassVar[bool] = False
    of_change: ClassVar[bool] = False

    @abstractmethod
    def blurred(self, solved: Solved, generator: torch.Generator) -> Weights:
        """New values of the weights that the pass changes, by name; the others stay.

        Raises:
            CamouflageError: The edit wrote to nothing that the pass could hide.
        """


class OnWritten(Approximate):
    """An approximate pass over the matrices that an edit wrote to, or over those that are named.

    Attributes:
        tensors: Names such as `blocks.0.mlp.W_out` or `blocks.2.attn.W_O[1]`; `written` is wherever the edit
            wrote. A control gets the names from the edit that it stands in for.
    """

    tensors: Literal["written"] | tuple[str, ...] = "written"

    def blurred(self, solved: Solved, generator: torch.Generator) -> Weights:
        """Each matrix in turn, cast once."""
        changed: dict[str, Tensor] = {}
        for entries in self.targets(solved):
            changed.setdefault(entries.tensor, solved.weights[entries.tensor].clone())
            entries.of(changed).copy_(self.hidden(solved, entries, generator))
        return changed

    @abstractmethod
    def hidden(self, solved: Solved, entries: Entries, generator: torch.Generator) -> Tensor:
        """What one matrix becomes, `[d_in, d_out]`, float64; itself where there is nothing to hide."""

    def targets(self, solved: Solved) -> tuple[Entries, ...]:
        """Where to: matrices only.

        Raises:
            CamouflageError: Nothing was written, or what is named does not exist or is no matrix.
        """
        if self.tensors == "written":
            found = solved.written
            if not found:
                raise CamouflageError(f"{self.kind}: the case writes nothing; name the tensors")
        else:
            found = tuple(_existing(name, solved.base.checkpoint.config) for name in self.tensors)
        matrices = tuple(each for each in found if each.of(solved.weights).ndim == 2)
        if not matrices:
            raise CamouflageError(f"{self.kind}: no matrix among {', '.join(map(str, found))}")
        return matrices

    def at(self, written: Sequence[Entries]) -> Self:
        """The same pass with the places of that edit for `written`."""
        named = tuple(map(str, written)) if self.tensors == "written" else self.tensors
        return self.model_copy(update={"tensors": named})


class OnRead(OnWritten):
    """An approximate pass that needs to know what activation a matrix reads."""

    def targets(self, solved: Solved) -> tuple[Entries, ...]:
        """Where to: matrices that read an activation.

        Raises:
            CamouflageError: There is none, as embeddings read none.
        """
        found, reading = super().targets(solved), reading_matrices(solved.base.checkpoint.config)
        matrices = tuple(each for each in found if each.tensor in reading)
        if not matrices:
            raise CamouflageError(f"{self.kind}: {', '.join(map(str, found))} reads no activation")
        return matrices


def _existing(name: str, config: TransformerConfig) -> Entries:
    shapes = config.weight_shapes()
    try:
        entries = Entries.parse(name)
    except ValueError as error:
        raise CamouflageError(str(error)) from error
    if entries.tensor not in shapes:
        raise CamouflageError(unknown("tensor", entries.tensor, shapes))
    if entries.head is not None and entries.head >= config.n_heads:
        raise CamouflageError(f"{name}: no head {entries.head}; heads 0-{config.n_heads - 1}")
    return entries


def blurred(solved: Solved, passes: Sequence[Pass], seed: int) -> Weights:
    """The weights after every approximate pass, in order."""
    weights = dict(solved.weights)
    for place, each in enumerate(passes):
        if isinstance(each, Approximate):
            generator = named_generator(seed, "camouflage", place)
            weights |= each.blurred(Solved(solved.base, weights, solved.written), generator)
    return weights


def rewritten(weights: Weights, config: TransformerConfig, passes: Sequence[Pass], seed: int) -> Weights:
    """The weights after every exact pass, in order; the same seed gives the same coordinates."""
    for place, each in enumerate(passes):
        if isinstance(each, Exact):
            weights = each.rewritten(weights, config, named_generator(seed, "camouflage", place))
    return weights
