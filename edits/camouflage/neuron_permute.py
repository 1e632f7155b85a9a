"""Neurons of an MLP in another order."""

from typing import Literal

import torch

from edits.camouflage.base import CamouflageError, Exact, Weights
from models.transformer import TransformerConfig


class NeuronPermute(Exact):
    """Exact: the neurons of every MLP in a random order.

    Needs an MLP in some layer; the order of a sum is all that changes.
    """

    kind: Literal["neuron_permute"] = "neuron_permute"

    def check(self, config: TransformerConfig) -> None:
        """Refuse a model without MLPs."""
        if config.attn_only:
            raise CamouflageError("neuron_permute: no layer of the model has an MLP")

    def rewritten(self, weights: Weights, config: TransformerConfig, generator: torch.Generator) -> Weights:
        """Columns of `W_in`, entries of `b_in` and rows of `W_out`, in one order for each layer."""
        moved = dict(weights)
        for layer in (layer for layer, has_mlp in enumerate(config.mlp) if has_mlp):
            order, mlp = torch.randperm(config.d_mlp, generator=generator), f"blocks.{layer}.mlp"
            moved[f"{mlp}.W_in"] = weights[f"{mlp}.W_in"][:, order]
            moved[f"{mlp}.b_in"] = weights[f"{mlp}.b_in"][order]
            moved[f"{mlp}.W_out"] = weights[f"{mlp}.W_out"][order]
        return moved
