"""The difference of two models as a patch: changes of low rank that lead from one to the other."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from game.api import Component, LowRank, Patch, TransformerConfig, component_entries
from game.tools.kit.weights import Weights

MOST_RANK = 32  # of one weight's change in a patch
MOST_NUMBERS = 200_000  # in a patch
FAINT = 1e-4  # singular values below this share of a weight's first are rounding


def patch_between(
    now: Weights, wanted: Weights, components: Iterable[Component], config: TransformerConfig
) -> Patch:
    """What leads some components of one model to another's; ranks that carry most for their size come first.

    Args:
        now: The model that is patched.
        wanted: The model that it should become.
        components: Those that may change.
        config: Of both models.
    """
    owned = component_entries(config)
    names = sorted({part.tensor for component in components for part in owned[component]})
    parts = {name: _decomposed(wanted[name] - now[name]) for name in names}
    steps = [(gain, name, cost) for name, part in parts.items() for gain, cost in part.steps()]
    ranks, left = dict.fromkeys(names, 0), MOST_NUMBERS
    for _, name, cost in sorted(steps, reverse=True):
        if cost <= left:
            ranks[name], left = ranks[name] + 1, left - cost
    return {name: parts[name].cut(rank) for name, rank in ranks.items() if rank}


class _Decomposed(NamedTuple):
    """Singular value decomposition of a weight's difference, head by head; a vector is one row."""

    left: Tensor  # [..., rows, rank]
    sigma: Tensor  # [..., rank]
    right: Tensor  # [..., rank, columns]

    def steps(self) -> Iterator[tuple[float, int]]:
        """For each further rank what it carries for a number, and the numbers that it takes."""
        energy = self.sigma.square().flatten(0, -2).sum(0) if self.sigma.ndim > 1 else self.sigma.square()
        cost = self.left[..., 0].numel() + self.right[..., 0, :].numel()
        for gain in energy[:MOST_RANK].tolist():
            if gain > FAINT**2 * float(energy[0]):
                yield gain / cost, cost

    def cut(self, rank: int) -> LowRank:
        """The best approximation of that rank."""
        left = self.left[..., :rank] * self.sigma[..., None, :rank]
        return LowRank(left.float(), self.right[..., :rank, :].float())


def _decomposed(difference: Tensor) -> _Decomposed:
    matrix = difference.double() if difference.ndim > 1 else difference.double()[None]
    return _Decomposed(*torch.linalg.svd(matrix, full_matrices=False))
