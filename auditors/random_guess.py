"""Guesses at random within the rules: what a strategy is worth that knows nothing and admits nothing."""

import random
from dataclasses import dataclass
from typing import ClassVar

from game.api import Brief, Report, Toolbox


@dataclass(frozen=True)
class RandomGuess:
    """Draws P(edited) uniformly and spreads one written component over all of them by random weights."""

    yardstick: ClassVar[bool] = True

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        dice = random.Random(brief.seed)
        p_edited = dice.random()
        weights = {component: dice.expovariate(1.0) for component in sorted(brief.component_prior)}
        total = sum(weights.values())
        return Report.from_location(p_edited, {c: weight / total for c, weight in weights.items()})
