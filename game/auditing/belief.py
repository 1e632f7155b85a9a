"""From evidence to probabilities, by weights that were fitted to practice cases."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from game.api import Brief, Component, Report
from game.auditing.evidence import Evidence, Numbers

VERSION = 1
FAR = 4.0  # standard deviations beyond which a number says no more: practice shows few of them
TAIL = 1.0  # standard deviations above which a number may say more, or less, than below
_MOST = 30.0  # log-odds: as sure as numbers can be


class FitError(ValueError):
    """A fit cannot be read; the message names the file."""


@dataclass(frozen=True)
class Weight:
    """What one number is worth.

    Attributes:
        centre, scale: Its mean and standard deviation over practice cases.
        weight: Log-odds for a standard deviation.
        tail: What is added to that from one standard deviation above the mean on.
        given: Log-odds of the number's being there at all, whatever it is.
    """

    centre: float = 0.0
    scale: float = 1.0
    weight: float = 0.0
    tail: float = 0.0
    given: float = 0.0

    def worth(self, value: float) -> float:
        """Log-odds of a value; bounded."""
        deviations = max(-FAR, min(FAR, (value - self.centre) / self.scale))
        return self.given + self.weight * deviations + self.tail * max(0.0, deviations - TAIL)


@dataclass(frozen=True)
class Belief:
    """A multinomial logit over *not edited* and *edited, here* for every component, with the brief's prior.

    The log-odds of *edited, at c* against *not edited* are those of the prior plus `intercept`, plus the
    worth of what was read of c and of the whole model. So a belief that was fitted at one prior holds at
    another.

    Attributes:
        intercept: Log-odds that are added everywhere.
        places: What each number of a component is worth.
        whole: What each number of the whole model is worth.
        sharpness: By what the log-odds of *edited* are multiplied at the end, and
        shift: what is added to them: calibration on cases that the weights were not fitted to.

    Source: McFadden 1974, "Conditional logit analysis of qualitative choice behavior" (the model); Platt
    1999, "Probabilistic outputs for support vector machines" (the calibration).
    """

    intercept: float
    places: Mapping[str, Weight]
    whole: Mapping[str, Weight]
    sharpness: float = 1.0
    shift: float = 0.0

    def report(self, brief: Brief, evidence: Evidence) -> Report:
        """What it believes; the declared prior where nothing was read."""
        if evidence.empty:
            return Report(brief.prior, notes=evidence.notes or "nothing was read")
        odds, shares = self._odds(brief, evidence)
        p_edited = brief.prior / (brief.prior + (1 - brief.prior) * math.exp(-odds))
        written = sum(brief.location_prior.values())  # how many components an edit writes to, on average
        location = {c: min(1.0, written * share) for c, share in shares.items()}
        return Report.from_location(p_edited, location, evidence.notes)

    def _odds(self, brief: Brief, evidence: Evidence) -> tuple[float, dict[Component, float]]:
        """Log-odds of *edited* beyond the prior's, and each component's share of it."""
        places = brief.location_prior
        everywhere = self.intercept + _worth(self.whole, evidence.whole)
        logs = {
            c: everywhere + math.log(p) + _worth(self.places, evidence.places.get(c, {}))
            for c, p in places.items()
            if p > 0
        }
        most = max(logs.values())
        weights = {c: math.exp(log - most) for c, log in logs.items()}
        total = sum(weights.values())
        raw = most + math.log(total / sum(places.values()))
        shares = {c: weights.get(c, 0.0) / total for c in places}
        return max(-_MOST, min(_MOST, self.sharpness * raw + self.shift)), shares


@dataclass(frozen=True)
class Fit:
    """All beliefs of an auditor, as a file beside it keeps them.

    Attributes:
        auditor: Its name.
        suite: Name of the practice suite, and
        digest: SHA-256 of its content.
        cases: Practice cases.
        beliefs: By league, `whitebox`, or by league and task, `whitebox/facts`.
    """

    auditor: str
    suite: str
    digest: str
    cases: int
    beliefs: Mapping[str, Belief]

    @classmethod
    def beside(cls, file: str) -> Self:
        """The fit in the `.json` file beside a Python file; one without beliefs if there is none.

        Raises:
            FitError: The file is not one of this version.
        """
        path = Path(file).with_suffix(".json")
        if not path.exists():
            return cls(path.stem, "", "", 0, {})
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise FitError(f"{path.name}: not a fit of version {VERSION}: {error}") from error

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The fit that `to_json` wrote."""
        if data["version"] != VERSION:
            raise ValueError(f"version {data['version']}")
        beliefs = {name: _belief(each) for name, each in data["beliefs"].items()}
        return cls(data["auditor"], data["suite"], data["digest"], data["cases"], beliefs)

    def to_json(self) -> dict[str, Any]:
        """The fit as JSON-ready data."""
        beliefs = {name: _data(belief) for name, belief in self.beliefs.items()}
        head = {"version": VERSION, "auditor": self.auditor, "suite": self.suite, "digest": self.digest}
        return head | {"cases": self.cases, "beliefs": beliefs}

    def believed(self, brief: Brief, evidence: Evidence) -> Report:
        """What the belief for the brief's task and league says, or that for the league; else the prior."""
        for name in (f"{brief.league}/{brief.task.name}", brief.league):
            if name in self.beliefs:
                return self.beliefs[name].report(brief, evidence)
        return Report(brief.prior, notes=f"not fitted for the league {brief.league}")


def _worth(weights: Mapping[str, Weight], numbers: Numbers) -> float:
    """Log-odds of all numbers that have a weight; one that is not finite says nothing."""
    return sum(
        weights[name].worth(value)
        for name, value in numbers.items()
        if name in weights and math.isfinite(value)
    )


def _data(belief: Belief) -> dict[str, Any]:
    """A belief as JSON-ready data; of a weight, only what is not zero."""
    data = asdict(belief)
    for part in ("places", "whole"):
        weights = data[part].items()
        data[part] = {name: {term: x for term, x in each.items() if x} for name, each in weights}
    return data


def _belief(data: Mapping[str, Any]) -> Belief:
    places, whole = (dict(_weights(data[name])) for name in ("places", "whole"))
    return Belief(data["intercept"], places, whole, data["sharpness"], data["shift"])


def _weights(data: Mapping[str, Any]) -> Iterator[tuple[str, Weight]]:
    for name, each in data.items():
        yield name, Weight(**each)
