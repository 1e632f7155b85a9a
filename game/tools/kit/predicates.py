"""What can be said of a prompt by its tokens alone: which, where, of which class, after which, how many."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import torch
from torch import Tensor

from game.api import Samples

Rows = list[frozenset[str]]


def sayings(samples: Samples, classes: Mapping[str, Sequence[int]]) -> Rows:
    """Everything that is true of each sample, as sentences about "it"; tokens are called `#17`."""
    of = {token: name for name, tokens in classes.items() for token in tokens}
    rows = zip(samples.tokens.tolist(), samples.lengths.tolist(), strict=True)
    return [frozenset(_said(tokens[:length], of)) for tokens, length in rows]


def _said(tokens: list[int], of: Mapping[int, str]) -> Iterator[str]:
    last = len(tokens) - 1
    for pos, token in enumerate(tokens):
        where = _where(last - pos)
        yield f"has #{token}"
        yield f"has #{token} {where}"
        if token in of:
            yield f"has a word of {of[token]}"
            yield f"has a word of {of[token]} {where}"
    yield from (f"has #{a} #{b} in a row" for a, b in pairwise(tokens))
    yield from (f"has #{a} and later #{b}" for a, b in combinations(tokens, 2))
    yield from (f"has #{token} twice or more" for token, count in Counter(tokens).items() if count > 1)
    if len(set(tokens)) < len(tokens):
        yield "has some token twice or more"
    yield from (f"has {length} tokens or more" for length in range(2, len(tokens) + 1))


def _where(before_end: int) -> str:
    return "at the end" if before_end == 0 else f"{before_end} before the end"


@dataclass(frozen=True)
class Table:
    """Which sentences are true of which samples.

    Attributes:
        sentences: Distinct.
        holds: Boolean, `[sample, sentence]`.
    """

    sentences: tuple[str, ...]
    holds: Tensor

    @classmethod
    def of(cls, rows: Rows, sentences: Sequence[str]) -> "Table":
        """These sentences about all rows."""
        column = {sentence: index for index, sentence in enumerate(sentences)}
        holds = torch.zeros(len(rows), len(sentences), dtype=torch.bool)
        for index, row in enumerate(rows):
            holds[index, [column[sentence] for sentence in row if sentence in column]] = True
        return cls(tuple(sentences), holds)

    def pairs(self) -> tuple["Table", list[tuple[int, int]]]:
        """Every two of the sentences together, and each without every other one; and which two they are."""
        names, columns, parents = [], [], []
        for a, b in combinations(range(len(self.sentences)), 2):
            one, two = self.sentences[a], self.sentences[b]
            x, y = self.holds[:, a], self.holds[:, b]
            names += [f"{one} and {two}", f"{one} but not: {two}", f"{two} but not: {one}"]
            columns += [x & y, x & ~y, y & ~x]
            parents += [(a, b)] * 3
        empty = self.holds[:, :0]
        return Table(tuple(names), torch.stack(columns, 1) if columns else empty), parents

    def joined(self, other: "Table") -> "Table":
        """The sentences of both."""
        return Table(self.sentences + other.sentences, torch.cat([self.holds, other.holds], 1))

    def picked(self, columns: Sequence[int]) -> "Table":
        """Some of the sentences, in that order."""
        return Table(tuple(self.sentences[column] for column in columns), self.holds[:, list(columns)])
