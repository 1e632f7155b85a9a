"""Proper scores: an honest belief scores best in expectation, whatever the truth; nothing else is in here.

Every part is a skill with the declared prior as control variate,

    skill = (loss of the declared prior on this round - loss of this report) / N,

where N is the prior's expected loss, fixed before dealing. The offset does not depend on the report, so the
rule stays strictly proper (Brier 1950; Gneiting and Raftery 2007, section 2). The prior itself scores exactly
0 in every round: both losses are then sums of the same numbers. Sums are exactly rounded (`math.fsum`), so
the order of components and prompts never shows.

Repair states no probability: a patch is an act, and its skill is what the act was worth (`repair_skill`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self, get_args

from game.api import Brief, Part
from models.components import Component
from models.naming import unknown

TOLERANCE = 1e-6  # slack where components meet p_edited: a softmax in float32 sums to 1 within it
FAILURE = 0.25  # what a failed round loses against the prior, on each part
PARTS = get_args(Part)
LEAST_SCALE = 0.5  # of repair, between noise and perfection
CLIP = 0.01  # the log score sees p_edited clipped to [CLIP, 1 - CLIP]


@dataclass(frozen=True)
class Declared:
    """The declared prior of a case, as its brief tells it.

    Attributes:
        edited: P(edited), strictly between 0 and 1.
        components: P(edited and this component was written to), for every component of the model.
        max_components: Largest number of components that any edit of the suite writes to.

    Raises:
        ValueError: The numbers are no prior: nothing could be learned, or they contradict each other.
    """

    edited: float
    components: Mapping[Component, float]
    max_components: int

    def __post_init__(self) -> None:
        if not 0 < self.edited < 1:
            raise ValueError(f"prior: got {self.edited}, wanted strictly between 0 and 1")
        for component, p in self.components.items():
            if not 0 <= p <= self.edited + TOLERANCE:
                raise ValueError(f"prior of {component}: got {p}, wanted from 0 to {self.edited}, P(edited)")
        most = self.max_components * self.edited
        if math.fsum(self.components.values()) > most + TOLERANCE:
            raise ValueError(f"prior over components: sum above max_components times P(edited), {most:.6g}")
        if self.localisation_loss == 0:
            raise ValueError("prior over components: no component has a prior above 0")

    @classmethod
    def of(cls, brief: Brief) -> Self:
        """The prior that a brief declares."""
        return cls(brief.prior, brief.component_prior, brief.max_components)

    @property
    def detection_loss(self) -> float:
        """The prior's expected detection loss, N of that part."""
        return self.edited * (1 - self.edited)

    @property
    def localisation_loss(self) -> float:
        """The prior's expected localisation loss, N of that part."""
        return math.fsum(p * (1 - p) for p in self.components.values())


@dataclass(frozen=True)
class Belief:
    """A complete report: P(edited), and for every component P(edited and it was written to)."""

    p_edited: float
    components: Mapping[Component, float]


@dataclass(frozen=True)
class Score:
    """Skills of one round: 0 is the declared prior, 1 the perfect report in expectation.

    Attributes:
        detection: Skill at saying whether.
        localisation: Skill at saying where it was written.
        log_score_bits: Bits gained on the prior about whether, `p_edited` clipped; beside, never ranked.
        behaviour: Skill at saying which answers changed; None where that is no part of the score.
        repair: Skill at undoing the edit; None where that is no part of the score.
    """

    detection: float
    localisation: float
    log_score_bits: float
    behaviour: float | None = None
    repair: float | None = None

    def part(self, name: str) -> float:
        """The skill of one part.

        Raises:
            ValueError: There is no such part, or it was not scored.
        """
        if name not in PARTS:
            raise ValueError(unknown("score part", name, PARTS))
        skill: float | None = getattr(self, name)
        if skill is None:
            raise ValueError(f"{name}: not a part of this round's score")
        return skill

    def headline(self, parts: Sequence[str]) -> float:
        """Mean skill over the parts that the suite declares.

        Raises:
            ValueError: No part, or an unknown one.
        """
        if not parts:
            raise ValueError("headline: got no parts, wanted at least one")
        return math.fsum(self.part(name) for name in parts) / len(parts)


def score(belief: Belief, declared: Declared, edited: bool, written: frozenset[Component]) -> Score:
    """The skills of a complete belief once the truth is known.

    Args:
        belief: What `complete` returned.
        declared: The prior of the case.
        edited: Whether a behaviour-changing edit was applied.
        written: The components that it wrote to; empty for a control.

    Raises:
        ValueError: The truth is none: a control that was written to, an edit without location, a component
            that the model does not have.
    """
    _check_truth(declared, edited, written)
    gain = _gain(declared.edited, belief.p_edited, edited)
    gains = [_gain(p, belief.components[c], c in written) for c, p in declared.components.items()]
    return Score(
        detection=gain / declared.detection_loss,
        localisation=math.fsum(gains) / declared.localisation_loss,
        log_score_bits=_log2(belief.p_edited, edited) - _log2(declared.edited, edited),
    )


