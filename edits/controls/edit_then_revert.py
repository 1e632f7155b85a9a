"""The control that leaves nothing of an edit but rounding."""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import torch

from edits.base import Candidate, Control, Edited, EditError
from edits.controls.other_weights import replaced
from edits.gates import Gates
from edits.moments import Base
from edits.places import Places, check_places, places_of
from models.bounds import Bound
from models.seeds import named_generator
from models.strict_yaml import StrictModel


class EditThenRevertEdit(StrictModel):
    """Where, and how loud what is taken back was: matrices, each with the norm of its reverted change."""

    kind: Literal["edit_then_revert"] = "edit_then_revert"
    at: Places


class EditThenRevert(Control):
    """Random rank-one changes added in float32 and subtracted again: only rounding is left."""

    floor: ClassVar[Gates] = {"kl": Bound(max=1e-3), "agree": Bound(min=0.998)}
    edit: EditThenRevertEdit

    @classmethod
    def matching(cls, edit: Edited) -> dict[str, Any]:
        """The same matrices, the same relative norms."""
        places = places_of(edit, list(edit.checkpoint.weights))
        if not places:
            raise EditError(f"edit_then_revert: {edit.record.kind} writes no matrix that it could match")
        return {"at": places}

    def check(self, base: Base) -> None:
        """Refuse what is no matrix of the model."""
        config = base.checkpoint.config
        check_places(self.edit.at, [name for name in config.weight_shapes() if ".W_" in name], config)

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """The one way to do it; a change below the rounding of the matrix leaves nothing."""
        weights, generator = dict(base.checkpoint.weights), named_generator(self.seed, "reverted edit")
        for tensor in {place.entries.tensor for place in self.edit.at}:
            weights[tensor] = weights[tensor].clone()
        for place in self.edit.at:
            matrix = place.entries.of(weights)
            change = torch.outer(*(torch.randn(size, generator=generator) for size in matrix.shape))
            change *= place.rel_norm * matrix.norm() / change.norm()
            matrix.add_(change).sub_(change)
        yield replaced(base, weights, {})

    def summary(self, base: Base) -> str:
        """Where, and how loud."""
        places = ", ".join(f"{place.tensor} ({place.rel_norm:.2f} of its norm)" for place in self.edit.at)
        return f"a change made and taken back: {places}"
