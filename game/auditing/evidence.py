"""Evidence: what an auditor read off a model, as numbers that mean the same on every model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self

from game.api import Brief, Component, Toolbox

Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Evidence:
    """Numbers by name, finite, such as z-scores against the model's own other parts.

    A number that is left out says nothing. Names carry the signal and, where a statistic of an MLP is not one
    of a head, the part: `row_cosine.mlp`. Belief is linear in them, so a number of a wide range comes as its
    logarithm.

    Attributes:
        places: How odd each component is: evidence that it was written to.
        whole: How odd the model is: evidence that it was edited, wherever.
        notes: For people.
    """

    places: Mapping[Component, Numbers] = field(default_factory=dict)
    whole: Numbers = field(default_factory=dict)
    notes: str = ""

    @property
    def empty(self) -> bool:
        """Whether nothing was read at all."""
        return not self.whole and not any(self.places.values())

    def joined(self, other: Self) -> "Evidence":
        """Both together; names must differ."""
        components = {**self.places, **other.places}
        places = {c: {**self.places.get(c, {}), **other.places.get(c, {})} for c in components}
        notes = "; ".join(filter(None, (self.notes, other.notes)))
        return Evidence(places, {**self.whole, **other.whole}, notes)


class Reader(Protocol):
    """An auditor whose belief is fitted: `audit-game fit` deals practice cases and asks it what it reads."""

    def read(self, toolbox: Toolbox, brief: Brief) -> Evidence:
        """What it reads off a model; empty where the league or the credits do not allow a look."""
        ...
