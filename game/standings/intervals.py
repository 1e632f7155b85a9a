"""Intervals: cluster bootstrap for means, Wilson for rates; equal numbers in give equal intervals out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm, t

from models.seeds import named_seed

RESAMPLES = 2_000
MIN_CLUSTERS = 10  # fewer checkpoints say too little about other checkpoints to resample them
LEVEL = 0.95

ACROSS = "95 % intervals resample base checkpoints"
WITHIN = "these checkpoints only: 95 % intervals resample cases within fewer than 10 base checkpoints"

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean, or a rate, with its 95 % interval."""

    mean: float
    low: float
    high: float


def interval_note(clusters: Sequence[str]) -> str:
    """What an interval over these clusters speaks for: other checkpoints too, or these only."""
    return ACROSS if len(set(clusters)) >= MIN_CLUSTERS else WITHIN


def bootstrap_mean(values: Sequence[float], clusters: Sequence[str]) -> Interval:
    """The mean over all values, with the percentile interval of a cluster bootstrap.

    Clusters are resampled whole when there are at least 10. Fewer are kept, and values are resampled within
    each; those that are alone in their cluster are resampled among each other, since one value varies with
    nothing. Resamples of few vary too little, so the interval is widened about the mean: k clusters by
    sqrt(k / (k - 1)) t_{k-1} / z, and n values within k clusters by sqrt(n / (n - k)) t_{n-k} / z. Two series
    over the same cases in the same order see the same resamples, so they are paired. One value has an
    interval of no width.

    Args:
        values: One for each case.
        clusters: For each value, the cluster it belongs to: its base checkpoint.

    Raises:
        ValueError: No values, or another number of clusters.
    """
    if not values or len(values) != len(clusters):
        raise ValueError(
            f"bootstrap: got {len(values)} values and {len(clusters)} clusters; wanted one cluster a value"
        )
    generator = np.random.default_rng(named_seed("bootstrap"))
    grouped = _grouped(values, clusters)
    across = len(grouped) >= MIN_CLUSTERS
    means = _across(grouped, generator) if across else _within(grouped, generator)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    mean = math.fsum(values) / len(values)
    wider = _widening(len(grouped), 1) if across else _widening(len(values), len(_strata(grouped)))
    return Interval(
        mean, min(mean + wider * (float(low) - mean), mean), max(mean + wider * (float(high) - mean), mean)
    )


def wilson(successes: int, trials: int) -> Interval:
    """A rate with its Wilson score interval (Wilson 1927).

    Raises:
        ValueError: No trials, or more successes than trials.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"rate: got {successes} of {trials}; wanted a part of at least one trial")
    interval = binomtest(successes, trials).proportion_ci(confidence_level=LEVEL, method="wilson")
    return Interval(successes / trials, float(interval.low), float(interval.high))


def _widening(resampled: int, fixed: int) -> float:
    """How much wider than its resamples the interval of a mean is, so that it covers what it says.

    The bootstrap's variance lacks a factor n / (n - k), and its quantiles are those of a normal law where a t
    law is due; with fewer than 3 degrees of freedom that of 3 is taken.

    Args:
        resampled: n: clusters, or values within them.
        fixed: k: one, or the strata in which values were resampled.

    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapters 5 and 12.
    """
    freedom = max(3, resampled - fixed)
    end = (1 + LEVEL) / 2
    return float(math.sqrt(1 + fixed / freedom) * t.ppf(end, freedom) / norm.ppf(end))


def _grouped(values: Sequence[float], clusters: Sequence[str]) -> list[Values]:
    """The values of each cluster, clusters in order of their names."""
    members: dict[str, list[float]] = {name: [] for name in sorted(set(clusters))}
    for value, name in zip(values, clusters, strict=True):
        members[name].append(value)
    return [np.array(each) for each in members.values()]


def _across(grouped: list[Values], generator: np.random.Generator) -> Values:
    """Means of resamples that draw whole clusters, `[resample]`."""
    sums = np.array([each.sum() for each in grouped])
    sizes = np.array([len(each) for each in grouped])
    drawn = generator.integers(len(grouped), size=(RESAMPLES, len(grouped)))
    means: Values = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return means


def _within(grouped: list[Values], generator: np.random.Generator) -> Values:
    """Means of resamples that keep every cluster's size, `[resample]`."""
    strata = _strata(grouped)
    total = np.zeros(RESAMPLES)
    for stratum in strata:
        drawn = generator.integers(len(stratum), size=(RESAMPLES, len(stratum)))
        total += stratum[drawn].sum(axis=1)
    return total / sum(len(stratum) for stratum in strata)


def _strata(grouped: list[Values]) -> list[Values]:
    """The clusters that vary, and those of one value together."""
    alone = [each for each in grouped if len(each) == 1]
    return [each for each in grouped if len(each) > 1] + ([np.concatenate(alone)] if alone else [])
