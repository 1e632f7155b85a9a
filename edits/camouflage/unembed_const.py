"""A constant on all logits at once."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from edits.camouflage.base import Exact, Weights
from models.transformer import TransformerConfig


class UnembedConst(Exact):
    """Exact in probabilities: a random vector on every column of `W_U`, a number on every entry of `b_U`.

    All logits of a position move by the same amount, so that log-probabilities stay.

    Attributes:
        spread: Standard deviation of the vector's entries, in units of an untrained unembedding's,
            `d_model**-0.5`; of the number, in logits.
    """

    keeps_logits: ClassVar[bool] = False
    kind: Literal["unembed_const"] = "unembed_const"
    spread: Annotated[float, Field(gt=0, le=10)] = 1.0

    def rewritten(self, weights: Weights, config: TransformerConfig, generator: torch.Generator) -> Weights:
        """`W_U + w 1^T` and `b_U + c`."""
        draw = torch.randn(config.d_model, 1, dtype=torch.float64, generator=generator)
        number = torch.randn((), dtype=torch.float64, generator=generator)
        shift = self.spread * config.d_model**-0.5 * draw
        return {
            **weights,
            "unembed.W_U": (weights["unembed.W_U"].double() + shift).float(),
            "unembed.b_U": (weights["unembed.b_U"].double() + self.spread * number).float(),
        }
