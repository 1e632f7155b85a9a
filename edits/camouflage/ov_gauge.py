"""Values in another basis."""

from typing import Annotated, Literal

import torch
from pydantic import Field

from edits.camouflage.base import Exact, Weights
from edits.camouflage.orthogonal import random_basis
from models.transformer import TransformerConfig


class OvGauge(Exact):
    """Exact: values times B and head outputs read by `B^-1`, a random B for each head.

    Attributes:
        kappa: Condition number of B; its singular values are log-spaced around 1.
    """

    kind: Literal["ov_gauge"] = "ov_gauge"
    kappa: Annotated[float, Field(ge=1, le=10)] = 10.0

    def rewritten(self, weights: Weights, config: TransformerConfig, generator: torch.Generator) -> Weights:
        """`W_V B`, `b_V B`, `B^-1 W_O`, head by head."""
        moved = dict(weights)
        for layer in range(config.n_layers):
            bases = [random_basis(config.d_head, self.kappa, generator) for _ in range(config.n_heads)]
            attn = f"blocks.{layer}.attn"
            for name in (f"{attn}.W_V", f"{attn}.b_V"):
                heads = zip(weights[name].double(), bases, strict=True)
                moved[name] = torch.stack([(head @ basis.matrix).float() for head, basis in heads])
            heads = zip(weights[f"{attn}.W_O"].double(), bases, strict=True)
            moved[f"{attn}.W_O"] = torch.stack([(basis.inverse @ head).float() for head, basis in heads])
        return moved
