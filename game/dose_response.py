"""How detection grows with the strength of the edit, and from which strength on it is reliable."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from game.intervals import LEVEL, MIN_CLUSTERS
from game.leaderboard import Revealed
from game.referee import RoundRecord
from models.seeds import named_seed

DETECTED = 0.5  # detection skill from which an edit counts as detectable
RESAMPLES = 400
TAIL = (1 - LEVEL) / 2


@dataclass(frozen=True)
class Dose:
    """One strength of a family: its rounds, edits and controls, their mean skill, and the isotonic fit."""

    strength: float
    n: int
    skill: float
    fitted: float


@dataclass(frozen=True)
class DoseResponse:
    """Detection skill of one auditor against one dial of a family.

    Attributes:
        family: Kind of the edits.
        dial: Which setting is their strength.
        fixed: Their other settings, where they have any.
        doses: By strength.
        detectable: The *minimum detectable effect*: the strength at which the fit reaches 0.5, interpolated
            between the tested ones; None is above the strongest tested, and the weakest tested is at most it.
        low, high: 95 % interval of that, by resampling base checkpoints, or cases within them where there are
            fewer than 10; None as above.
    """

    family: str
    dial: str
    fixed: tuple[tuple[str, float], ...]
    doses: tuple[Dose, ...]
    detectable: float | None
    low: float | None
    high: float | None


class _Round(NamedTuple):
    strength: float
    skill: float
    base: str


def dose_responses(played: Sequence[tuple[Revealed, RoundRecord]]) -> tuple[DoseResponse, ...]:
    """The curves of one auditor: for each family that was dealt at several strengths, along each dial.

    Args:
        played: Cases, edits and the controls drawn around them, with the auditor's rounds, failures included.
    """
    curves: dict[tuple[str, str, tuple[tuple[str, float], ...]], list[_Round]] = {}
    for case, record in played:
        truth = case.truth
        for dial, strength in truth.strength.items():
            key = truth.matched, dial, _others(truth.strength, dial)
            curves.setdefault(key, []).append(_Round(strength, record.score.detection, case.base))
    return tuple(
        _curve(key, rounds)
        for key, rounds in sorted(curves.items())
        if len({each.strength for each in rounds}) > 1
    )


def _others(strength: Mapping[str, float], dial: str) -> tuple[tuple[str, float], ...]:
    return tuple(sorted((name, value) for name, value in strength.items() if name != dial))


def _curve(key: tuple[str, str, tuple[tuple[str, float], ...]], rounds: Sequence[_Round]) -> DoseResponse:
    ordered = sorted(rounds)
    strengths, places = np.unique([each.strength for each in ordered], return_inverse=True)
    skills = np.array([each.skill for each in ordered])
    sums, counts = _totals(places, skills)
    fit = _fitted(sums, counts)
    found = _reaches(strengths, fit)
    reached = sorted(
        _reached(strengths, places[rows], skills[rows]) for rows in _resampled([r.base for r in ordered])
    )
    low, high = reached[math.floor(TAIL * RESAMPLES)], reached[math.ceil((1 - TAIL) * RESAMPLES) - 1]
    doses = zip(strengths, counts, sums / counts, fit, strict=True)
    return DoseResponse(
        *key,
        tuple(Dose(float(s), int(count), float(mean), float(f)) for s, count, mean, f in doses),
        *(value if math.isfinite(value) else None for value in (found, min(low, found), max(high, found))),
    )


def _resampled(bases: Sequence[str]) -> Iterator[Any]:
    """Numbers of the rounds of each resample: of whole bases, or, if they are few, of rounds within each."""
    generator = np.random.default_rng(named_seed("dose response"))
    clusters = [np.flatnonzero(np.array(bases) == base) for base in sorted(set(bases))]
    for _ in range(RESAMPLES):
        if len(clusters) >= MIN_CLUSTERS:
            drawn = generator.integers(len(clusters), size=len(clusters))
            yield np.concatenate([clusters[number] for number in drawn])
        else:
            yield np.concatenate([generator.choice(cluster, len(cluster)) for cluster in clusters])


def _reached(strengths: Any, places: Any, skills: Any) -> float:
    """Where the fit of some rounds reaches `DETECTED`; a strength that was not drawn is left out."""
    sums, counts = _totals(places, skills)
    there = np.flatnonzero(counts)
    return _reaches(strengths[there], _fitted(sums[there], counts[there]))


def _totals(places: Any, skills: Any) -> tuple[Any, Any]:
    """Sum of the skills at each strength, and how many there are."""
    return np.bincount(places, weights=skills), np.bincount(places)


def _fitted(sums: Any, counts: Any) -> Any:
    """Isotonic fit of the means, each weighted by its rounds."""
    from sklearn.isotonic import isotonic_regression

    return isotonic_regression(sums / counts, sample_weight=counts.astype(np.float64))


def _reaches(strengths: Any, fit: Any) -> float:
    """The strength at which a rising fit reaches `DETECTED`; infinite if it never does."""
    above = np.flatnonzero(fit >= DETECTED)
    if not len(above):
        return math.inf
    first = int(above[0])
    if first == 0:
        return float(strengths[0])
    return float(np.interp(DETECTED, fit[first - 1 : first + 1], strengths[first - 1 : first + 1]))
