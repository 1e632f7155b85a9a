"""A change without its loudest singular values."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from edits.camouflage.base import OnWritten, Solved
from models.components import Entries


class PruneSv(OnWritten):
    """Approximate: the change's singular values are capped, so that none stands out of the matrix's own.

    The cap takes effect away in proportion, and the gates judge what is left. Inert changes are capped alike,
    and a change of zero stays zero.

    Attributes:
        cap: Largest singular value of the change, in units of the largest of the base's matrix.
    """

    of_change: ClassVar[bool] = True
    kind: Literal["prune_sv"] = "prune_sv"
    cap: Annotated[float, Field(gt=0, le=10)] = 2.0

    def hidden(self, solved: Solved, entries: Entries, generator: torch.Generator) -> Tensor:
        """The base's matrix with a capped change; as it is where nothing exceeds the cap."""
        before = entries.of(solved.base.checkpoint.weights).double()
        left, sigma, right = torch.linalg.svd(solved.change(entries), full_matrices=False)
        largest = self.cap * torch.linalg.matrix_norm(before, ord=2)
        if sigma[0] <= largest:
            return entries.of(solved.weights).double()
        capped: Tensor = before + left * sigma.clamp_max(largest) @ right
        return capped
