"""A constant that tokens carry and positions take away."""

from typing import Annotated, Literal

import torch
from pydantic import Field

from edits.camouflage.base import Exact, Weights
from models.transformer import TransformerConfig


class EmbedShift(Exact):
    """Exact: a random vector on every token embedding and off every position embedding.

    Attributes:
        spread: Standard deviation of its entries, in units of an untrained embedding's, `d_model**-0.5`.
    """

    kind: Literal["embed_shift"] = "embed_shift"
    spread: Annotated[float, Field(gt=0, le=10)] = 1.0

    def rewritten(self, weights: Weights, config: TransformerConfig, generator: torch.Generator) -> Weights:
        """`W_E + c` and `W_pos - c`."""
        draw = torch.randn(config.d_model, dtype=torch.float64, generator=generator)
        shift = self.spread * config.d_model**-0.5 * draw
        return {
            **weights,
            "embed.W_E": (weights["embed.W_E"].double() + shift).float(),
            "pos_embed.W_pos": (weights["pos_embed.W_pos"].double() - shift).float(),
        }
