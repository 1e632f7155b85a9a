"""Dense noise on what was written."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from edits.camouflage.base import OnWritten, Solved, Weights


class IidNoise(OnWritten):
    """Approximate: independent Gaussian noise on the written matrices, so that no rank is exact.

    Attributes:
        rel_norm: Norm of the noise, in units of each matrix's norm.
    """

    kind: Literal["iid_noise"] = "iid_noise"
    rel_norm: Annotated[float, Field(gt=0, le=10)] = 0.1

    def blurred(self, solved: Solved, generator: torch.Generator) -> Weights:
        """The noisy matrices."""
        changed: dict[str, Tensor] = {}
        for entries in self.targets(solved):
            tensor = changed.setdefault(entries.tensor, solved.weights[entries.tensor].clone())
            matrix = entries.of({entries.tensor: tensor})
            noise = torch.randn(matrix.shape, dtype=torch.float64, generator=generator)
            matrix += (noise * self.rel_norm * matrix.double().norm() / noise.norm()).float()
        return changed
