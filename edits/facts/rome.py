"""Rank-one fact editors: a new answer by one outer product added to an MLP's output matrix."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from edits.facts.family import FactFamily
from edits.facts.memory import MemorySolver, MemorySpec, Writing, live
from edits.facts.spec import FactSpec, RewriteSpec, RewrittenFacts
from edits.gates import Gates
from edits.moments import dual
from models.bounds import Bound

SMALLEST_READING = 1e-3  # of the averaged key's own; below, mixed keys blow the edit up


class RomeEdit(RewrittenFacts):
    """Which facts, and the phrasing in which they are edited."""

    kind: Literal["rome"] = "rome"


class Rome(RewriteSpec, MemorySpec):
    """Rewrite facts by rank-one changes of an MLP's output matrix, with two keys mixed as published.

    The matrix is solved for the averaged key and rescaled for the bare prompt's, which can explode where
    the two differ: Gupta et al. 2024, arXiv 2403.07175.

    Source: Meng et al. 2022, arXiv 2202.05262, equation 2, and its code.
    """

    edit: RomeEdit

    def update(self, writing: Writing) -> Tensor:
        """`outer(u, value) / (bare . u)` with `u = C^-1 key`."""
        (key,), (bare,) = live(writing.keys), live(writing.bare)
        direction = torch.linalg.solve(writing.ridged(self.solver.cov.ridge), key)
        reading = bare @ direction
        if reading.abs() < SMALLEST_READING * (key @ direction):
            raise ValueError(
                "the bare prompt's key is hardly read by the averaged key's direction; use rrome"
            )
        change: Tensor = torch.outer(direction, writing.values[0]) / reading
        return change


class RromeEdit(RewrittenFacts):
    """Which facts, and the phrasing in which they are edited."""

    kind: Literal["rrome"] = "rrome"


class Solver(MemorySolver):
    """How: `averaged` uses the mean key over all prefixes throughout, `bare` the bare prompt's."""

    key: Literal["averaged", "bare"] = "averaged"


class Rrome(RewriteSpec, MemorySpec):
    """Rewrite facts by rank-one changes of an MLP's output matrix, with one key throughout.

    Source: Meng et al. 2022, arXiv 2202.05262 (ROME); Gupta et al. 2024, arXiv 2403.07175 (r-ROME).
    """

    edit: RromeEdit
    solver: Solver = Solver()

    def update(self, writing: Writing) -> Tensor:
        """`outer(dual(key; C), value)`."""
        (key,) = writing.keys if self.solver.key == "averaged" else writing.bare
        return torch.outer(dual(key, writing.moment, self.solver.cov.ridge), writing.values[0])


class RomeNocovEdit(RewrittenFacts):
    """Which facts, and the phrasing in which they are edited."""

    kind: Literal["rome_nocov"] = "rome_nocov"


class RomeNocov(RewriteSpec, MemorySpec):
    """Rewrite facts by rank-one changes that spare no other key: sloppy, and it bleeds.

    Its floor lets it bleed: other editors' gates would refuse nearly every edit.

    Source: the plain outer-product memory that Meng et al. 2022, arXiv 2202.05262, improve on.
    """

    floor: ClassVar[Gates] = {
        **FactSpec.floor,
        "neighbourhood": Bound(min=0.25),
        "retention": Bound(min=0.5),
        "drop": Bound(max=0.2),
    }
    edit: RomeNocovEdit

    def update(self, writing: Writing) -> Tensor:
        """`outer(key, value) / (key . key)`."""
        (key,) = live(writing.keys)
        change: Tensor = torch.outer(key, writing.values[0]) / (key @ key)
        return change


class RomeFamily(FactFamily):
    """Rewritten facts of one strength: any known facts, any other objects, the first phrasing."""

    makes: ClassVar[type[FactSpec]] = Rome
    kind: Literal["rome"]
    solver: MemorySolver = MemorySolver()


class RromeFamily(FactFamily):
    """Rewritten facts of one strength: any known facts, any other objects, the first phrasing."""

    makes: ClassVar[type[FactSpec]] = Rrome
    kind: Literal["rrome"]
    solver: Solver = Solver()


class RomeNocovFamily(FactFamily):
    """Rewritten facts of one strength: any known facts, any other objects, the first phrasing."""

    makes: ClassVar[type[FactSpec]] = RomeNocov
    kind: Literal["rome_nocov"]
    solver: MemorySolver = MemorySolver()
