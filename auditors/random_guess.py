"""Guesses at random within the rules: what a strategy is worth that knows nothing and admits nothing."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

from game.api import Brief, Challenge, Judgement, Report, Toolbox

Option = TypeVar("Option")


@dataclass(frozen=True)
class RandomGuess:
    """Draws P(edited) uniformly and spreads it over components, and over target sets, by random weights.

    Attributes:
        drawn: P(edited) and the dice, remembered until it is asked what changed.
    """

    yardstick: ClassVar[bool] = True
    drawn: list[tuple[float, random.Random]] = field(default_factory=list, init=False, compare=False)

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        dice = random.Random(brief.seed)
        p_edited = dice.random()
        self.drawn[:] = [(p_edited, dice)]
        return Report.from_location(p_edited, _spread(sorted(brief.component_prior), dice))

    def judge(self, challenge: Challenge) -> Judgement:
        ((p_edited, dice),) = self.drawn
        shares = _spread(sorted(set(challenge.target_set)), dice)
        return Judgement([p_edited * shares[number] for number in challenge.target_set])


def _spread(options: Iterable[Option], dice: random.Random) -> dict[Option, float]:
    """One unit of belief in random shares."""
    weights = {option: dice.expovariate(1.0) for option in options}
    total = sum(weights.values())
    return {option: weight / total for option, weight in weights.items()}
