"""The rules of a judgement: one probability a prompt, and distributions over this task's answers."""

from collections.abc import Mapping, Sequence

from game.api import Challenge, Judgement
from game.rules.faults import ReportError, probability, shown
from models.naming import listing

TOLERANCE = 1e-6  # slack of a sum: a softmax in float32 sums to 1 within it
MAX_NUMBERS = 200_000  # in all distributions together


def judged(judgement: object, challenge: Challenge) -> Judgement:
    """A plain copy of a judgement, distributions by prompt and token in their order.

    Raises:
        ReportError: It breaks a rule; the message names the prompt and what is allowed.
    """
    if not isinstance(judgement, Judgement):
        raise ReportError(f"judgement: got {shown(judgement)}, wanted a Judgement")
    changed = _changed(judgement.changed, len(challenge.prior))
    if not isinstance(judgement.before, Mapping):
        raise ReportError(f"before: got {shown(judgement.before)}, wanted a mapping of prompt numbers")
    return Judgement(changed, _before(judgement.before, challenge))


def _changed(changed: object, prompts: int) -> tuple[float, ...]:
    if isinstance(changed, str) or not isinstance(changed, Sequence):
        raise ReportError(f"changed: got {shown(changed)}, wanted a list of {prompts} probabilities")
    if len(changed) != prompts:
        raise ReportError(f"changed: got {len(changed)} probabilities; allowed: {prompts}, one a prompt")
    return tuple(probability(f"changed[{i}]", changed[i]) for i in range(prompts))


def _before(before: Mapping[int, object], challenge: Challenge) -> dict[int, dict[int, float]]:
    prompts, answers = len(challenge.prior), frozenset(challenge.answers)
    checked: dict[int, dict[int, float]] = {}
    numbers = 0
    for number, odds in before.items():
        if type(number) is not int or not 0 <= number < prompts:
            raise ReportError(f"before: got prompt {_short(number)}; allowed: 0 to {prompts - 1}")
        if not isinstance(odds, Mapping):
            raise ReportError(f"before[{number}]: got {shown(odds)}, wanted a mapping of tokens to numbers")
        numbers += len(odds)
        if numbers > MAX_NUMBERS:
            raise ReportError(f"before: more than {MAX_NUMBERS} numbers; at most that many in all")
        checked[number] = _distribution(f"before[{number}]", odds, answers)
    return dict(sorted(checked.items()))


def _distribution(where: str, odds: Mapping[object, object], answers: frozenset[int]) -> dict[int, float]:
    checked: dict[int, float] = {}
    for token, p in odds.items():
        if type(token) is not int or token not in answers:
            legal = listing(str(token), [str(each) for each in sorted(answers)])
            raise ReportError(f"{where}: got token {_short(token)}; allowed: answers of the task, {legal}")
        checked[token] = probability(f"{where}[{token}]", p)
    total = sum(checked.values())
    if total > 1 + TOLERANCE:
        raise ReportError(f"{where}: sum {total:.6g}; at most 1")
    return dict(sorted(checked.items()))


def _short(value: object) -> str:
    return str(value)[:30] if type(value) is int else shown(value)
