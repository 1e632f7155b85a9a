"""Intervals: cluster bootstrap for means, Wilson for rates; equal numbers in give equal intervals out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

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
    nothing. Two series over the same cases in the same order see the same resamples, so they are paired. One
    value has an interval of no width.

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
    return Interval(mean, min(float(low), mean), max(float(high), mean))


def wilson(successes: int, trials: int) -> Interval:
    """A rate with its Wilson score interval (Wilson 1927).

    Raises:
        ValueError: No trials, or more successes than trials.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"rate: got {successes} of {trials}; wanted a part of at least one trial")
    interval = binomtest(successes, trials).proportion_ci(confidence_level=LEVEL, method="wilson")
    return Interval(successes / trials, float(interval.low), float(interval.high))


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
    alone = [each for each in grouped if len(each) == 1]
    strata = [each for each in grouped if len(each) > 1] + ([np.concatenate(alone)] if alone else [])
    total = np.zeros(RESAMPLES)
    for stratum in strata:
        drawn = generator.integers(len(stratum), size=(RESAMPLES, len(stratum)))
        total += stratum[drawn].sum(axis=1)
    return total / sum(len(stratum) for stratum in strata)
