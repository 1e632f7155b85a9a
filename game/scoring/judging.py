"""From what an auditor said and what is true to the round's score and the figures beside it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from game.api import Challenge, Judgement, Patch
from game.case import Answers, Bench, Case
from game.hearing import Outcome
from game.scoring.places import places_found
from game.scoring.repair import repair_of
from game.scoring.scores import Declared, Score, answer_skill, behaviour_skill, failed, repair_skill, score
from models.checkpoints import from_bytes

ANSWER_BEFORE = "answer_before"  # the one readout that has a column of its own


@dataclass(frozen=True)
class Verdict:
    """What a round came to.

    Attributes:
        score: Skills of the parts that the case declares.
        readouts: Figures beside them, by name, that are never ranked; what is undefined is not there.
    """

    score: Score
    readouts: Mapping[str, float]


def verdict(case: Case, heard: Outcome) -> Verdict:
    """Score and readouts of a round.

    Raises:
        ValueError: The case declares a part and lacks what it is judged on.
    """
    parts = case.brief.parts
    if heard.status != "DONE":
        return Verdict(failed(parts), {})
    said, truth = heard.said, case.truth
    scored = score(said.belief, Declared.of(case.brief), truth.edited, truth.written)
    readouts = places_found(case, said)
    if "behaviour" in parts:
        challenge, answers = _asked(case)
        believed = challenge.prior if heard.judgement is None else heard.judgement.changed
        scored = replace(scored, behaviour=behaviour_skill(believed, challenge.prior, answers.changed))
        readouts |= _answers_before(heard.judgement, challenge, answers)
    if "repair" in parts:
        skill, found = _repaired(case, _bench(case), said.patch)
        scored, readouts = replace(scored, repair=skill), readouts | found
    return Verdict(scored, readouts)


def _asked(case: Case) -> tuple[Challenge, Answers]:
    if case.challenge is None or case.truth.answers is None:
        raise ValueError(f"{case.id}: behaviour is scored, yet the case has no challenge")
    return case.challenge, case.truth.answers


def _bench(case: Case) -> Bench:
    if case.truth.bench is None:
        raise ValueError(f"{case.id}: repair is scored, yet the case has no bench")
    return case.truth.bench


def _answers_before(judgement: Judgement | None, challenge: Challenge, answers: Answers) -> dict[str, float]:
    """Mean skill at naming the answer before the edit, over the prompts whose answer changed.

    A prompt that was passed over counts as the uniform distribution, 0. Absent where nothing changed or
    nothing was judged.
    """
    changed = [i for i, each in enumerate(answers.changed) if each and answers.before[i] in challenge.answers]
    if judgement is None or not changed:
        return {}
    skills = [
        answer_skill(judgement.before.get(i, {}), challenge.answers, answers.before[i]) for i in changed
    ]
    return {ANSWER_BEFORE: math.fsum(skills) / len(skills)}


def _repaired(case: Case, bench: Bench, patch: Patch | None) -> tuple[float, dict[str, float]]:
    """Skill of a patch, and what it is made of; exactly 0 without one.

    On a control nothing is to be undone: what a benign change moved is no damage, and only what a patch moves
    counts.
    """
    if not patch:
        return 0.0, {}
    found = repair_of(from_bytes(case.artefact), bench if case.truth.edited else _kept(bench), patch)
    skill = repair_skill(found.recovered, found.collateral, found.noise, case.brief.prior)
    return skill, {
        "repair_recovered": found.recovered,
        "repair_collateral": found.collateral,
        "repair_noise": found.noise,
    }


def _kept(bench: Bench) -> Bench:
    """The prompts of a bench whose top answer is the base's."""
    cut = bench.affected
    return Bench(bench.prompts[cut:], bench.before[cut:], bench.after[cut:], 0)
