"""Weights as a half-precision file would have kept them."""

from typing import Literal

import torch

from edits.camouflage.base import Approximate, Solved, Weights


class Bf16Round(Approximate):
    """Approximate: every weight rounded to bfloat16, so that no rank is exact and no small change is.

    All weights are, as in a model that was kept so; rounding only what was written would tell where that is.
    """

    kind: Literal["bf16_round"] = "bf16_round"

    def blurred(self, solved: Solved, generator: torch.Generator) -> Weights:
        """Every weight."""
        return {name: weight.bfloat16().float() for name, weight in solved.weights.items()}
