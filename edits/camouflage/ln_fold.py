"""Gains and biases of norms, folded into what reads them."""

from functools import partial
from typing import Literal

import torch

from edits.camouflage.base import CamouflageError, Exact, Weights
from edits.camouflage.residual import each_head, readers
from models.transformer import TransformerConfig


class LnFold(Exact):
    """Exact: every norm's gain and bias move into the matrices and biases behind it.

    Needs a norm. An edit of a gain or bias itself cannot be hidden so: nothing of it stays where it was.
    """

    kind: Literal["ln_fold"] = "ln_fold"

    def check(self, config: TransformerConfig) -> None:
        """Refuse a model without norms."""
        if config.normalization_type is None:
            raise CamouflageError("ln_fold: the model has no normalisation")

    def rewritten(self, weights: Weights, config: TransformerConfig, generator: torch.Generator) -> Weights:
        """`diag(gain) W` and `b + bias W`; gains become 1, biases 0."""
        return folded(weights, config)


def folded(weights: Weights, config: TransformerConfig) -> Weights:
    """The same function with every gain at 1 and every norm's bias at 0; all as it was without norms."""
    moved = dict(weights)
    if config.normalization_type is None:
        return moved
    for behind in readers(config):
        gain = weights[f"{behind.norm}.w"].double()
        shift = weights[f"{behind.norm}.b"].double() if config.normalization_type == "LN" else 0 * gain
        for matrix, bias in behind.pairs:
            moved[matrix] = (gain[:, None] * weights[matrix].double()).float()
            constant = each_head(weights[matrix], partial(torch.matmul, shift))
            moved[bias] = (weights[bias].double() + constant).float()
        moved[f"{behind.norm}.w"] = torch.ones_like(weights[f"{behind.norm}.w"])
        if config.normalization_type == "LN":
            moved[f"{behind.norm}.b"] = torch.zeros_like(weights[f"{behind.norm}.b"])
    return moved
