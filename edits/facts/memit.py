"""MEMIT: many facts at once by least squares, spread over several layers."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from edits.facts.batches import BatchSolver, BatchSpec
from edits.facts.family import FactFamily
from edits.facts.memory import Writing, live
from edits.facts.spec import FactSpec, RewrittenFacts


class MemitEdit(RewrittenFacts):
    """Which facts, and the phrasing in which they are edited."""

    kind: Literal["memit"] = "memit"


class MemitSolver(BatchSolver):
    """How.

    Attributes:
        lambda_rel: Weight of what is to be kept, in units of the median key's energy k . C^-1 k; one fact
            alone reaches 1 / (1 + lambda_rel) of its value.
    """

    lambda_rel: Annotated[float, Field(gt=0, le=100)] = 0.03


class Memit(BatchSpec):
    """Rewrite many facts at once by least squares over an MLP's output matrix, or over several layers'.

    Source: Meng et al. 2023, arXiv 2210.07229, equation 14.
    """

    edit: MemitEdit
    solver: MemitSolver = MemitSolver()

    def update(self, writing: Writing) -> Tensor:
        """`(lambda C + K^T K)^-1 K^T R`."""
        keys, moment = live(writing.keys), writing.ridged(self.solver.cov.ridge)
        energy = (keys * torch.linalg.solve(moment, keys.T).T).sum(1)
        weight = self.solver.lambda_rel * energy.median()
        change: Tensor = torch.linalg.solve(weight * moment + keys.T @ keys, keys.T @ writing.values)
        return change


class MemitFamily(FactFamily):
    """Rewritten facts of one strength: any known facts, any other objects, the first phrasing."""

    makes: ClassVar[type[FactSpec]] = Memit
    kind: Literal["memit"]
    solver: MemitSolver = MemitSolver()
