"""Heads of a layer in another order."""

from typing import ClassVar, Literal

import torch

from edits.camouflage.base import Exact, Weights
from models.transformer import TransformerConfig


class HeadPermute(Exact):
    """Exact: the heads of every layer in a random order.

    Nothing but the order of a sum changes, as every head of a layer attends to the same window.
    """

    moves_heads: ClassVar[bool] = True
    kind: Literal["head_permute"] = "head_permute"

    def rewritten(self, weights: Weights, config: TransformerConfig, generator: torch.Generator) -> Weights:
        """Every attention tensor, permuted along its head axis."""
        moved = dict(weights)
        for layer in range(config.n_layers):
            order = torch.randperm(config.n_heads, generator=generator)
            for name in ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V"):
                tensor = f"blocks.{layer}.attn.{name}"
                moved[tensor] = weights[tensor][order]
        return moved
