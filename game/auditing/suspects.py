"""From prompts that an edit seems to have changed to what a challenge asks.

What hangs on a suspect is found while the toolbox is open, by taking it out: prompts whose answer gives way
to another are kept by the words that they say. The set of a challenge that says the same words is the
likeliest to be about the edit.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from game.api import Brief, Challenge, Judgement, Samples

Words = frozenset[int]
_HALF = 0.5  # added to each count: no word is surely there, or surely absent
_RARE = 1e-6
_ANY = 0.1  # P(words mislead, and any set is as likely as another)
_TOLD = 0.9  # P(the answer before is one that came up)


@dataclass(frozen=True)
class Hanging:
    """A prompt whose answer hangs on the suspect: its words, and the answer that comes up without it."""

    words: Words
    before: int


@dataclass(frozen=True)
class Suspects:
    """What an audit remembers for the judgement.

    Attributes:
        p_edited: As reported.
        prior: As declared.
        hanging: Prompts whose answers hang on the suspect.
        words: By word, how much more often those prompts say it than others, nats.
        place: P(the suspect is where the edit is | edited); elsewhere what hangs on it tells nothing.
    """

    p_edited: float
    prior: float
    hanging: tuple[Hanging, ...] = ()
    words: Mapping[int, float] = field(default_factory=dict)
    place: float = 1.0

    @classmethod
    def of(cls, p_edited: float, brief: Brief, samples: Samples, changed: Tensor, answers: Tensor) -> Self:
        """Those that were found on some prompts.

        Args:
            p_edited: As reported.
            brief: Tells the prior.
            samples: Prompts that were tried.
            changed: Where taking the suspect out changed the answer, `[sample, pos]`.
            answers: The answers without it, `[sample, pos]`.
        """
        at = torch.where(changed.any(-1), changed.int().argmax(-1) + 1, samples.lengths)
        said = [frozenset(row[:n].tolist()) for row, n in zip(samples.tokens, at.tolist(), strict=True)]
        hits = changed.any(-1).nonzero()[:, 0].tolist()
        hanging = tuple(Hanging(said[i], int(answers[i, at[i] - 1])) for i in hits)
        return cls(p_edited, brief.prior, hanging, _typical(said, set(hits)))

    def judged(self, challenge: Challenge) -> Judgement:
        """Which prompts changed: those of the set that says what the hanging prompts say, if any does."""
        said = [
            frozenset(row[:n].tolist())
            for row, n in zip(challenge.tokens, challenge.lengths.tolist(), strict=True)
        ]
        weights = self._weights(challenge, said)
        count = len(weights)
        changed = [
            self.p_edited * min(1.0, rho / self.prior * count) * weights[number]
            for rho, number in zip(challenge.prior, challenge.target_set, strict=True)
        ]
        before = {
            i: told
            for i, number in enumerate(challenge.target_set)
            if weights[number] > 1 / count and (told := self._told(said[i], challenge.answers))
        }
        return Judgement(changed, before)

    def _weights(self, challenge: Challenge, said: Sequence[Words]) -> dict[int, float]:
        """P(a set is about the edit | edited), by number."""
        scores: dict[int, list[float]] = {number: [] for number in sorted(set(challenge.target_set))}
        for words, number, stratum in zip(said, challenge.target_set, challenge.stratum, strict=True):
            if stratum in ("affected", "paraphrase"):
                scores[number].append(self._likeness(words))
        means = {number: sum(each) / len(each) if each else 0.0 for number, each in scores.items()}
        most = max(means.values(), default=0.0)
        odds = {number: math.exp(mean - most) for number, mean in means.items()}
        total = sum(odds.values())
        told = (1 - _ANY) * self.place
        return {number: (1 - told) / len(odds) + told * each / total for number, each in odds.items()}

    def _likeness(self, words: Words) -> float:
        return sum(self.words.get(word, 0.0) for word in words)

    def _told(self, words: Words, answers: Sequence[int]) -> dict[int, float]:
        """The answers that came up after the prompts that share most of what is typical with this one."""
        shared = [self._likeness(words & each.words) for each in self.hanging]
        most = max(shared, default=0.0)
        if most <= 0:
            return {}
        near = [
            each.before
            for each, much in zip(self.hanging, shared, strict=True)
            if much >= most - _RARE and each.before in answers
        ]
        return {answer: _TOLD * count / len(near) for answer, count in Counter(near).items()}


def _typical(said: Sequence[Words], hits: set[int]) -> dict[int, float]:
    """By word, log of how often the hits say it over how often the others do; nothing without hits."""
    if not hits:
        return {}
    among = Counter(word for i in hits for word in said[i])
    others = Counter(word for i, words in enumerate(said) if i not in hits for word in words)
    found, rest = len(hits), len(said) - len(hits)
    return {
        word: math.log((count + _HALF) / (found + 2 * _HALF))
        - math.log((others[word] + _HALF) / (rest + 2 * _HALF))
        for word, count in among.items()
    }
