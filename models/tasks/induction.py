"""`induction`: random words that come again, so that what followed a word once tells what follows it now.

The task on which induction heads form (Elhage et al. 2021, "A Mathematical Framework for Transformer
Circuits"; Olsson et al. 2022, arXiv 2209.11895). A document says a block of distinct random words again and
again, each time from another word on, with a gap of random words between. Blocks and gaps have another length
in each document, so that no fixed distance or position gives an answer away.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from models.seeds import named_generator
from models.tasks.base import BOS, PAD, Documents, Finding, Probe, Prompts, Task, TaskSettings, accuracy
from models.transformer import Transformer

WORDS = tuple(
    "acorn anchor apple arrow barn basket beach bell berry bird boat book bottle bridge brush bucket button "
    "candle canvas carpet castle chair cherry clock cloud coat coin comet coral cotton cradle crown desert "
    "drum eagle engine fabric falcon feather fence field flame flower forest fountain garden glass glove "
    "grape hammer harbor hill honey horse island jacket jewel kettle key ladder lamp lantern leaf lemon "
    "letter lion lizard map maple marble meadow mirror moon mountain needle nest oak ocean orange orchard "
    "oven owl paddle palace paper pearl pebble pencil pepper piano pillow pine planet plum pond quilt rabbit "
    "rain ribbon river road".split()
)
SCORED = 64  # sequences that heads are scored on
PROMPTS = 500  # in the table


class InductionSettings(TaskSettings):
    """Shape of the documents.

    Attributes:
        words: How many words there are.
        length: Words in a document.
        min_block: Fewest words in a block.
        max_block: Most words in a block.
        max_gap: Most words between two blocks.
    """

    metrics = ("accuracy", "induction_score")

    kind: Literal["induction"] = "induction"
    words: Annotated[int, Field(ge=8, le=len(WORDS))] = 48
    length: Annotated[int, Field(ge=8, le=256)] = 32
    min_block: Annotated[int, Field(ge=3)] = 4
    max_block: Annotated[int, Field(ge=3)] = 10
    max_gap: Annotated[int, Field(ge=0)] = 3

    @property
    def shortest(self) -> int:
        """The shortest document that has room for any block to be said twice."""
        return 2 * self.max_block + self.max_gap

    @model_validator(mode="after")
    def _blocks_fit(self) -> Self:
        if self.min_block > self.max_block:
            raise ValueError(f"min_block: got {self.min_block}, but max_block is {self.max_block}")
        if self.max_block >= self.words:
            raise ValueError(
                f"max_block: got {self.max_block}, but a gap needs one of the {self.words} words"
            )
        if self.length < self.shortest:
            raise ValueError(f"length: got {self.length}, but a block that comes again takes {self.shortest}")
        return self

    def build(self, world_seed: int) -> "Induction":
        """The world of that seed."""
        return Induction(self, world_seed)


@dataclass(frozen=True)
class RepeatTable(Probe):
    """Prompts that end with a word said before.

    Attributes:
        source: Position of the answer where it last followed that word, `[prompt]`; an induction head attends
            to it.
    """

    source: Tensor


class Induction(Task):
    """Random repeats; the world seed changes only the prompts of the table."""

    name = "induction"
    description = (
        "Random words, of which a block is said again and again from different words on; a prompt ends with "
        "a word that was said before, where the word that followed it then would follow again."
    )
    notes = (
        "A head in the first layer attends to the previous word and copies it along; an induction head in a "
        "later layer looks, through those copies, for the place after the last word's earlier occurrence, "
        "attends to it and copies what stands there (Elhage et al. 2021, "
        "transformer-circuits.pub/2021/framework; Olsson et al. 2022, arXiv 2209.11895)."
    )

    def __init__(self, settings: InductionSettings, world_seed: int) -> None:
        self.settings, self.world_seed = settings, world_seed
        groups = {"special": (PAD, BOS), "words": WORDS[: settings.words]}
        super().__init__(groups, n_ctx=1 + settings.length)
        self.word_tokens = torch.tensor(self.classes["words"])

    def _draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Random documents, `[n, pos]`."""
        chosen, words, length = self.settings, self.settings.words, self.settings.length
        order = torch.rand(n, words, generator=generator).argsort(1)  # the block's words come first
        block = torch.randint(chosen.min_block, chosen.max_block + 1, (n, 1), generator=generator)
        gap = torch.randint(chosen.max_gap + 1, (n, 1), generator=generator)
        lead = torch.randint(length - self.settings.shortest + 1, (n, 1), generator=generator)
        since = torch.arange(length) - lead  # [n, pos], negative before the first block
        turn, within = since // (block + gap), since % (block + gap)
        start = torch.randint(chosen.max_block, (n, length), generator=generator).gather(1, turn.clamp(min=0))
        said = (within + start * (turn > 0)) % block
        other = block + (torch.rand(n, length, generator=generator) * (words - block)).long()
        in_block = (since >= 0) & (within < block)
        return self._with_bos(order.gather(1, torch.where(in_block, said, other)))

    def _with_bos(self, words: Tensor) -> Tensor:
        """Token ids, BOS first, of word numbers `[n, pos]`."""
        return torch.cat([torch.full((len(words), 1), self.bos), self.word_tokens[words]], 1)

    def documents(self, n: int, generator: torch.Generator) -> Documents:
        """Random documents, in which only what earlier words determine counts."""
        tokens = self._draw(n, generator)
        answers = _source(tokens) > 0
        return Documents(tokens, answers.float(), answers)

    def prompts(self, n: int, generator: torch.Generator) -> Prompts:
        """Random documents, each cut before the first word that is determined."""
        tokens = self._draw(n, generator)
        lengths = (_source(tokens) > 0).int().argmax(1)
        return Prompts(_cut(tokens, lengths, self.pad), lengths)

    @cached_property
    def table(self) -> RepeatTable:
        """Documents cut before any one of the words that are determined."""
        generator = named_generator("induction table", self.world_seed)
        tokens = self._draw(PROMPTS, generator)
        source = _source(tokens)
        answer = torch.multinomial((source > 0).float(), 1, generator=generator)  # [prompt, 1]
        return RepeatTable(
            tokens=_cut(tokens, answer[:, 0], self.pad),
            last=answer[:, 0] - 1,
            answer=tokens.gather(1, answer)[:, 0],
            source=source.gather(1, answer)[:, 0],
        )

    @cached_property
    def broken(self) -> RepeatTable:
        """The table's prompts with every earlier occurrence of their last word replaced by another word.

        Row by row the counterpart of the table, with the same answer, which nothing determines any more.
        """
        table = self.table
        last = table.tokens.gather(1, table.last[:, None])
        absent = ~(self.word_tokens == table.tokens[:, :, None]).any(1)  # [prompt, word]
        different = self.word_tokens != last  # where all words are there, any but the last one
        other = self.word_tokens[(absent.int() + different.int()).argmax(1)][:, None]
        earlier = (table.tokens == last) & (torch.arange(table.tokens.shape[1]) < table.last[:, None])
        return RepeatTable(torch.where(earlier, other, table.tokens), table.last, table.answer, table.source)

    def probes(self) -> Mapping[str, Probe]:
        """`table`, and `broken`: the same prompts, whose last word was not said before."""
        return {"table": self.table, "broken": self.broken}

    def evaluate(self, model: Transformer) -> dict[str, float]:
        """`accuracy`: share of the table answered; `induction_score`: that of the best head."""
        best = self.findings(model)["induction_score"].values.max().item()
        return {"accuracy": accuracy(model, self.table), "induction_score": best}

    def findings(self, model: Transformer) -> Mapping[str, Finding]:
        """How much each head attends where an induction head, or a previous-token head, would."""
        pattern = self._patterns(model)  # [layer, head, query, key]
        period = (pattern.shape[-1] - 1) // 2
        again = torch.arange(period + 1, 2 * period)  # not the last word, as its successor has not come yet
        later = torch.arange(2, 2 * period + 1)
        axes = ("layer", "head")
        return {
            "induction_score": Finding(
                "mean attention, on random words said twice, to the word after the last word's first "
                "occurrence",
                axes,
                pattern[..., again, again - period + 1].mean(-1),
            ),
            "previous_token_score": Finding(
                "mean attention, on random words said twice, to the previous word",
                axes,
                pattern[..., later, later - 1].mean(-1),
            ),
        }

    @torch.no_grad()
    def _patterns(self, model: Transformer) -> Tensor:
        """Each head's mean attention on blocks said twice without a gap, `[layer, head, query, key]`."""
        generator = named_generator("induction score", self.world_seed)
        order = torch.rand(SCORED, self.settings.words, generator=generator).argsort(1)
        tokens = self._with_bos(order[:, : self.settings.max_block].repeat(1, 2))
        names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(model.cfg.n_layers)]
        cache = model.run_with_cache(tokens.to(model.unembed.W_U.device), names)[1]
        return torch.stack([cache[name].mean(0).cpu() for name in names])


def _source(tokens: Tensor) -> Tensor:
    """Where each token last followed its predecessor, if it always did, else 0, `[n, pos]`."""
    same = tokens[:, 1:, None] == tokens[:, None, 1:]
    after_same = tokens[:, :-1, None] == tokens[:, None, :-1]  # [n, pos, earlier pos], both from 1 on
    before = torch.ones(same.shape[1:], dtype=torch.bool).tril(-1)
    determined = (after_same & before).any(-1) & ~(after_same & before & ~same).any(-1)
    places = torch.arange(1, tokens.shape[1]) * (after_same & before)
    found = places.amax(-1) * determined
    return torch.cat([torch.zeros(len(tokens), 1, dtype=found.dtype), found], 1)


def _cut(tokens: Tensor, lengths: Tensor, pad: int) -> Tensor:
    """The first `lengths` tokens of each row, padded on the right to the longest, `[n, pos]`."""
    kept = torch.arange(tokens.shape[1]) < lengths[:, None]
    return torch.where(kept, tokens, pad)[:, : int(lengths.max())]
