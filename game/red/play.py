"""Red's side of the game: edits of one kind and strength face a panel of auditors, controls mixed in.

A hand-written specification stands for its kind and strength: targets are redrawn on several models, so that
a panel's skill has an interval.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Self

from edits.apply import apply
from edits.base import Edited, EditError, EditSpec, Family
from edits.camouflage.base import Pass
from edits.kinds import control_kinds, families
from edits.moments import Base
from game.api import Part
from game.dealing.suite import Bases, Group, Suite
from game.scoring.scores import Score
from models.components import Component
from models.seeds import named_seed

DRAWS = 5  # at a site, of which one must pass for the site to be played
PARTS: tuple[Part, ...] = ("detection", "localisation")
CONTROLS = ("untouched", "random_rank1", "edit_then_revert")  # as far as they can match the edit
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
    trial_first: int = 10_000
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
    """What a specification is played at: as given, then its kind's dial from loud to quiet.

    Raises:
        EditError: A control, or a kind whose family cannot say how strong it is.
    """
    family = family_of(spec)
    return {GIVEN: family} | {label: each for label, each in family.dialled().items() if each != family}


def matching_controls(edit: Edited) -> tuple[str, ...]:
    """Those of `CONTROLS` that can stand in for an edit."""
    found = []
    for kind in CONTROLS:
        with suppress(EditError):
            control_kinds()[kind].matching(edit)
            found.append(kind)
    return tuple(found)


def playable(base: Base, family: Family, camouflage: tuple[Pass, ...]) -> tuple[str, ...]:
    """The sites where at least one of a few draws passes its gates on a model."""
    return tuple(
        str(site)
        for site in family.open_sites(base.checkpoint.config)
        if any(_passes(base, family, site, camouflage, seed) for seed in range(DRAWS))
    )


def _passes(base: Base, family: Family, site: Component, camouflage: tuple[Pass, ...], seed: int) -> bool:
    try:
        spec = family.draw(base, site, "playable", named_seed("playable", seed))
        return apply(base, spec.model_copy(update={"camouflage": camouflage})).record.accepted
    except EditError:
        return False


def spec_suite(
    spec: EditSpec, ladder: Mapping[str, Family], sites: Mapping[str, tuple[str, ...]], terms: Terms
) -> Suite:
    """The suite in which a specification's edits, at each strength, face the panel.

    Args:
        spec: Whose camouflage every group has.
        ladder: The family at each strength.
        sites: By strength, all that the kind can write to there: one site alone would be known beforehand.
        terms: How many cases of which models.
    """
    groups = tuple(
        Group(
            name=f"strength-{number}",
            count=terms.cases,
            edit=family,
            sites={terms.recipe: sites[label]},
            controls=terms.controls,
            camouflage=spec.camouflage,
        )
        for number, (label, family) in enumerate(ladder.items())
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
