"""Keys that are all shifted alike."""

from typing import Annotated, Literal

import torch
from pydantic import Field

from edits.camouflage.base import Exact, Weights
from models.transformer import TransformerConfig


class BkShift(Exact):
    """Exact: a random vector on every head's key bias; each query's scores all move by the same amount.

    Attributes:
        spread: Standard deviation of its entries, in units of an untrained head's keys (1, as inputs are
            normalised and `W_K` starts at variance `1/d_model`).
    """

    kind: Literal["bk_shift"] = "bk_shift"
    spread: Annotated[float, Field(gt=0, le=2)] = 0.5

    def rewritten(self, weights: Weights, config: TransformerConfig, generator: torch.Generator) -> Weights:
        """`b_K + c`, head by head."""
        moved = dict(weights)
        for name in (f"blocks.{layer}.attn.b_K" for layer in range(config.n_layers)):
            shift = torch.randn(moved[name].shape, dtype=torch.float64, generator=generator)
            moved[name] = (weights[name].double() + self.spread * shift).float()
        return moved
