"""The sham: as loud as an edit, and inert."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from edits.base import Candidate, Control, Edited, EditError
from edits.gates import Gates
from edits.inert import inert_change
from edits.moments import Base
from edits.places import Place, Places, check_places, places_of
from edits.reading import reading_matrices, reads_residual_stream
from models.bounds import Bound
from models.seeds import named_generator
from models.strict_yaml import StrictModel


class RandomRank1Edit(StrictModel):
    """Where and how loud.

    Attributes:
        at: Matrices that read an activation: `blocks.L.mlp.W_in`, `blocks.L.mlp.W_out`, one head's
            `blocks.L.attn.W_Q[H]`, `W_K`, `W_V` or `W_O`, or `unembed.W_U`; each with the norm of its change.
        tail_mass: Share of the reading activation's energy that the read direction may see. Left out, it
            is 1e-4, and 1e-2 where the residual stream is read: there 1e-4 would leave the one direction
            that LayerNorm empties, which tells a sham.
    """

    kind: Literal["random_rank1"] = "random_rank1"
    at: Places
    tail_mass: Annotated[float, Field(gt=0, lt=1)] | None = None

    def mass(self, place: Place) -> float:
        """The share that holds for a matrix."""
        if self.tail_mass is not None:
            return self.tail_mass
        return 1e-2 if reads_residual_stream(place.entries) else 1e-4


class RandomRank1(Control):
    """A sham: a random rank-one change as loud as an edit, read where activations hardly ever point.

    The read direction is random among the weakest eigenvectors of the reading activation's second moment,
    so that the change looks like an edit in the weights and does nothing.
    """

    floor: ClassVar[Gates] = {"kl": Bound(max=1e-3), "agree": Bound(min=0.998)}
    edit: RandomRank1Edit

    @classmethod
    def matching(cls, edit: Edited) -> dict[str, Any]:
        """The same matrices, as far as they read an activation, and the same relative norms."""
        places = places_of(edit, reading_matrices(edit.checkpoint.config))
        if not places:
            raise EditError(f"random_rank1: {edit.record.kind} writes no matrix that reads an activation")
        return {"at": places}

    def check(self, base: Base) -> None:
        """Refuse tensors and heads that the model does not have."""
        config = base.checkpoint.config
        check_places(self.edit.at, reading_matrices(config), config)

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """A few draws, each from a weaker tail if there is one; in an MLP the first is mostly inert."""
        generator = named_generator(self.seed, "sham")
        for attempt in range(4):
            after: dict[str, Tensor] = {}
            widest = 0
            for place in self.edit.at:
                mass = self.edit.mass(place) * 0.1**attempt
                change, dimensions = inert_change(base, place.entries, place.rel_norm, mass, generator)
                tensor = place.entries.tensor
                after.setdefault(tensor, base.checkpoint.weights[tensor].clone())
                place.entries.of(after).add_(change.float())
                widest = max(widest, dimensions)
            written = tuple(place.entries for place in self.edit.at)
            yield Candidate(after, written, {"tail_dimensions": widest})

    def summary(self, base: Base) -> str:
        """Where and how loud."""
        places = ", ".join(f"{place.tensor} ({place.rel_norm:.2f} of its norm)" for place in self.edit.at)
        return f"an inert rank-one change of {places}"
