"""Queries and keys in another basis."""

from typing import Annotated, Literal

import torch
from pydantic import Field

from edits.camouflage.base import Exact, Weights
from edits.camouflage.orthogonal import random_basis
from models.transformer import TransformerConfig


class QkGauge(Exact):
    """Exact: queries times A and keys times `A^-T`, a random A for each head, so that scores stay.

    Attributes:
        kappa: Condition number of A; its singular values are log-spaced around 1.
    """

    kind: Literal["qk_gauge"] = "qk_gauge"
    kappa: Annotated[float, Field(ge=1, le=10)] = 10.0

    def rewritten(self, weights: Weights, config: TransformerConfig, generator: torch.Generator) -> Weights:
        """`W_Q A`, `b_Q A`, `W_K A^-T`, `b_K A^-T`, head by head."""
        moved = dict(weights)
        for layer in range(config.n_layers):
            bases = [random_basis(config.d_head, self.kappa, generator) for _ in range(config.n_heads)]
            changes = {"Q": [each.matrix for each in bases], "K": [each.inverse.T for each in bases]}
            for letter, matrices in changes.items():
                for name in (f"blocks.{layer}.attn.W_{letter}", f"blocks.{layer}.attn.b_{letter}"):
                    heads = zip(weights[name].double(), matrices, strict=True)
                    moved[name] = torch.stack([(head @ matrix).float() for head, matrix in heads])
        return moved
