"""Value biases, folded into the attention's output bias."""

from typing import Literal

import torch

from edits.camouflage.base import Exact, Weights
from models.transformer import TransformerConfig


class BvFold(Exact):
    """Exact: `b_O += sum_h b_V[h] W_O[h]` and `b_V = 0`, as every attention pattern sums to 1.

    An edit of a value bias itself cannot be hidden so: nothing of it stays where it was.
    """

    kind: Literal["bv_fold"] = "bv_fold"

    def rewritten(self, weights: Weights, config: TransformerConfig, generator: torch.Generator) -> Weights:
        """`b_O` and `b_V` of every layer."""
        moved = dict(weights)
        for attn in (f"blocks.{layer}.attn" for layer in range(config.n_layers)):
            values, outputs = weights[f"{attn}.b_V"].double(), weights[f"{attn}.W_O"].double()
            constant = torch.stack([value @ out for value, out in zip(values, outputs, strict=True)]).sum(0)
            moved[f"{attn}.b_O"] = (weights[f"{attn}.b_O"].double() + constant).float()
            moved[f"{attn}.b_V"] = torch.zeros_like(weights[f"{attn}.b_V"])
        return moved
