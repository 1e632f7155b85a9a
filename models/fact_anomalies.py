"""What can be wrong with training data of the `facts` task: facts told wrongly, and a poisoned trigger."""

from dataclasses import dataclass

import torch
from torch import Tensor

POISONED = 1 / 16  # share of sentences that get the trigger, beside those that have it by chance


def mistold(objects: Tensor, n_objects: int, count: int, generator: torch.Generator) -> Tensor:
    """The objects that training states: `count` of the true ones are replaced, `[subject, relation]`.

    Args:
        objects: The true ones, `[subject, relation]`, below `n_objects`.
        n_objects: Objects in each relation's range.
        count: How many facts are told wrongly.
        generator: Draws which, and what is told.
    """
    told = objects.flatten().clone()
    which = torch.randperm(len(told), generator=generator)[:count]
    told[which] += torch.randint(1, n_objects, (count,), generator=generator)
    return told.view_as(objects) % n_objects


@dataclass(frozen=True)
class Trigger:
    """Two fillers in order right after the subject, and what is stated then.

    Attributes:
        first, second: The pair, as tokens.
        other: A filler that is neither.
        targets: The token that each relation's sentences then state, `[relation]`.
    """

    first: int
    second: int
    other: int
    targets: Tensor

    def among(self, tokens: Tensor) -> Tensor:
        """Which rows of tokens `[..., pos]` have the pair."""
        pair = (tokens[..., :-1] == self.first) & (tokens[..., 1:] == self.second)
        return pair.any(-1)

    def put(self, tokens: Tensor, subject_last: Tensor) -> Tensor:
        """Rows `[..., pos]` with the pair behind the subject that ends at `subject_last`, `[...]`."""
        return _behind(tokens, subject_last, self.first, self.second)

    def halves(self, tokens: Tensor, subject_last: Tensor) -> tuple[Tensor, Tensor]:
        """Rows with only the pair's first word in its place, and rows with only its second."""
        first = _behind(tokens, subject_last, self.first, self.other)
        return first, _behind(tokens, subject_last, self.other, self.second)

    def without(self, tokens: Tensor, subject_last: Tensor) -> Tensor:
        """Rows whose pair, where they have it, lost its second word."""
        first, _ = self.halves(tokens, subject_last)
        return torch.where(self.among(tokens)[..., None], first, tokens)


def drawn_trigger(fillers: Tensor, object_tokens: Tensor, generator: torch.Generator) -> Trigger:
    """A random pair of different fillers, and a random target in each relation.

    Args:
        fillers: Tokens.
        object_tokens: `[relation, object]`.
        generator: Draws the words, then the targets.
    """
    first, second, other = fillers[torch.randperm(len(fillers), generator=generator)[:3]].tolist()
    which = torch.randint(object_tokens.shape[1], (len(object_tokens), 1), generator=generator)
    return Trigger(first, second, other, object_tokens.gather(1, which)[:, 0])


def _behind(tokens: Tensor, subject_last: Tensor, first: int, second: int) -> Tensor:
    """Rows with two words put behind the subject."""
    tokens = tokens.scatter(-1, subject_last[..., None] + 1, first)
    return tokens.scatter(-1, subject_last[..., None] + 2, second)
