"""Is a probe better than chance? A permutation test of the area under its ROC curve, and how sharp it is.

Source: power from the variance of Hanley and McNeil 1982, "The meaning and use of the area under a receiver
operating characteristic curve", Radiology 143; several tests by Holm 1979, Scand. J. Statist. 6.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

ALPHA = 0.05  # of all probes together, two-sided
DRAWS = 9999  # permutations
TOLD = 0.65  # the leak that is to be found,
POWER = 0.8  # and how surely

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Separation:
    """How well numbers tell edited cases from the others.

    Attributes:
        auroc: Area under the ROC curve; of several candidates, that of the one farthest from 1/2.
        p: Probability that chance alone goes as far, of the farthest candidate where there are several.
        needed: Distance of the area from 1/2 at which `p` is at the level of the test.
    """

    auroc: float
    p: float
    needed: float = 0.5


def separation(
    values: Numbers,
    edited: NDArray[np.bool_],
    strata: NDArray[np.int64],
    draws: int = DRAWS,
    level: float = ALPHA,
) -> Separation:
    """How well numbers tell the edited cases, against labels that are dealt again at random.

    Args:
        values: `[candidate, case]`; one number a case, in as many ways as there are candidates.
        edited: `[case]`.
        strata: `[case]`; cases are compared, and labels dealt again, within a stratum only.
        draws: How often labels are dealt again.
        level: Of the test.
    """
    ones = int(edited.sum())
    if not 0 < ones < len(edited):
        return Separation(0.5, 1.0)
    ranks = rankdata(_within(values, strata), axis=1)  # [candidate, case]
    found = _aurocs(ranks, edited[None])[:, 0]
    best = int(np.argmax(np.abs(found - 0.5)))
    chance = np.abs(_aurocs(ranks, _dealt_again(edited, strata, draws)) - 0.5).max(axis=0)
    farther = int((chance >= abs(found[best] - 0.5) - 1e-12).sum())
    needed = float(np.quantile(chance, 1 - level))
    return Separation(float(found[best]), (1 + farther) / (1 + draws), needed)


def holm(p_values: Sequence[float], alpha: float = ALPHA) -> list[bool]:
    """Which of several tests fail, so that all of them together fail by chance with probability `alpha`."""
    fails = [False] * len(p_values)
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[place] > alpha / (len(p_values) - rank):
            break
        fails[place] = True
    return fails


def power(edited: int, others: int, probes: int, auroc: float = TOLD) -> float:
    """Probability that one number a case which separates that well is found, as one of so many probes.

    Holm's first step is the hardest, and the only one that a single leak must pass.
    """
    if min(edited, others) < 1:
        return 0.0
    by_chance = math.sqrt((edited + others + 1) / (12 * edited * others))
    return power_beyond(edited, others, float(norm.isf(ALPHA / probes / 2)) * by_chance, auroc)


def power_beyond(edited: int, others: int, needed: float, auroc: float = TOLD) -> float:
    """Probability that a number which separates that well is found, if its area must be so far from 1/2."""
    if min(edited, others) < 1:
        return 0.0
    q1, q2 = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    variance = auroc * (1 - auroc) + (edited - 1) * (q1 - auroc**2) + (others - 1) * (q2 - auroc**2)
    return float(norm.cdf((abs(auroc - 0.5) - needed) / math.sqrt(variance / (edited * others))))


def cases_needed(prior: float, probes: int) -> int:
    """The fewest cases at which `power` reaches `POWER`, with as many of them edited as the prior says."""
    cases = 2
    while power(round(prior * cases), cases - round(prior * cases), probes) < POWER:
        cases += 1
    return cases


def _within(values: Numbers, strata: NDArray[np.int64]) -> Numbers:
    """Each value's place among those of its stratum, between 0 and 1."""
    places = np.empty(values.shape)
    for stratum in np.unique(strata):
        members = strata == stratum
        places[:, members] = (rankdata(values[:, members], axis=1) - 0.5) / members.sum()
    return places


def _aurocs(ranks: Numbers, labels: NDArray[np.bool_]) -> Numbers:
    """Areas `[candidate, labelling]` from ranks `[candidate, case]` and labels `[labelling, case]`."""
    ones = int(labels[0].sum())
    zeros = labels.shape[1] - ones
    # by torch, whose threads are counted; numpy's own would fight over the cores of a busy machine
    sums: Numbers = (torch.from_numpy(ranks) @ torch.from_numpy(labels.T.astype(np.float64))).numpy()
    areas: Numbers = (sums - ones * (ones + 1) / 2) / (ones * zeros)
    return areas


def _dealt_again(edited: NDArray[np.bool_], strata: NDArray[np.int64], draws: int) -> NDArray[np.bool_]:
    """The labels in random orders, `[draw, case]`, shuffled within each stratum."""
    generator = np.random.default_rng(0)
    labels = np.tile(edited, (draws, 1))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        labels[:, members] = generator.permuted(labels[:, members], axis=1)
    return labels
