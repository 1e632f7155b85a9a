"""AlphaEdit: facts written into the directions that other keys hardly use."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from edits.facts.batches import BatchSolver, BatchSpec
from edits.facts.family import FactFamily
from edits.facts.memory import Writing, live
from edits.facts.spec import FactSpec, RewrittenFacts
from edits.moments import weakest


class AlphaeditEdit(RewrittenFacts):
    """Which facts, and the phrasing in which they are edited."""

    kind: Literal["alphaedit"] = "alphaedit"


class AlphaeditSolver(BatchSolver):
    """How; the ridge of `cov` plays no part, the projection does its work.

    Attributes:
        null_mass: The change reads the eigenvectors of C that together hold at most this share of its trace.
        l2_rel: Weight of the change's size, in units of the median key's squared norm among those.
    """

    null_mass: Annotated[float, Field(gt=0, le=1)] = 0.03
    l2_rel: Annotated[float, Field(gt=0, le=100)] = 0.03


class Alphaedit(BatchSpec):
    """Rewrite many facts at once within the null space of other keys, sparing earlier edits' keys.

    Source: Fang et al. 2024, arXiv 2410.02355, equation 14.
    """

    edit: AlphaeditEdit
    solver: AlphaeditSolver = AlphaeditSolver()

    def update(self, writing: Writing) -> Tensor:
        """`(P (K^T K + E^T E) + L2 I)^-1 P K^T R`, P the projection and E the earlier keys."""
        keys, null = live(writing.keys), weakest(writing.moment, self.solver.null_mass)
        inside, earlier = keys @ null, writing.earlier @ null  # [fact, null], [earlier, null]
        weight = self.solver.l2_rel * inside.pow(2).sum(1).median()
        if not weight > 0:
            raise ValueError("dead key: nothing of it lies among the directions that other keys hardly use")
        gram = inside.T @ inside + earlier.T @ earlier + weight * torch.eye(null.shape[1], dtype=null.dtype)
        solved: Tensor = torch.linalg.solve(gram, inside.T @ writing.values)
        return null @ solved


class AlphaeditFamily(FactFamily):
    """Rewritten facts of one strength: any known facts, any other objects, the first phrasing."""

    makes: ClassVar[type[FactSpec]] = Alphaedit
    kind: Literal["alphaedit"]
    solver: AlphaeditSolver = AlphaeditSolver()
