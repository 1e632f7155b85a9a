"""What chance alone would show: halves, bands of shuffles, and findings that survive many tests."""

from collections.abc import Callable

import torch
from torch import Tensor

from game.api import RequestError

RATE = 0.05  # share of false findings that a scan tolerates


def generator(seed: int) -> torch.Generator:
    """A source of randomness of its own."""
    return torch.Generator().manual_seed(seed)


def halves(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Rows in two random halves, each in ascending order: one to form an idea on, the other to test it."""
    order = torch.randperm(n, generator=generator(seed))
    return order[: n // 2].sort().values, order[n // 2 :].sort().values


def different(numbers: Tensor) -> Tensor:
    """Which whole numbers there are, ascending, each once."""
    return torch.tensor(sorted(set(numbers.tolist())), dtype=torch.int64)


def shuffled(labels: Tensor, times: int, seed: int) -> Tensor:
    """The labels in random orders, `[shuffle, *labels.shape]`."""
    source = generator(seed)
    return torch.stack([labels[torch.randperm(len(labels), generator=source)] for _ in range(times)])


def band(statistic: Callable[[Tensor], Tensor], labels: Tensor, times: int, seed: int) -> Tensor:
    """A statistic of shuffled labels, `[shuffle, *its shape]`."""
    return torch.stack([statistic(each) for each in shuffled(labels, times, seed)])


def p_values(found: Tensor, null: Tensor) -> Tensor:
    """Share of the null's first axis that is at least as large, the finding itself counted (never 0)."""
    return (1 + (null >= found).sum(0)) / (1 + len(null))


def discoveries(p: Tensor, rate: float = RATE) -> Tensor:
    """Which p-values survive Benjamini and Hochberg's rule at that rate; the same shape.

    Source: Benjamini and Hochberg 1995, in scipy.
    """
    from scipy.stats import false_discovery_control

    if not p.numel():
        return torch.zeros_like(p, dtype=torch.bool)
    adjusted = torch.from_numpy(false_discovery_control(p.double().flatten().numpy()))
    return (adjusted <= rate).view(p.shape)


def checked_labels(labels: Tensor, rows: int, least: int, name: str = "labels") -> Tensor:
    """The labels as booleans, once there is one for each row and enough of both kinds.

    Raises:
        RequestError: Wrong shape, a value that is neither 0 nor 1, or too few of one kind.
    """
    if labels.shape != (rows,):
        raise RequestError(f"{name}: got shape {list(labels.shape)}; wanted one for each of {rows} samples")
    if not bool(((labels == 0) | (labels == 1)).all()):
        raise RequestError(f"{name}: got a value that is neither 0 nor 1; allowed: two classes")
    fewest = int(min((labels == 0).sum(), (labels == 1).sum()))
    if fewest < least:
        raise RequestError(f"{name}: got {fewest} samples of one class; wanted at least {least} of each")
    return labels.bool()