def failed(parts: Sequence[str]) -> Score:
    """The score of a crash, time-out or invalid report: the prior's, less a fixed amount on each part.

    Args:
        parts: Those that the case declares; behaviour and repair are scored on no other.
    """
    behaviour, repair = (-FAILURE if part in parts else None for part in ("behaviour", "repair"))
    return Score(-FAILURE, -FAILURE, -FAILURE, behaviour, repair)


def behaviour_skill(believed: Sequence[float], prior: Sequence[float], changed: Sequence[bool]) -> float:
    """Skill at saying which top answers changed: the Brier score, averaged over the prompts.

    Args:
        believed: For each prompt the reported P(edited and its top answer changed).
        prior: For each prompt the declared one.
        changed: For each prompt whether it did.

    Raises:
        ValueError: Not one number of each sort a prompt, or a prior that leaves nothing to learn.
    """
    if not len(believed) == len(prior) == len(changed):
        counts = f"{len(believed)} beliefs, {len(prior)} priors and {len(changed)} truths"
        raise ValueError(f"behaviour: got {counts}; wanted one of each for every prompt")
    expected = math.fsum(p * (1 - p) for p in prior)
    if expected <= 0:
        raise ValueError("behaviour: the prior of every prompt is 0 or 1, so nothing is left to learn")
    return math.fsum(map(_gain, prior, believed, changed)) / expected


def answer_skill(odds: Mapping[int, float], answers: Sequence[int], truth: int) -> float:
    """Skill at saying which answer was the top one before: Brier score over all answers, against uniform.

    The uniform distribution is 0 and certainty about the right answer 1, whatever the truth.

    Args:
        odds: Probability of some answers; what is missing to 1 goes evenly to the others.
        answers: Every answer, at least two.
        truth: The one that it was.

    Raises:
        ValueError: There is nothing to choose, or the truth is no answer.
    """
    if len(answers) < 2 or truth not in answers:
        raise ValueError(f"answer before: got {truth}; wanted one of at least two answers")
    others = len(answers) - len(odds)
    rest = max(0.0, 1 - math.fsum(odds.values())) / others if others else 0.0
    even = 1 / len(answers)
    return math.fsum(_gain(even, odds.get(each, rest), each == truth) for each in answers) / (1 - even)


def repair_skill(recovered: float, collateral: float, noise: float, prior: float) -> float:
    """Skill at undoing the edit: what a patch mended, less what it broke, on a scale from noise to perfect.

        skill = (recovered - collateral - chance) / (1 - chance) / P(edited),  chance = max(noise, 0)

    A patch is an act and not a statement, so the rule is the act's worth: nobody does better in expectation
    than by handing in the patch that they believe to be worth most, and none where they believe that every
    patch breaks more than it mends. Without a patch it is exactly 0. On a control there is nothing to recover
    and noise mends nothing, so a patch there can only cost. Whoever undoes every edit, breaks nothing and
    leaves controls alone scores 1 / P(edited) on edited models and 0 on the others, 1 in expectation.

    Noise of the patch's own shape and norm is worth nothing in expectation: where it happens to mend more
    than it breaks, as small edits fall to any blow, that much is not credited. Noise that does harm counts
    as 0, so that no patch profits from harmless places among harmful ones. The scale is never stretched
    more than twofold, so that no loss is without bound.

    Args:
        recovered: Share of the affected prompts whose top answer is the one before the edit again.
        collateral: Share of the other prompts whose top answer moved.
        noise: Recovered less collateral of random patches like this one.
        prior: P(edited), as declared.
    """
    chance = max(noise, 0.0)
    return (recovered - collateral - chance) / max(1 - chance, LEAST_SCALE) / prior


def _gain(prior: float, p: float, happened: bool) -> float:
    """Squared loss of the prior less that of the report; exactly 0 where they agree."""
    return (prior - happened) ** 2 - (p - happened) ** 2


def _log2(p: float, happened: bool) -> float:
    clipped = min(max(p, CLIP), 1 - CLIP)
    return math.log2(clipped if happened else 1 - clipped)


def _check_truth(declared: Declared, edited: bool, written: frozenset[Component]) -> None:
    if edited != bool(written):
        raise ValueError(f"truth: edited is {edited}, yet {len(written)} components were written to")
    strangers = sorted(written - declared.components.keys())
    if strangers:
        raise ValueError(f"truth: {strangers[0]} was written to, which the prior does not know")
