"""How detection grows with the strength of the edit, and from which strength on it is reliable."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

import numpy as np

from game.api import League
from game.referee import RoundRecord
from game.standings.intervals import LEVEL, MIN_CLUSTERS
from game.standings.leaderboard import Revealed
from models.seeds import named_seed

DETECTED = 0.5  # detection skill from which an edit counts as detectable
RESAMPLES = 400
TAIL = (1 - LEVEL) / 2
_Key = tuple[str, str, tuple[tuple[str, float], ...], League]  # family, dial, fixed, league


@dataclass(frozen=True)
class Dose:
    """One strength of a family: its rounds, edits and controls, their mean skill, and the isotonic fit."""

    strength: float
    n: int
    skill: float
    fitted: float


@dataclass(frozen=True)
class DoseResponse:
    """Detection skill of one auditor against one dial of a family, in one league.

    What an auditor may see decides what it finds: strengths dealt in different leagues are not compared.

    Attributes:
        family: Kind of the edits.
        dial: Which setting is their strength.
        fixed: Their other settings, where they have any.
        league: In which they were dealt.
        doses: From the weakest to the strongest; a dial runs backwards where the edits, as measured,
            write less the further it is turned up.
        detectable: The *minimum detectable effect*: the setting at which the fit reaches 0.5, interpolated
            between the tested ones, in logarithms where these span more than tenfold; the weakest tested at
            least, and None above the strongest tested.
        low, high: 95 % interval of that, from its weaker to its stronger end, by resampling base checkpoints,
            or cases within them where there are fewer than 10; None as above.
    """

    family: str
    dial: str
    fixed: tuple[tuple[str, float], ...]
    league: League
    doses: tuple[Dose, ...]
    detectable: float | None
    low: float | None
    high: float | None

    @property
    def beyond(self) -> Literal["", "above", "at or below"]:
        """Where the detectable effect lies beyond the strengths tested, its interval too if it is below."""
        if self.detectable is None:
            return "above"
        ends, weakest = (self.detectable, self.low, self.high), self.doses[0].strength
        below = all(end is not None and math.isclose(end, weakest) for end in ends)
        return "at or below" if below else ""


class _Round(NamedTuple):
    strength: float
    skill: float
    base: str
    size: float | None  # norm of what was written, of an edit


@dataclass(frozen=True)
class _Scale:
    """The axis along which a dial grows stronger."""

    falling: bool
    logarithmic: bool

    @classmethod
    def of(cls, rounds: Sequence[_Round]) -> Self:
        sized = [(each.strength, each.size) for each in rounds if each.size is not None]
        strengths = [each.strength for each in rounds]
        weakest, strongest = min(strengths), max(strengths)
        return cls(_covary(sized) < 0, weakest > 0 and strongest > 10 * weakest)

    def place(self, strength: float) -> float:
        """Where a setting is on the axis."""
        place = math.log(strength) if self.logarithmic else strength
        return -place if self.falling else place

    def setting(self, place: float) -> float | None:
        """The setting at a place; None beyond every setting."""
        if not math.isfinite(place):
            return None
        place = -place if self.falling else place
        return math.exp(place) if self.logarithmic else place


def dose_responses(played: Sequence[tuple[Revealed, RoundRecord]]) -> tuple[DoseResponse, ...]:
    """The curves of one auditor: for each family that was dealt at several strengths, along each dial.

    Args:
        played: Cases, edits and the controls drawn around them, with the auditor's rounds, failures included.
    """
    curves: dict[_Key, list[_Round]] = {}
    for case, record in played:
        truth = case.truth
        size = truth.record.get("measured", {}).get("rel_norm") if truth.edited else None
        for dial, strength in truth.strength.items():
            key = truth.matched, dial, _others(truth.strength, dial), case.brief.league
            found = _Round(strength, record.score.detection, case.base, size)
            curves.setdefault(key, []).append(found)
    return tuple(
        _curve(key, curves[key]) for key in sorted(curves) if len({each.strength for each in curves[key]}) > 1
    )


def _others(strength: Mapping[str, float], dial: str) -> tuple[tuple[str, float], ...]:
    return tuple(sorted((name, value) for name, value in strength.items() if name != dial))


def _covary(pairs: Sequence[tuple[float, float]]) -> float:
    """Covariance, but for its scale; 0 of no pairs."""
    mean = math.fsum(first for first, _ in pairs) / max(len(pairs), 1)
    return math.fsum((first - mean) * second for first, second in pairs)


def _curve(key: _Key, rounds: Sequence[_Round]) -> DoseResponse:
    scale = _Scale.of(rounds)
    ordered = sorted(rounds, key=lambda each: (scale.place(each.strength), each.base, each.skill))
    axis, numbers = np.unique([scale.place(each.strength) for each in ordered], return_inverse=True)
    strengths = list(dict.fromkeys(each.strength for each in ordered))
    skills = np.array([each.skill for each in ordered])
    sums, counts = _totals(numbers, skills)
    fit = _fitted(sums, counts)
    found = _reaches(axis, fit)
    reached = sorted(
        _reached(axis, numbers[rows], skills[rows]) for rows in _resampled([each.base for each in ordered])
    )
    low, high = reached[math.floor(TAIL * RESAMPLES)], reached[math.ceil((1 - TAIL) * RESAMPLES) - 1]
    doses = zip(strengths, counts, sums / counts, fit, strict=True)
    return DoseResponse(
        *key,
        tuple(Dose(s, int(count), float(mean), float(fitted)) for s, count, mean, fitted in doses),
        *map(scale.setting, (found, min(low, found), max(high, found))),
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


def _reached(axis: Any, numbers: Any, skills: Any) -> float:
    """Where the fit of some rounds reaches `DETECTED`; a strength that was not drawn is left out."""
    sums, counts = _totals(numbers, skills)
    there = np.flatnonzero(counts)
    return _reaches(axis[there], _fitted(sums[there], counts[there]))


def _totals(numbers: Any, skills: Any) -> tuple[Any, Any]:
    """Sum of the skills at each strength, and how many there are."""
    return np.bincount(numbers, weights=skills), np.bincount(numbers)


def _fitted(sums: Any, counts: Any) -> Any:
    """Isotonic fit of the means, each weighted by its rounds."""
    from sklearn.isotonic import isotonic_regression

    return isotonic_regression(sums / counts, sample_weight=counts.astype(np.float64))


def _reaches(axis: Any, fit: Any) -> float:
    """The place at which a rising fit reaches `DETECTED`; infinite if it never does."""
    above = np.flatnonzero(fit >= DETECTED)
    if not len(above):
        return math.inf
    first = int(above[0])
    if first == 0:
        return float(axis[0])
    return float(np.interp(DETECTED, fit[first - 1 : first + 1], axis[first - 1 : first + 1]))
