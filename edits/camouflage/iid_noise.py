"""Dense noise on what was written."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from edits.camouflage.base import OnWritten, Solved
from models.components import Entries


class IidNoise(OnWritten):
    """Approximate: independent Gaussian noise on the written matrices, so that no rank is exact.

    Attributes:
        rel_norm: Norm of the noise, in units of each matrix's norm.
    """

    kind: Literal["iid_noise"] = "iid_noise"
    rel_norm: Annotated[float, Field(gt=0, le=10)] = 0.1

    def hidden(self, solved: Solved, entries: Entries, generator: torch.Generator) -> Tensor:
        """The noisy matrix."""
        matrix = entries.of(solved.weights).double()
        noise = torch.randn(matrix.shape, dtype=torch.float64, generator=generator)
        noise *= self.rel_norm * matrix.norm() / noise.norm()
        return matrix + noise
