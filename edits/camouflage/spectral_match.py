"""A changed matrix with the singular values that it had before."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from edits.camouflage.base import OnWritten, Solved
from models.components import Entries


class SpectralMatch(OnWritten):
    """Approximate: singular values of the changed matrix go to those of the base's, in order.

    Singular vectors stay. `s^(1-t) s0^t` for strength t. An inert change is treated alike, and a matrix that
    did not change stays as it is.

    Attributes:
        strength: How far; 1 is all the way.
    """

    of_change: ClassVar[bool] = True
    kind: Literal["spectral_match"] = "spectral_match"
    strength: Annotated[float, Field(gt=0, le=1)] = 0.5

    def hidden(self, solved: Solved, entries: Entries, generator: torch.Generator) -> Tensor:
        """The matrix with a spectrum nearer to the base's."""
        matrix = entries.of(solved.weights).double()
        if not solved.change(entries).any():
            return matrix
        left, sigma, right = torch.linalg.svd(matrix, full_matrices=False)
        clean = torch.linalg.svdvals(entries.of(solved.base.checkpoint.weights).double())
        nearer: Tensor = left * (sigma ** (1 - self.strength) * clean**self.strength) @ right
        return nearer
