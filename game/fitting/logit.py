"""The multinomial logit over *not edited* and *edited, here*: its likelihood, its gradient, its weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from game.auditing.belief import FAR, TAIL, Belief, Weight
from game.fitting.readings import Reading

Array = Any  # of numpy, whose own types say no shapes
TERMS = ("weight", "tail", "given")  # of each number, in the order of the columns
DIGITS = 4  # significant ones of a scale
PLACES = 3  # decimal ones of log-odds, of which a thousandth says nothing
_LEAST_SCALE = 1e-6


@dataclass(frozen=True)
class Scales:
    """What numbers are measured in: mean and standard deviation of each over some readings.

    Attributes:
        places: Of each number of a component.
        whole: Of each number of the whole model.
    """

    places: dict[str, tuple[float, float]]
    whole: dict[str, tuple[float, float]]

    @classmethod
    def of(cls, readings: Sequence[Reading]) -> "Scales":
        """Of all numbers that were read of components with any prior."""
        places: dict[str, list[float]] = {}
        whole: dict[str, list[float]] = {}
        for reading in readings:
            for component, numbers in reading.evidence.places.items():
                if reading.places[component] > 0:
                    for name, value in numbers.items():
                        places.setdefault(name, []).append(value)
            for name, value in reading.evidence.whole.items():
                whole.setdefault(name, []).append(value)
        return cls(_scales(places), _scales(whole))

    @property
    def columns(self) -> int:
        """Weights in all, without the intercept."""
        return len(TERMS) * (len(self.places) + len(self.whole))


class Table(NamedTuple):
    """Readings as arrays; a row is a component of a case that may have been written to.

    Attributes:
        places: Terms of the numbers of each row, `[row, term]`.
        whole: Terms of the numbers of each case, `[case, term]`.
        prior: Log of each row's share of where, before looking, `[row]`.
        starts: First row of each case, `[case]`.
        odds: Log-odds of *edited* before looking, `[case]`.
        edited: Labels, `[case]`.
        target: Each row's share of what was written to, `[row]`; 0 in controls.
    """

    places: Array
    whole: Array
    prior: Array
    starts: Array
    odds: Array
    edited: Array
    target: Array

    @classmethod
    def of(cls, readings: Sequence[Reading], scales: Scales) -> "Table":
        """Of some readings, with numbers in those scales."""
        rows: list[tuple[Array, float, float]] = []
        starts = []
        for reading in readings:
            starts.append(len(rows))
            total = sum(reading.places.values())
            for component, p in reading.places.items():
                if p > 0:
                    terms = _terms(reading.evidence.places.get(component, {}), scales.places)
                    hit = component in reading.written
                    rows.append((terms, np.log(p / total), hit / max(1, len(reading.written))))
        return cls(
            places=np.array([terms for terms, _, _ in rows]).reshape(len(rows), -1),
            whole=np.array([_terms(each.evidence.whole, scales.whole) for each in readings]),
            prior=np.array([prior for _, prior, _ in rows]),
            starts=np.array(starts),
            odds=np.array([np.log(each.prior / (1 - each.prior)) for each in readings]),
            edited=np.array([float(each.edited) for each in readings]),
            target=np.array([target for _, _, target in rows]),
        )

    @property
    def cases(self) -> Array:
        """The case of each row, `[row]`."""
        return np.repeat(np.arange(len(self.starts)), np.diff([*self.starts, len(self.prior)]))


class Said(NamedTuple):
    """What weights say of readings.

    Attributes:
        raw: Log-odds of *edited* beyond the prior's, `[case]`.
        shares: P(here | edited), `[row]`.
    """

    raw: Array
    shares: Array


def said(table: Table, weights: Array) -> Said:
    """What weights say: the intercept first, then those of places, then those of the whole."""
    of_places, of_whole = np.split(weights[1:], [table.places.shape[1]])
    logs = table.prior + table.places @ of_places
    most = np.maximum.reduceat(logs, table.starts)
    shares = np.exp(logs - most[table.cases])
    total = np.add.reduceat(shares, table.starts)
    raw = most + np.log(total) + weights[0] + table.whole @ of_whole
    return Said(raw, shares / total[table.cases])


def losses(table: Table, found: Said) -> Array:
    """Nats of surprise at the answer of each case, label and place together, `[case]`."""
    odds = table.odds + found.raw
    label = np.logaddexp(0, np.where(table.edited > 0, -odds, odds))
    return label + where_losses(table, found.shares)


def where_losses(table: Table, shares: Array) -> Array:
    """Nats of surprise at where, `[case]`; 0 for controls."""
    return -np.add.reduceat(table.target * np.log(np.maximum(shares, 1e-300)), table.starts)


def fitted(table: Table, strength: float) -> Array:
    """The weights of least mean loss plus `strength / 2` times their square; the intercept goes free."""
    start = np.zeros(1 + table.places.shape[1] + table.whole.shape[1])

    def objective(weights: Array) -> tuple[float, Array]:
        found = said(table, weights)
        penalised = np.concatenate([[0.0], weights[1:]])
        loss = losses(table, found).mean() + strength / 2 * (penalised**2).sum()
        return loss, gradient(table, found) + strength * penalised

    found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 500, "gtol": 1e-6})
    return found.x


def gradient(table: Table, found: Said) -> Array:
    """Of the mean loss by each weight."""
    missed = expit(table.odds + found.raw) - table.edited
    by_place = (missed + table.edited)[table.cases] * found.shares - table.target
    gradient = [[missed.sum()], table.places.T @ by_place, table.whole.T @ missed]
    return np.concatenate(gradient) / len(table.edited)


def belief_of(scales: Scales, weights: Array, sharpness: float, shift: float) -> Belief:
    """The belief of those weights, in rounded numbers; what is worth nothing is left out."""
    of_places, of_whole = np.split(weights[1:], [len(TERMS) * len(scales.places)])
    return Belief(
        round(float(weights[0]), PLACES),
        _weights(scales.places, of_places),
        _weights(scales.whole, of_whole),
        round(float(sharpness), PLACES),
        round(float(shift), PLACES),
    )


def _weights(scales: dict[str, tuple[float, float]], flat: Array) -> dict[str, Weight]:
    rows = flat.reshape(len(scales), len(TERMS))
    found = {}
    for (name, (centre, scale)), terms in zip(scales.items(), rows, strict=True):
        values = dict(zip(TERMS, (round(float(term), PLACES) for term in terms), strict=True))
        if any(values.values()):
            centre, scale = (float(f"{each:.{DIGITS}g}") for each in (centre, scale))
            found[name] = Weight(centre, scale, **values)
    return found


def _scales(values: dict[str, list[float]]) -> dict[str, tuple[float, float]]:
    """Of the numbers that differ from reading to reading; the others say nothing."""
    found = {name: (float(np.mean(values[name])), float(np.std(values[name]))) for name in sorted(values)}
    return {name: scale for name, scale in found.items() if scale[1] > _LEAST_SCALE}


def _terms(numbers: Any, scales: dict[str, tuple[float, float]]) -> Array:
    """`TERMS` of each number that has a scale; nothing, where it was not read."""
    found = np.zeros((len(scales), len(TERMS)))
    for row, (name, (centre, scale)) in enumerate(scales.items()):
        if name in numbers:
            deviations = np.clip((numbers[name] - centre) / scale, -FAR, FAR)
            found[row] = deviations, max(0.0, deviations - TAIL), 1.0
    return found.ravel()
