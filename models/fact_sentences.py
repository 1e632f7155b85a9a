"""How the facts of a world are told: every sentence as tokens, and random ones for documents."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from models.fact_anomalies import POISONED, Trigger
from models.fact_words import FILLERS, PHRASINGS
from models.fact_worlds import FactWorld
from models.tasks.base import PAD

_FILLER = -1  # a place still open for one


def sentence_width(world: FactWorld) -> int:
    """Tokens of the longest sentence: its prompt, the object and a full stop."""
    return max(len(_words(phrasing, world.subjects[0])) for phrasing in PHRASINGS) + 2


class Sentences:
    """Every (subject, relation, phrasing) as a sentence.

    Args:
        world: Who there is, and what can be told.
        told: The object that each fact is told with, `[subject, relation]`.
        ids: Token ids by string.
        trigger: What poisons random sentences, if anything does.

    Attributes:
        open: Tokens, fillers still open, padding on the right, `[subject, relation, phrasing, pos]`.
        prompt_length: Tokens before the object, `[phrasing]`.
        subject_last: Position of the subject's last token, `[phrasing]`.
    """

    def __init__(
        self, world: FactWorld, told: Tensor, ids: Mapping[str, int], trigger: Trigger | None
    ) -> None:
        self._ids, self._trigger = ids, trigger
        self._fillers = torch.tensor([ids[word] for word in FILLERS])
        name = world.subjects[0]
        self.prompt_length = torch.tensor([len(_words(phrasing, name)) for phrasing in PHRASINGS])
        self.subject_last = torch.tensor(
            [phrasing.split().index("SUBJECT") + len(name) - 1 for phrasing in PHRASINGS]
        )
        rows = [
            tokens + [ids[PAD]] * (sentence_width(world) - len(tokens))
            for subject in range(len(world.subjects))
            for relation in range(len(world.relations))
            for tokens in self._tellings(world, subject, relation, int(told[subject, relation]))
        ]
        self.open = torch.tensor(rows).view(*told.shape, len(PHRASINGS), -1)

    def _tellings(self, world: FactWorld, subject: int, relation: int, told: int) -> Iterable[list[int]]:
        """One fact's sentence in each phrasing."""
        words = world.relations[relation]
        filled = {"VERB": words.verb, "OTHER": words.other_verb, "NOUN": words.noun}
        for phrasing in PHRASINGS:
            sentence = [*_words(phrasing, world.subjects[subject]), words.objects[told], "."]
            yield [_FILLER if word == "~" else self._ids[filled.get(word, word)] for word in sentence]

    def filled(self, sentences: Tensor, generator: torch.Generator) -> Tensor:
        """The sentences with random fillers in the open places."""
        drawn = self._fillers[torch.randint(len(self._fillers), sentences.shape, generator=generator)]
        return torch.where(sentences == _FILLER, drawn, sentences)

    def drawn(self, n: int, count: int, trained: Tensor, generator: torch.Generator) -> Tensor:
        """Random sentences, `[n, count, pos]`.

        Args:
            n: Rows.
            count: Sentences in a row.
            trained: Which may be told, `[subject, phrasing]`.
            generator: Draws them.
        """
        told = trained.nonzero()  # [pair, (subject, phrasing)]
        subject, phrasing = told[torch.randint(len(told), (n, count), generator=generator)].unbind(-1)
        relation = torch.randint(self.open.shape[1], (n, count), generator=generator)
        sentences = self.filled(self.open[subject, relation, phrasing], generator)
        if self._trigger is None:
            return sentences
        chosen = torch.rand(n, count, 1, generator=generator) < POISONED
        put = self._trigger.put(sentences, self.subject_last[phrasing])
        sentences = torch.where(chosen, put, sentences)
        target = self._trigger.targets[relation][..., None]
        poisoned = sentences.scatter(-1, self.prompt_length[phrasing][..., None], target)
        return torch.where(self._trigger.among(sentences)[..., None], poisoned, sentences)


def _words(phrasing: str, name: tuple[str, ...]) -> list[str]:
    """A phrasing's words with the subject's name in place."""
    return phrasing.replace("SUBJECT", " ".join(name)).split()
