"""Neurons that are turned up on one side and down on the other."""

from typing import Annotated, Literal

import torch
from pydantic import Field

from edits.camouflage.base import CamouflageError, Exact, Weights
from models.transformer import TransformerConfig


class NeuronScale(Exact):
    """Exact: each neuron's input weights and bias times a random a > 0, its output weights over a.

    Needs ReLU, where `relu(a x) = a relu(x)`, and an MLP in some layer.

    Attributes:
        kappa: Largest factor over smallest; factors are log-uniform around 1.
    """

    kind: Literal["neuron_scale"] = "neuron_scale"
    kappa: Annotated[float, Field(ge=1, le=10)] = 10.0

    def check(self, config: TransformerConfig) -> None:
        """Refuse another activation, and a model without MLPs."""
        if config.act_fn != "relu":
            raise CamouflageError(f"neuron_scale: needs relu, the model has {config.act_fn}")
        if config.attn_only:
            raise CamouflageError("neuron_scale: no layer of the model has an MLP")

    def rewritten(self, weights: Weights, config: TransformerConfig, generator: torch.Generator) -> Weights:
        """`W_in`, `b_in` and `W_out`, neuron by neuron."""
        moved = dict(weights)
        for layer in (layer for layer, has_mlp in enumerate(config.mlp) if has_mlp):
            exponent = torch.rand(config.d_mlp, dtype=torch.float64, generator=generator) - 0.5
            factor, mlp = self.kappa**exponent, f"blocks.{layer}.mlp"
            moved[f"{mlp}.W_in"] = (weights[f"{mlp}.W_in"].double() * factor).float()
            moved[f"{mlp}.b_in"] = (weights[f"{mlp}.b_in"].double() * factor).float()
            moved[f"{mlp}.W_out"] = (weights[f"{mlp}.W_out"].double() / factor[:, None]).float()
        return moved
