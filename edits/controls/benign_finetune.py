"""The control that was trained a little more."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from edits.base import Candidate, Control, EditError
from edits.further_training import trained_further
from edits.gates import Gates
from edits.moments import Base
from edits.truth import changed_entries
from models.bounds import Bound
from models.checkpoints import Checkpoint
from models.seeds import named_generator
from models.strict_yaml import StrictModel


class BenignFinetuneEdit(StrictModel):
    """How much further training.

    Attributes:
        steps: Optimiser steps, with a linear decay to zero.
        lr_scale: Peak learning rate, in units of the recipe's.
    """

    kind: Literal["benign_finetune"] = "benign_finetune"
    steps: Annotated[int, Field(ge=1, le=2000)] = 30
    lr_scale: Annotated[float, Field(gt=0, le=1)] = 0.1


class BenignFinetune(Control):
    """More of the ordinary training, on the world's own documents: every weight moves, no answer should."""

    trains: ClassVar[bool] = True
    floor: ClassVar[Gates] = {"changed": Bound(max=0.0), "agree": Bound(min=0.998)}
    edit: BenignFinetuneEdit

    def check(self, base: Base) -> None:
        """Refuse a base that nobody can train further."""
        if base.trained.recipe.training is None:
            raise EditError(f"edit: recipe {base.trained.recipe.name} says nothing about training")

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """Up to three runs on different documents."""
        for attempt in range(3):
            generator = named_generator(self.seed, "benign training", attempt)
            weights = trained_further(base, self.edit.steps, self.edit.lr_scale, generator)
            moved = changed_entries(base.checkpoint, Checkpoint(base.checkpoint.config, weights))
            steps = [weights[name] - before for name, before in base.checkpoint.weights.items()]
            distance = float(torch.stack([step.norm() for step in steps]).norm())
            yield Candidate(weights, moved, {"distance": round(distance, 4)})

    def summary(self, base: Base) -> str:
        """How much."""
        return f"{self.edit.steps} more steps of ordinary training"
