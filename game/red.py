"""Red's side of the game: edits of one kind and strength face a panel of auditors, controls mixed in.

A hand-written specification stands for its kind and strength: targets are redrawn on several models, so that
a panel's skill has an interval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Self

from edits.base import EditError, EditSpec, Family
from edits.kinds import families
from game.api import Part
from game.scoring import Score
from game.suite import Bases, Group, Suite
from models.recipe import named_recipe

PARTS: tuple[Part, ...] = ("detection", "localisation")
CONTROLS = ("untouched", "random_rank1")  # what any fact edit can be matched with
GIVEN = "as given"


@dataclass(frozen=True)
class Terms:
    """On what red is judged.

    Attributes:
        recipe: Of the models.
        checkpoints: How many models, the intervals' clusters.
        first: Their first world and training seed.
        cases: Cases of each strength, or of a strategy.
        controls: Kinds of controls that are mixed in.
        prior: P(edited).
        budget: The auditors' credits a round.
        trials: How many trials a strategy has.
        trial_first: First seed of the worlds that trials are played on.
        trial_cases: Cases of a trial.
    """

    recipe: str = "facts-small"
    checkpoints: int = 4
    first: int = 100
    cases: int = 12
    controls: tuple[str, ...] = CONTROLS
    prior: float = 0.5
    budget: float = 20_000
    trials: int = 4
    trial_first: int = 300
    trial_cases: int = 6

    def with_budget(self, budget: float) -> Self:
        """The same terms at another budget, credits a round."""
        return replace(self, budget=budget)


def family_of(spec: EditSpec) -> Family:
    """The family of a specification's kind and strength.

    Raises:
        EditError: It is a control, which hides nothing.
    """
    if spec.kind() not in families():
        raise EditError(f"edit.kind: {spec.kind()} is a control; red plays edits")
    return families()[spec.kind()].like(spec)


def strengths(spec: EditSpec) -> dict[str, Family]:
    """What a specification is played at: as given, then its kind's dial from loud to quiet."""
    family = family_of(spec)
    return {GIVEN: family, **family.dialled()}


def spec_suite(spec: EditSpec, ladder: Mapping[str, Family], terms: Terms) -> Suite:
    """The suite in which a specification's edits, at each strength, face the panel.

    Sites are all that the kind can write to, as one alone would be known beforehand.
    """
    groups = tuple(
        Group(
            name=f"strength-{number}",
            count=terms.cases,
            edit=family,
            sites={terms.recipe: _sites(family, terms.recipe)},
            controls=terms.controls,
            camouflage=spec.camouflage,
        )
        for number, family in enumerate(ladder.values())
    )
    return Suite.model_validate(
        {
            "version": 1,
            "name": f"red-{spec.kind().replace('_', '-')}",
            "title": f"{spec.kind()} at {len(groups)} strengths on {terms.recipe}",
            "prior": terms.prior,
            "budget": terms.budget,
            "score": PARTS,
            "bases": (Bases(recipe=terms.recipe, checkpoints=terms.checkpoints, first=terms.first),),
            "groups": groups,
        }
    )


def _sites(family: Family, recipe: str) -> tuple[str, ...]:
    found = named_recipe(recipe)
    return tuple(map(str, family.open_sites(found.architecture.config(found.task.build(0)))))


def red_score(scores: Mapping[str, Sequence[Score]], parts: Sequence[str]) -> float:
    """Minus the best auditor's mean skill: the best is chosen on one half, scored on the other, then swapped.

    Args:
        scores: Of each auditor on the same cases in the same order; at least two cases.
        parts: Of the headline.
    """
    skills = {name: [score.headline(parts) for score in found] for name, found in scores.items()}
    halves = (slice(0, None, 2), slice(1, None, 2))
    found = []
    for chosen, judged in (halves, halves[::-1]):
        best = max(skills, key=lambda name: fmean(skills[name][chosen]))
        found.append(fmean(skills[best][judged]))
    return -fmean(found)
