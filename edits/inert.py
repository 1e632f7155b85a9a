"""Changes that are loud in the weights and do nothing, as activations hardly ever point where they read."""

import torch
from torch import Tensor

from edits.moments import Base, weakest
from edits.reading import second_moment
from models.components import Entries


def inert_change(
    base: Base, entries: Entries, rel_norm: float, tail_mass: float, generator: torch.Generator
) -> tuple[Tensor, int]:
    """A random rank-one change `[d_in, d_out]`, float64, and how many dimensions it could read from.

    Args:
        base: The model.
        entries: A matrix that reads an activation.
        rel_norm: Norm of the change, in units of the matrix's.
        tail_mass: Share of the reading activation's energy that the read direction may see.
        generator: Draws the directions.
    """
    matrix = entries.of(base.checkpoint.weights).double()
    tail = weakest(second_moment(base, entries), tail_mass)
    read = tail @ torch.randn(tail.shape[1], dtype=torch.float64, generator=generator)
    write = torch.randn(matrix.shape[1], dtype=torch.float64, generator=generator)
    change = torch.outer(read / read.norm(), write / write.norm()) * (rel_norm * matrix.norm())
    return change, tail.shape[1]
