"""Which weights to keep and how sharp they may be, settled on cases that they were not fitted to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.model_selection import GroupKFold

from game.auditing.belief import Belief
from game.fitting.logit import (
    Array,
    Said,
    Scales,
    Table,
    belief_of,
    fitted,
    losses,
    said,
    where_losses,
)
from game.fitting.readings import Reading

STRENGTHS = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003)  # of the penalty on squared weights, strong to weak
FOLDS = 5
SHARPEST = 3.0  # what a penalty held back, cases unseen may give back, but not more
LEAST_BASES = 3  # below that, no base can be left out


class Tested(NamedTuple):
    """What weights said of cases whose base they had not seen, `[case]` each.

    Attributes:
        raw: Log-odds of *edited* beyond the prior's.
        loss: Nats of surprise at label and place, and
        where: at the place alone.
        hit: 1 where the likeliest component was written to.
    """

    raw: Array
    loss: Array
    where: Array
    hit: Array

    @classmethod
    def of(cls, table: Table, found: Said) -> "Tested":
        """What weights said of a table that they were not fitted to."""
        where = where_losses(table, found.shares)
        return cls(found.raw, losses(table, found), where, _hits(table, found.shares))

    def at(self, rows: Sequence[int]) -> "Tested":
        """The same of some cases."""
        return Tested(*(part[rows] for part in self))


class Pool:
    """Readings that weights may be fitted to, and what such weights say of those that were left out."""

    def __init__(self, readings: Sequence[Reading]) -> None:
        self.readings = readings
        self._tested: dict[float, Tested] = {}

    @cached_property
    def folds(self) -> Array:
        """Which fold each reading is in, `[reading]`; no base checkpoint is in two."""
        return folds_of(self.readings)

    def tested(self, strength: float) -> Tested:
        """Of every reading, by weights that were fitted to the other folds."""
        if strength not in self._tested:
            parts = [np.full(len(self.readings), np.nan) for _ in Tested._fields]
            for _scales, train, test, rows in self._splits:
                of_fold = Tested.of(test, said(test, fitted(train, strength)))
                for part, values in zip(parts, of_fold, strict=True):
                    part[rows] = values
            self._tested[strength] = Tested(*parts)
        return self._tested[strength]

    def belief(self, strength: float, sharpness: float, shift: float) -> Belief:
        """Fitted to all of them."""
        scales = Scales.of(self.readings)
        return belief_of(scales, fitted(Table.of(self.readings, scales), strength), sharpness, shift)

    @cached_property
    def _splits(self) -> list[tuple[Scales, Table, Table, Array]]:
        return list(self._split())

    def _split(self) -> Iterator[tuple[Scales, Table, Table, Array]]:
        for fold in np.unique(self.folds):
            out = self.folds == fold
            kept = [each for each, left in zip(self.readings, out, strict=True) if not left]
            scales = Scales.of(kept)
            left_out = [each for each, left in zip(self.readings, out, strict=True) if left]
            yield scales, Table.of(kept, scales), Table.of(left_out, scales), out


@dataclass(frozen=True)
class Candidate:
    """Weights fitted to a pool under a penalty, as they fare on some of the pool's readings.

    Attributes:
        pool: What they are fitted to.
        strength: Of the penalty.
        tested: On the readings in question.
    """

    pool: Pool
    strength: float
    tested: Tested


def candidates(own: Sequence[Reading], pools: Sequence[Pool]) -> list[Candidate]:
    """Every pool under every penalty, the simplest first: those of most cases and strongest penalty."""
    found = []
    for pool in pools:
        places = {id(reading): row for row, reading in enumerate(pool.readings)}
        rows = [places[id(reading)] for reading in own]
        for strength in STRENGTHS:
            found.append(Candidate(pool, strength, pool.tested(strength).at(rows)))
    return found


def simplest(of: Sequence[Candidate]) -> Candidate:
    """The first that is worse than the best by no more than one standard error of their difference.

    Source: Breiman, Friedman, Olshen & Stone 1984, "Classification and regression trees" (the one standard
    error rule).
    """
    best = min(of, key=lambda each: each.tested.loss.mean())

    def close(each: Candidate) -> bool:
        worse = each.tested.loss - best.tested.loss
        return bool(worse.mean() <= worse.std() / np.sqrt(len(worse)))

    return next(each for each in of if close(each))


class Calibration(NamedTuple):
    """By what log-odds beyond the prior's are multiplied, and what is added."""

    sharpness: float
    shift: float

    @classmethod
    def of(cls, raw: Array, odds: Array, edited: Array) -> "Calibration":
        """A logistic regression of the labels on log-odds from weights that did not see them.

        Args:
            raw: Log-odds beyond the prior's, from weights that did not see the case, `[case]`.
            odds: The prior's, `[case]`.
            edited: Labels, `[case]`.
        """
        if len(np.unique(edited)) < 2:
            return cls(1.0, 0.0)
        sign = 2 * edited - 1

        def loss(line: Array) -> float:
            wrong = np.logaddexp(0, -sign * (odds + line[0] * raw + line[1]))
            return float((wrong.sum() + line[0] ** 2 / 2) / len(raw))

        slope, shift = minimize(loss, np.array([1.0, 0.0])).x
        sharpness = float(np.clip(slope, 0.0, SHARPEST))
        return cls(sharpness, float(shift) if 0 < slope < SHARPEST else 0.0)

    def apply(self, raw: Array, odds: Array) -> Array:
        """P(edited), `[case]`."""
        return expit(odds + self.sharpness * raw + self.shift)


def cross_calibrated(raw: Array, odds: Array, edited: Array, folds: Array) -> Array:
    """P(edited) by a calibration that did not see the case's fold, `[case]`."""
    found = np.empty_like(raw)
    for fold in np.unique(folds):
        out = folds == fold
        found[out] = Calibration.of(raw[~out], odds[~out], edited[~out]).apply(raw[out], odds[out])
    return found


def folds_of(readings: Sequence[Reading]) -> Array:
    """Which fold each reading is in, `[reading]`; no base checkpoint is in two."""
    bases = [each.base for each in readings]
    folds = np.zeros(len(readings), dtype=int)
    split = GroupKFold(min(FOLDS, len(set(bases)))).split(bases, groups=bases)
    for number, (_, out) in enumerate(split):
        folds[out] = number
    return folds


def _hits(table: Table, shares: Array) -> Array:
    """1 for each case whose likeliest component was written to."""
    ends = [*table.starts[1:], len(shares)]
    rows = [start + int(shares[start:end].argmax()) for start, end in zip(table.starts, ends, strict=True)]
    return (table.target[rows] > 0).astype(float)
