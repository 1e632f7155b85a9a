"""Random changes of basis, drawn in float64."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Basis:
    """An invertible matrix `[d, d]` and its inverse."""

    matrix: Tensor
    inverse: Tensor


def random_orthogonal(size: int, generator: torch.Generator) -> Tensor:
    """An orthogonal matrix `[size, size]`, uniform (Haar).

    Source: Mezzadri 2007, arXiv math-ph/0609050: QR of a Gaussian matrix, with R's diagonal made positive.
    """
    q, r = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=generator))
    rotation: Tensor = q * r.diagonal().sign()
    return rotation


def random_basis(size: int, kappa: float, generator: torch.Generator) -> Basis:
    """A random matrix of condition number `kappa`, its singular values log-spaced around 1."""
    half = 0.5 * torch.log10(torch.tensor(kappa, dtype=torch.float64)).item() if size > 1 else 0.0
    sigma = torch.logspace(-half, half, size, dtype=torch.float64)
    left, right = random_orthogonal(size, generator), random_orthogonal(size, generator)
    return Basis(left * sigma @ right.T, right / sigma @ left.T)


def random_rotation_about_ones(size: int, generator: torch.Generator) -> Tensor:
    """An orthogonal matrix `[size, size]` that keeps the vector of ones, otherwise uniform."""
    ones = torch.ones(size, 1, dtype=torch.float64)
    first = torch.cat([ones, torch.eye(size, dtype=torch.float64)[:, 1:]], 1)
    complement = torch.linalg.qr(first)[0][:, 1:]  # of the vector of ones
    inner = random_orthogonal(size - 1, generator)
    rotation: Tensor = ones @ ones.T / size + complement @ inner @ complement.T
    return rotation
