"""What is written to the residual stream, without its mean."""

from typing import Literal

import torch

from edits.camouflage.base import CamouflageError, Exact, Weights
from edits.camouflage.residual import each_head, writers
from models.transformer import TransformerConfig


class CenterWriters(Exact):
    """Exact: whatever writes to the residual stream writes with mean 0 over its dimensions.

    Needs LayerNorm, which takes the mean away at every reader.
    """

    kind: Literal["center_writers"] = "center_writers"

    def check(self, config: TransformerConfig) -> None:
        """Refuse any other norm."""
        if config.normalization_type != "LN":
            found = config.normalization_type or "none"
            raise CamouflageError(f"center_writers: needs LayerNorm, the model's normalisation is {found}")

    def rewritten(self, weights: Weights, config: TransformerConfig, generator: torch.Generator) -> Weights:
        """Every writer times `I - 11^T/d`."""
        centred = {
            name: each_head(weights[name], lambda rows: rows - rows.mean(-1, keepdim=True)).float()
            for name in writers(config)
        }
        return {**weights, **centred}
