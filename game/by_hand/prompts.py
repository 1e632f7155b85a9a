"""Prompts in words: drawn, made from others, or spelt out; and what is told of each of them."""

import re
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from game.api import Samples
from game.by_hand.menu import Form
from game.by_hand.subject import ToolSubject
from game.by_hand.values import Values, WordsError, named, number, whole
from models.naming import quoted

PROMPTS, SAMPLES = 8, 256  # how many are drawn where none are given
SPARE = 8  # times as many are drawn, to choose those of one length
NEAR = 256  # public prompts among which the nearest are looked for
_DRAWN = re.compile(r"(sample|affected)(?::(\d+))?|(having):([^:]+)(?::(\d+))?")


class PromptReader:
    """Reads prompts one argument after another; what concerns each of them refers to the prompts before.

    Args:
        subject: Has the public prompts, and the model whose answers some words stand for.
        values: Reads single words.
        seed: Of drawn prompts.

    Attributes:
        made: What was read so far.
    """

    def __init__(self, subject: ToolSubject, values: Values, seed: int) -> None:
        self._subject, self._values, self._seed = subject, values, seed
        self.made: list[Samples] = []

    def sequences(self, words: Sequence[str] | None, count: int, even: bool) -> Samples:
        """Prompts drawn, prompts made from those before, or these texts.

        Args:
            words: What was given; None draws.
            count: How many are drawn where no number is given.
            even: Whether drawn ones are to have one length, as a tool wants that takes no lengths.

        Raises:
            WordsError: The words stand for no prompts.
        """
        words = words or ["sample"]
        drawn = _DRAWN.fullmatch(words[0]) if len(words) == 1 else None
        if drawn is not None:
            source, word = drawn[1] or drawn[3], drawn[4]
            most = int(drawn[2] or drawn[5] or count)
            if most < 1:
                raise WordsError(f"got {quoted(words[0])}; wanted 1 prompt or more")
            found = self._drawn(source, word, most, even)
        elif words[0] == "nearest" or words[0].startswith("swap:"):
            if not self.made:
                raise WordsError(f"{words[0]}: wanted prompts before it, from which these are made")
            found = self._nearest() if words[0] == "nearest" else self._swapped(words)
        else:
            found = self._spoken(words)
        self.made.append(found)
        return found

    def of_each(self, form: Form, words: Sequence[str]) -> Tensor:
        """One number for each of the first prompts; a single one is for all.

        Raises:
            WordsError: No prompts were read, or the words say nothing of each of them.
        """
        if not self.made:
            raise WordsError("wanted prompts before it")
        asked = self.made[0]
        rows, wide = asked.tokens.shape
        parts = [part for text in words for part in re.split(r"[ ,]+", text) if part]
        kind, _, rest = words[0].partition(":")
        if form == "label of each" and kind == "has":
            return (asked.tokens == self._values.token(rest)).any(1).long()
        if form == "label of each" and kind == "says":
            return self._says(asked, rest)
        if form == "label of each" and kind == "in":
            return self._among(asked, rest)
        if form == "group of each" and kind == "at":
            return asked.tokens[:, whole(rest, wide)].contiguous()
        if form == "group of each" and kind == "of":
            return self._word_of(asked, rest)
        if len(parts) not in (1, rows):
            raise WordsError(f"got {len(parts)}; wanted one for all, or one for each of {rows} prompts")
        if form == "token of each":
            found = [self._values.token(part) for part in parts]
        elif form == "position of each":
            found = [whole(part, wide) for part in parts]
        else:
            found = [number(part, int, "a whole number") for part in parts]
        return torch.tensor(found).expand(rows).clone()

    def answers(self, asked: Samples) -> Tensor:
        """The model's top token after each prompt."""
        return self._last_logits(asked).argmax(-1)

    def _drawn(self, source: str, word: str | None, count: int, even: bool) -> Samples:
        """Public prompts, all or those with a word, or those that the edit is about.

        Args:
            source: `sample`, `having` or `affected`.
            word: Of `having`.
            count: How many, at most.
            even: As above.
        """
        found = self._subject.affected
        if source != "affected":
            found = self._subject.box.sample(count * (SPARE if even or word else 1), self._seed)
        if found is None:
            raise WordsError("affected: wanted --edit, which says what is affected")
        fits = torch.ones(len(found.lengths), dtype=torch.bool)
        if word is not None:
            fits = (found.tokens == self._values.token(word)).any(1)
        if even and bool(fits.any()):
            fits &= found.lengths == found.lengths[fits][: SPARE * count].mode().values
        chosen = fits.nonzero()[:count, 0]
        if not len(chosen):
            raise WordsError(f"{source}: none of {len(fits)} public prompts has {quoted(word or '')}")
        return _cut(Samples(found.tokens[chosen], found.lengths[chosen]))

    def _swapped(self, words: Sequence[str]) -> Samples:
        """The prompts before with words exchanged: `swap:Ada=Bela`, several times if need be."""
        asked = self.made[-1]
        tokens = asked.tokens.clone()
        for word in words:
            old, _, new = word.removeprefix("swap:").partition("=")
            tokens[asked.tokens == self._values.token(old)] = self._values.token(new)
        return Samples(tokens, asked.lengths)

    def _nearest(self) -> Samples:
        """The public prompts, one for each before, that differ least and are answered otherwise."""
        asked, public = self.made[-1], self._subject.box.sample(NEAR, self._seed)
        answers, others = self.answers(asked), self.answers(public)
        length = asked.tokens.shape[1]
        width = max(length, public.tokens.shape[1])
        one, other = (_padded(each.tokens, width, self._subject.task.pad) for each in (asked, public))
        distance = (one[:, None] != other).sum(-1)  # [prompt, public]
        fits = (asked.lengths[:, None] == public.lengths) & (answers[:, None] != others)
        if not bool(fits.any(1).all()):
            raise WordsError(f"nearest: none of {NEAR} public prompts of that length is answered otherwise")
        chosen = torch.where(fits, distance, width + 1).argmin(1)
        return Samples(other[chosen][:, :length], asked.lengths)

    def _last_logits(self, asked: Samples) -> Tensor:
        """What the model says after each prompt, `[prompt, d_vocab]`; a forward pass for each."""
        box = self._subject.box
        logits = torch.cat([box.logits(part) for part in torch.split(asked.tokens, box.budget.max_rows)])
        return logits[torch.arange(len(logits)), asked.lengths - 1]

    def _spoken(self, texts: Sequence[str]) -> Samples:
        """Texts as token ids, each with the first token of every sequence before it.

        A class in angle brackets stands for its words, one after another: `<numbers> + <numbers> =` are as
        many prompts as there are pairs of numbers.
        """
        task = self._subject.task
        rows = [
            list(row)
            for text in texts
            for row in product(
                *(self._values.of_class(word) or (self._values.token(word),) for word in text.split())
            )
        ]
        if not all(rows):
            raise WordsError("got an empty prompt; wanted words of the vocabulary")
        rows = [row if row[0] == task.bos else [task.bos, *row] for row in rows]
        wide = max(map(len, rows))
        tokens = torch.tensor([row + [task.pad] * (wide - len(row)) for row in rows])
        return Samples(tokens, torch.tensor(list(map(len, rows))))

    def _says(self, asked: Samples, words: str) -> Tensor:
        """Whether the model's answer is this word, or of `this/that` the likelier one is this, 0 or 1."""
        first, _, second = words.partition("/")
        if not second:
            return (self.answers(asked) == self._values.token(first)).long()
        logits = self._last_logits(asked)
        return (logits[:, self._values.token(first)] > logits[:, self._values.token(second)]).long()

    def _among(self, asked: Samples, source: str) -> Tensor:
        """Whether each prompt is among the public ones, 0 or 1."""
        drawn = re.fullmatch(r"sample:(\d+)", source)
        if drawn is None:
            raise WordsError(f"got {quoted('in:' + source)}; wanted in:sample:N, N public prompts")
        public = self._subject.box.sample(int(drawn[1]), self._seed)
        known = {
            tuple(row[:n]) for row, n in zip(public.tokens.tolist(), public.lengths.tolist(), strict=True)
        }
        rows = zip(asked.tokens.tolist(), asked.lengths.tolist(), strict=True)
        return torch.tensor([int(tuple(row[:n]) in known) for row, n in rows])

    def _word_of(self, asked: Samples, name: str) -> Tensor:
        """The first word of a class that each prompt has."""
        classes = self._subject.task.classes
        belongs = torch.isin(asked.tokens, torch.tensor(classes[named("class", name, classes)]))
        if not bool(belongs.any(1).all()):
            row = int((~belongs.any(1)).nonzero()[0])
            raise WordsError(f"of:{name}: prompt {row} has none of its words")
        return asked.tokens.gather(1, belongs.int().argmax(1, keepdim=True))[:, 0]


def _cut(samples: Samples) -> Samples:
    """The same without columns that hold nothing but padding."""
    return Samples(samples.tokens[:, : int(samples.lengths.max())], samples.lengths)


def _padded(tokens: Tensor, width: int, pad: int) -> Tensor:
    return torch.nn.functional.pad(tokens, (0, width - tokens.shape[1]), value=pad)
