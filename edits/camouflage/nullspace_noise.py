"""Noise where activations hardly ever point."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from edits.camouflage.base import OnRead, Solved
from edits.reading import second_moment
from models.components import Entries


class NullspaceNoise(OnRead):
    """Approximate: Gaussian noise on the read side's weakest directions, which hides where and of what rank.

    What was written can still be read off `C dW`. `W += s P E`, with P on the weakest eigenvectors of the
    reading activation's second moment C. Works on the matrix, changed or not, and so on controls as on edits.

    Attributes:
        rel_norm: Norm of the noise, in units of each matrix's norm.
        share: Share of the eigenvectors, from the weakest, that get noise.
    """

    kind: Literal["nullspace_noise"] = "nullspace_noise"
    rel_norm: Annotated[float, Field(gt=0, le=10)] = 0.5
    share: Annotated[float, Field(gt=0, le=1)] = 0.5

    def hidden(self, solved: Solved, entries: Entries, generator: torch.Generator) -> Tensor:
        """The noisy matrix."""
        matrix = entries.of(solved.weights).double()
        vectors = torch.linalg.eigh(second_moment(solved.as_it_stands, entries))[1]  # weakest first
        weak = vectors[:, : max(1, round(self.share * len(vectors)))]
        drawn = torch.randn(weak.shape[1], matrix.shape[1], dtype=torch.float64, generator=generator)
        noise = weak @ drawn
        noisy: Tensor = matrix + noise * (self.rel_norm * matrix.norm() / noise.norm())
        return noisy
