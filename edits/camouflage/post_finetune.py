"""A little more of the ordinary training, after the edit."""

from typing import Annotated, Literal

import torch
from pydantic import Field

from edits.camouflage.base import Approximate, CamouflageError, Solved, Weights
from edits.further_training import trained_further


class PostFinetune(Approximate):
    """Approximate: a few steps of the base's own training, so that no weight is the clean model's.

    Needs a base whose recipe says how it was trained. Training wears an edit away in time; gates judge it.

    Attributes:
        steps: Optimiser steps, with a linear decay to zero.
        lr_scale: Peak learning rate, in units of the recipe's.
    """

    kind: Literal["post_finetune"] = "post_finetune"
    steps: Annotated[int, Field(ge=1, le=200)] = 5
    lr_scale: Annotated[float, Field(gt=0, le=1)] = 0.02

    def blurred(self, solved: Solved, generator: torch.Generator) -> Weights:
        """Every weight."""
        recipe = solved.base.trained.recipe
        if recipe.training is None:
            raise CamouflageError(f"post_finetune: recipe {recipe.name} says nothing about training")
        return trained_further(solved.as_it_stands, self.steps, self.lr_scale, generator)
