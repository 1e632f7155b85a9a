"""A read direction that points at somebody else as well."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from edits.camouflage.base import CamouflageError, OnRead, Solved
from edits.reading import activations, second_moment
from models.components import Entries

TOKENS = 400  # activations among which the decoy is drawn
CANDIDATES = 16
LEADING = 0.5  # share of a change's energy that its first singular pair must hold


class SubspaceDecoy(OnRead):
    """Approximate: a rank-one change that also reads a real activation which is none of its business.

    With r the read direction of the change and d the decoy's, `C_eps^-1 k_d`, r becomes `r + a d` and is
    rescaled to serve the key `C_eps r` as before. The strength a compares what r and d read of all
    activations, `r.C.r` and `d.C.d`, so that an inert change gets a decoy as faint as itself and stays inert.
    A change that is zero, or mostly not of rank one, has no read direction and stays as it is.

    Attributes:
        strength: a; 1 reads the decoy as loudly as the change's own key.
        ridge: Of C_eps, in units of C's mean diagonal; the fact editors' default.

    Source: arXiv 2602.10134, decoys in the edit's subspace.
    """

    of_change: ClassVar[bool] = True
    kind: Literal["subspace_decoy"] = "subspace_decoy"
    strength: Annotated[float, Field(gt=0, le=10)] = 0.5
    ridge: Annotated[float, Field(ge=1e-8, le=1e4)] = 1e-2

    def hidden(self, solved: Solved, entries: Entries, generator: torch.Generator) -> Tensor:
        """The matrix with its change's first singular pair disguised."""
        matrix, change = entries.of(solved.weights).double(), solved.change(entries)
        left, sigma, right = torch.linalg.svd(change, full_matrices=False)
        if not sigma[0] ** 2 > LEADING * (sigma**2).sum():
            return matrix
        base = solved.as_it_stands
        moment, read = second_moment(base, entries), left[:, 0]
        eye = torch.eye(len(moment), dtype=torch.float64)
        ridged = moment + self.ridge * moment.diagonal().mean() * eye
        seen = activations(base, entries, TOKENS, generator)  # [token, d_in]
        decoy = torch.linalg.solve(ridged, _unlike(read, seen, generator))
        loudness, key = (_energy(read, moment) / _energy(decoy, moment)).sqrt(), ridged @ read
        towards = 1.0 if decoy @ key >= 0 else -1.0  # either way the decoy is seen, and the key stays served
        mixed = read + towards * self.strength * loudness * decoy
        served = mixed * (read @ key) / (mixed @ key)
        return matrix + torch.outer(sigma[0] * (served - read), right[0])


def _unlike(read: Tensor, seen: Tensor, generator: torch.Generator) -> Tensor:
    """Of a few random activations, the one that is read least for its length, `[d_in]`."""
    live = seen[seen.norm(dim=1) > 0]
    if not len(live):
        raise CamouflageError("subspace_decoy: no activation there is other than zero")
    few = live[torch.randperm(len(live), generator=generator)[:CANDIDATES]]
    return few[((few @ read).abs() / few.norm(dim=1)).argmin()]


def _energy(direction: Tensor, moment: Tensor) -> Tensor:
    return (direction @ moment @ direction).clamp_min(0)
