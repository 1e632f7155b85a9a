"""Auditors that are made of others: what members read side by side, and a belief for whoever was asked."""

import math
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

from game.api import Brief, Report, Toolbox
from game.auditing.belief import Fit
from game.auditing.evidence import Evidence, Numbers, Reader

_OF = "/"  # between a member's name and its number's
_AND = "+"
_ASKED = ":"  # between a league, or league and task, and members
_SURE = 1e-12


class Team(Protocol):
    """An auditor whose fit is one to all that its members read."""

    def team(self) -> Mapping[str, Reader]:
        """The members by name, with their settings."""
        ...


@dataclass(frozen=True)
class Step:
    """A member in the order in which asking pays.

    Attributes:
        member: Its name.
        price: Credits that it took in practice, on average.
        before, after: Mean surprise at label and place, nats, on practice cases with bases unseen, without
            and with what it reads.
    """

    member: str
    price: float
    before: float
    after: float


@dataclass(frozen=True)
class TeamFit(Fit):
    """A fit with beliefs for every set of members that may have been asked, each named by them.

    A name is such as `whitebox:row_cosine+spectral_spike`.

    Attributes:
        steps: By league, or league and task, whom to ask first, those that pay.
    """

    steps: Mapping[str, tuple[Step, ...]] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The fit that `to_json` wrote."""
        fit = Fit.from_json(data)
        steps = {name: tuple(Step(**each) for each in found) for name, found in data["steps"].items()}
        return cls(fit.auditor, fit.suite, fit.digest, fit.cases, fit.beliefs, steps)

    def to_json(self) -> dict[str, Any]:
        """The fit as JSON-ready data."""
        steps = {name: [vars(step) for step in found] for name, found in self.steps.items()}
        return super().to_json() | {"steps": steps}

    def believed_of(self, brief: Brief, evidence: Evidence, asked: Iterable[str]) -> Report:
        """What the belief says that was fitted to the most of the members that were asked; else the prior.

        A belief that was fitted to more than was read would take what is missing for something seen.

        Args:
            brief: Of the case.
            evidence: What all members read.
            asked: The members' names.
        """
        for name in names_of(brief):
            fitted = [each for each in self._fitted(name) if each <= set(asked)]
            if fitted:
                most = max(fitted, key=lambda each: (len(each), sorted(each)))
                belief = self.beliefs[belief_name(name, most)]
                return replace(belief.report(brief, read_by(most, evidence)), notes=evidence.notes)
        return Report(brief.prior, notes=f"not fitted for the league {brief.league} and who was asked")

    def heard(self, brief: Brief, asked: Set[str]) -> frozenset[str]:
        """Members of the beliefs that were fitted to nobody but those; what others read changes nothing."""
        fitted = (each for name in names_of(brief) for each in self._fitted(name))
        return frozenset[str]().union(*(each for each in fitted if each <= asked))

    def steps_of(self, brief: Brief) -> tuple[Step, ...]:
        """Whom to ask on a case, in order."""
        return next((self.steps[name] for name in names_of(brief) if name in self.steps), ())

    def _fitted(self, name: str) -> Iterator[frozenset[str]]:
        """Sets of members that a league's or task's beliefs were fitted to."""
        for key in self.beliefs:
            head, _, members = key.partition(_ASKED)
            if head == name:
                yield frozenset(members.split(_AND))


def names_of(brief: Brief) -> tuple[str, str]:
    """Names of the beliefs for a case, the closest first."""
    return f"{brief.league}/{brief.task.name}", brief.league


def belief_name(name: str, members: Iterable[str]) -> str:
    """Name of the belief for a league, or league and task, when these members were asked."""
    return name + _ASKED + _AND.join(sorted(members))


def asked_one(name: str, member: Reader, toolbox: Toolbox, brief: Brief) -> Evidence:
    """What a member reads, under its name; its failures are notes and lose the others nothing."""
    try:
        return signed(name, member.read(toolbox, brief))
    except Exception as fault:  # whatever it is: another member may see what this one cannot
        return Evidence(notes=f"{name}: {type(fault).__name__}: {fault}")


def signed(name: str, evidence: Evidence) -> Evidence:
    """A member's evidence with its name before every number's."""

    def under(numbers: Numbers) -> dict[str, float]:
        return {f"{name}{_OF}{number}": value for number, value in numbers.items()}

    notes = f"{name}: {evidence.notes}" if evidence.notes else ""
    return Evidence(
        {component: under(each) for component, each in evidence.places.items()}, under(evidence.whole), notes
    )


def read_by(members: Iterable[str], evidence: Evidence) -> Evidence:
    """The part of a team's evidence that some members read."""
    heads = tuple(member + _OF for member in members)

    def kept(numbers: Numbers) -> dict[str, float]:
        return {number: value for number, value in numbers.items() if number.startswith(heads)}

    places = {component: kept(each) for component, each in evidence.places.items()}
    return Evidence(places, kept(evidence.whole), evidence.notes)


def doubt(report: Report, brief: Brief) -> float:
    """Expected surprise at label and place if the report is right, nats."""
    p = min(max(report.p_edited, _SURE), 1 - _SURE)
    label = -p * math.log(p) - (1 - p) * math.log(1 - p)
    places = report.components or {c: p * q for c, q in brief.location_prior.items()}
    total = sum(places.values())
    shares = [each / total for each in places.values() if each > 0] if total > 0 else []
    return label + p * -sum(share * math.log(share) for share in shares)
