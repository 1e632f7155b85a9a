"""What is right: worked out on the lesson's own model wherever it can be."""

import math
from dataclasses import dataclass
from typing import assert_never

import torch

from game.api import component_entries
from game.lessons.desk import Desk
from game.lessons.lesson import (
    Answer,
    Choice,
    FigureOf,
    Largest,
    Probability,
    StandsOut,
    Suspect,
    Word,
    Written,
)
from game.tools.kit.result import Summary
from models.naming import unknown

LETTERS = "abcdef"
PRIOR = 0.5


class AnswerError(ValueError):
    """Words that are no answer to such a question; the learner may try again."""


@dataclass(frozen=True)
class Verdict:
    """What an answer is worth.

    Attributes:
        right: Whether it will do.
        remark: What more there is to say; may be empty.
    """

    right: bool
    remark: str = ""


def judged(answer: Answer, text: str, desk: Desk) -> Verdict:
    """What a learner's answer is worth.

    Raises:
        AnswerError: It is no answer to such a question.
    """
    said = text.strip()
    match answer:
        case FigureOf():
            return Verdict(abs(_number(said) - _figure(desk, answer).value) <= answer.within)
        case StandsOut():
            return Verdict(_yes(said) == bool(_figure(desk, answer).stands_out))
        case Largest():
            return Verdict(_number(said) == _largest(desk, answer))
        case Suspect() | Written():
            known = [str(component) for component in component_entries(desk.subject.box.config)]
            if said not in known:
                raise AnswerError(unknown("component", said, known))
            return Verdict(
                said in (desk.written if isinstance(answer, Written) else (solution(answer, desk),))
            )
        case Word():
            if said not in desk.subject.task.vocabulary:
                raise AnswerError(unknown("word", said, desk.subject.task.vocabulary))
            return Verdict(said == solution(answer, desk))
        case Choice():
            letters = LETTERS[: len(answer.options)]
            if len(said) != 1 or said.lower() not in letters:
                raise AnswerError(f'got "{said}"; wanted one of {", ".join(letters)}')
            return Verdict(letters.index(said.lower()) == answer.right)
        case Probability():
            return _scored(_probability(said), desk)
    assert_never(answer)


def solution(answer: Answer, desk: Desk) -> str:
    """An answer that is right."""
    match answer:
        case FigureOf():
            return f"{_figure(desk, answer).value:.4g}"
        case StandsOut():
            return "yes" if _figure(desk, answer).stands_out else "no"
        case Largest():
            return str(_largest(desk, answer))
        case Suspect():
            suspects = desk.look(answer.tool).suspects
            return max(suspects, key=lambda name: suspects[name])
        case Written():
            return desk.written[0]
        case Word():
            return desk.subject.task.vocabulary[_token(desk, answer)]
        case Choice():
            return LETTERS[answer.right]
        case Probability():
            return "0.95" if desk.edited else "0.05"
    assert_never(answer)


def form(answer: Answer) -> str:
    """How an answer is given, in words."""
    match answer:
        case FigureOf():
            return f"a number, give or take {answer.within:g}"
        case StandsOut():
            return "yes or no"
        case Largest():
            return "a whole number"
        case Suspect() | Written():
            return "a component, such as blocks.0.mlp or blocks.1.attn.2"
        case Word():
            return "a word of the model's"
        case Choice():
            return " ".join(f"({letter})" for letter in LETTERS[: len(answer.options)])
        case Probability():
            return "a probability from 0 to 1"
    assert_never(answer)


def _scored(p: float, desk: Desk) -> Verdict:
    """Detection skill against a prior of one half, as the game scores it; better than the prior will do."""
    skill = (PRIOR**2 - (p - desk.edited) ** 2) / (PRIOR * (1 - PRIOR))
    verdict = "edited" if desk.edited else "not edited"
    return Verdict(skill > 0, f"the model was {verdict}: detection skill {skill:+.2f} of at most +1")


def _figure(desk: Desk, answer: FigureOf | StandsOut) -> Summary:
    return next(each for each in desk.look(answer.tool).summary if each.name == answer.figure)


def _token(desk: Desk, answer: Word) -> int:
    """The token in the answer's cell."""
    arrays, place = desk.look(answer.tool).arrays, answer.at
    if answer.where is not None:
        values = arrays[answer.where].float()
        place = (*(int(each) for each in torch.unravel_index(values.argmax(), values.shape)), *place)
    return int(arrays[answer.array][place])


def _largest(desk: Desk, answer: Largest) -> int:
    return int(desk.look(answer.tool).arrays[answer.array].argmax())


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise AnswerError(f'got "{text}"; wanted a number')
    return number


def _probability(text: str) -> float:
    number = _number(text)
    if not 0 <= number <= 1:
        raise AnswerError(f"got {text}; wanted a probability from 0 to 1")
    return number


def _yes(text: str) -> bool:
    if text.lower() not in ("yes", "y", "no", "n"):
        raise AnswerError(f'got "{text}"; wanted yes or no')
    return text.lower().startswith("y")
