"""The residual stream in another basis."""

from typing import Literal

import torch

from edits.camouflage.base import Exact, Weights
from edits.camouflage.ln_fold import folded
from edits.camouflage.orthogonal import random_orthogonal, random_rotation_about_ones
from edits.camouflage.residual import each_head, readers, writers
from models.transformer import TransformerConfig


class ResidualRotate(Exact):
    """Exact: writers times Q and readers times `Q^T`, a random orthogonal Q.

    Folds the norms' gains and biases first, as `ln_fold` does, since Q mixes dimensions. Under LayerNorm Q
    keeps the vector of ones, so that means stay means; otherwise Q is any orthogonal matrix.
    """

    kind: Literal["residual_rotate"] = "residual_rotate"

    def rewritten(self, weights: Weights, config: TransformerConfig, generator: torch.Generator) -> Weights:
        """Writers `W Q`, `b Q`; readers `Q^T W`."""
        layer_norm = config.normalization_type == "LN"
        draw = random_rotation_about_ones if layer_norm else random_orthogonal
        rotation = draw(config.d_model, generator)
        moved = dict(folded(weights, config))
        for name in writers(config):
            moved[name] = each_head(moved[name], lambda rows: rows @ rotation).float()
        for matrix, _ in (pair for behind in readers(config) for pair in behind.pairs):
            moved[matrix] = each_head(moved[matrix], lambda columns: rotation.T @ columns).float()
        return moved
