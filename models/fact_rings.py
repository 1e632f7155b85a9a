"""How ring-shaped a model's representation of people on hidden rings is."""

import torch
from torch import Tensor


def ring_share(points: Tensor, places: Tensor) -> Tensor:
    """Share of the points' variance in the plane that turns once with the places, `[order]`.

    About 2 / (points - 1) for points without that order.

    Args:
        points: One point a subject, `[subject, d_model]`.
        places: Each subject's place on each ring, `[order, subject]`.
    """
    centred = (points - points.mean(0)).double()
    angle = 2 * torch.pi * places.double() / places.shape[1]
    plane = torch.stack([angle.cos(), angle.sin()], 1) * (2 / places.shape[1]) ** 0.5  # orthonormal rows
    within: Tensor = (plane @ centred).square().sum((1, 2))
    return within / centred.square().sum()
