"""How many cases a wanted difference needs, from the variance of a run that was played.

Differences are paired on the same cases. Cases of one base checkpoint are alike, so that they count for less
than as many independent ones: by the design effect, 1 + (m - 1) rho, with m cases a checkpoint and rho their
intraclass correlation.

Source: sample size of a paired z test; design effect of Kish 1965, "Survey Sampling"; rho by one-way analysis
of variance (Donner 1986, Int. Stat. Rev. 54).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import norm

from game.referee import RoundRecord
from game.standings.leaderboard import Revealed

ALPHA = 0.05  # two-sided
PRIOR = "the declared prior"  # which scores exactly 0 in every round


class PowerError(ValueError):
    """A run from which no variance can be had."""


@dataclass(frozen=True)
class Need:
    """What it takes to tell two auditors apart, or one from the declared prior.

    Attributes:
        one, other: Their names; `other` may be `PRIOR`.
        seen: Mean difference of headline skills in the pilot.
        deviation: Standard deviation of the paired differences.
        design_effect: How many times as many cases as independent ones it takes.
        pilot: Cases of the pilot.
        cases: Cases that the wanted difference needs at the wanted power, if each checkpoint has as many as
            in the pilot; of more cases on the same checkpoints it takes more.
    """

    one: str
    other: str
    seen: float
    deviation: float
    design_effect: float
    pilot: int
    cases: int


def needs(
    parts: Sequence[str],
    cases: Iterable[Revealed],
    rounds: Iterable[RoundRecord],
    players: Sequence[str],
    difference: float,
    power: float,
) -> list[Need]:
    """For every player against the prior, and for every two players.

    Args:
        parts: Of the headline.
        cases: The pilot's.
        rounds: The pilot's.
        players: Names, in the order of the answer.
        difference: Wanted, in headline skill; above 0.
        power: Probability of telling it, in (0, 1).

    Raises:
        PowerError: Fewer than three cases that a pair has both played.
    """
    bases = {case.id: case.base for case in cases}
    skills: dict[str, dict[str, float]] = {name: {} for name in players}
    for record in rounds:
        if record.auditor in skills:
            skills[record.auditor][record.case_id] = record.score.headline(parts)
    pairs = [(name, PRIOR) for name in players] + list(combinations(players, 2))
    return [_need(one, other, skills, bases, difference, power) for one, other in pairs]


def cases_needed(deviation: float, design_effect: float, difference: float, power: float) -> int:
    """Cases at which a paired difference is told from 0, two-sided at 5 %."""
    factor = norm.isf(ALPHA / 2) + norm.ppf(power)
    return max(2, math.ceil(design_effect * float(factor * deviation / difference) ** 2))


def design_effect(values: Sequence[float], clusters: Sequence[str]) -> float:
    """1 + (m - 1) rho, at least 1; 1 where no cluster has two values."""
    data, names = np.asarray(values, dtype=float), np.asarray(clusters)
    members = [data[names == name] for name in sorted(set(clusters))]
    sizes = np.array([len(each) for each in members])
    if len(members) < 2 or sizes.max() < 2:
        return 1.0
    between = float((sizes * (np.array([each.mean() for each in members]) - data.mean()) ** 2).sum())
    within = float(sum(((each - each.mean()) ** 2).sum() for each in members))
    between, within = between / (len(members) - 1), within / (len(data) - len(members))
    typical = (len(data) - (sizes**2).sum() / len(data)) / (len(members) - 1)
    total = between + (typical - 1) * within
    rho = (between - within) / total if total > 0 else 0.0
    return float(1 + (sizes.mean() - 1) * max(0.0, rho))


def _need(
    one: str,
    other: str,
    skills: dict[str, dict[str, float]],
    bases: dict[str, str],
    difference: float,
    power: float,
) -> Need:
    both = [case for case in skills[one] if other == PRIOR or case in skills[other]]
    if len(both) < 3:
        raise PowerError(f"{one} and {other} have {len(both)} cases in common; wanted at least 3")
    differences = [skills[one][case] - (0.0 if other == PRIOR else skills[other][case]) for case in both]
    deviation = float(np.std(differences, ddof=1))
    effect = design_effect(differences, [bases[case] for case in both])
    cases = cases_needed(deviation, effect, difference, power)
    return Need(one, other, float(np.mean(differences)), deviation, effect, len(both), cases)
