"""A change of few entries that does what the dense one did."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from edits.camouflage.base import OnRead, Solved
from edits.reading import second_moment
from models.components import Entries


class Sparsify(OnRead):
    """Approximate: only the entries that changed most for their size stay changed, and make up for the rest.

    What is dropped is given back by the kept entries of the same column, so far as they can: with d the
    column's change, S the kept rows and C the reading activation's second moment,
    `d_S += C_eps,SS^-1 C_S,rest d_rest`. An inert change stays nearly inert, and a change of zero stays zero.

    Attributes:
        keep: Share of the entries that stay changed.
        ridge: Of C_eps, in units of C's mean diagonal.

    Source: Frantar & Alistarh 2023, arXiv 2301.00774 (SparseGPT), on a change instead of a matrix.
    """

    of_change: ClassVar[bool] = True
    kind: Literal["sparsify"] = "sparsify"
    keep: Annotated[float, Field(gt=0, lt=1)] = 0.5
    ridge: Annotated[float, Field(ge=1e-8, le=1e4)] = 1e-3

    def hidden(self, solved: Solved, entries: Entries, generator: torch.Generator) -> Tensor:
        """The base's matrix with a sparse change."""
        before, change = entries.of(solved.base.checkpoint.weights).double(), solved.change(entries)
        if not change.any():
            return before
        size = before.abs() + before.square().mean().sqrt()  # an entry near zero changes no more than others
        relative = change.abs() / size
        least = relative.flatten().kthvalue(max(1, round((1 - self.keep) * change.numel())))[0]
        moment = second_moment(solved.as_it_stands, entries)
        return before + _made_up_for(change, relative > least, moment, self.ridge)


def _made_up_for(change: Tensor, kept: Tensor, moment: Tensor, ridge: float) -> Tensor:
    """The change with what is not kept given back by what is, `[d_in, d_out]`."""
    eps, eye = ridge * moment.diagonal().mean(), torch.eye(len(moment), dtype=torch.float64)
    columns = kept.T.double()  # [d_out, d_in]
    inner = columns[:, :, None] * moment * columns[:, None, :]
    system = inner + torch.where(columns[:, :, None] > 0, eps, 1.0) * eye
    missing = torch.where(kept, 0.0, change)
    back = torch.linalg.solve(system, columns * (moment @ missing).T)  # [d_out, d_in]
    return torch.where(kept, change + back.T, 0.0)
