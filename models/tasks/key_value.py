"""`key_value`: pairs of a key and a value, bound anew in every document, then keys that ask for values.

In-context recall: nothing but the document tells a key's value. The task is multi-query associative recall
(Arora et al. 2023, "Zoology", arXiv 2312.04927) and needs what induction heads do (Olsson et al. 2022, arXiv
2209.11895). Some combinations of a key and a value never occur in training, so that recall of them shows a
lookup and not a memorised pair of words.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from models.seeds import named_generator
from models.tasks.base import (
    BOS,
    PAD,
    Documents,
    Finding,
    Probe,
    Prompts,
    Task,
    TaskSettings,
    accuracy,
    joined,
)
from models.transformer import Transformer

KEYS = tuple(
    "amber birch cedar daisy ebony fern ginger hazel iris jasmine kelp lotus maple nettle olive pine "
    "quince rowan sage thyme umber violet willow yarrow aspen beech clover dill elder flax garnet "
    "holly".split()
)
ROWS = 600  # prompts in each probe


class KeyValueSettings(TaskSettings):
    """Shape of the documents.

    Attributes:
        keys: How many keys there are.
        values: How many values there are, numbers from 0.
        pairs: Most pairs in a document.
        fewest_pairs: Fewest pairs in a document.
        queries: Keys that a document asks for, all different; all of them where it has fewer.
        heldout: Share of each key's values that training never binds it to.
        other_weight: Loss weight of every token that is not an answer.
    """

    metrics = ("accuracy", "long", "heldout")

    kind: Literal["key_value"] = "key_value"
    keys: Annotated[int, Field(ge=2, le=len(KEYS))] = 24
    values: Annotated[int, Field(ge=2, le=40)] = 16
    pairs: Annotated[int, Field(ge=2, le=len(KEYS))] = 10
    fewest_pairs: Annotated[int, Field(ge=1, le=len(KEYS))] = 2
    queries: Annotated[int, Field(ge=1, le=len(KEYS))] = 6
    heldout: Annotated[float, Field(gt=0, le=0.5)] = 0.125
    other_weight: Annotated[float, Field(ge=0, le=1)] = 0.1

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.pairs > self.keys:
            raise ValueError(f"pairs: got {self.pairs}, but there are only {self.keys} keys")
        if self.fewest_pairs > self.pairs:
            raise ValueError(
                f"fewest_pairs: got {self.fewest_pairs}, but there are at most {self.pairs} pairs"
            )
        if self.queries > self.pairs:
            raise ValueError(f"queries: got {self.queries}, but a document has at most {self.pairs} pairs")
        if not self.heldout_values:
            raise ValueError(f"heldout: got {self.heldout}, but that is no whole value of {self.values}")
        return self

    @property
    def heldout_values(self) -> int:
        """How many values training never binds a key to, the same number for each key."""
        return int(self.heldout * self.values)

    def build(self, world_seed: int) -> "KeyValue":
        """The world of that seed."""
        return KeyValue(self, world_seed)


@dataclass(frozen=True)
class Bindings:
    """Drawn documents as ids, before they are put into words.

    Attributes:
        keys: Distinct keys in random order, `[document, pair]`.
        values: Each one's value, `[document, pair]`.
        count: How many of the pairs the document tells, `[document]`.
    """

    keys: Tensor
    values: Tensor
    count: Tensor


@dataclass(frozen=True)
class Recall(Probe):
    """Documents that end in one query.

    Attributes:
        pairs: How many pairs the document tells, `[prompt]`.
        value_at: Position of the value that is asked for, `[prompt]`; its key is one before it.
    """

    pairs: Tensor
    value_at: Tensor


class KeyValue(Task):
    """Which key and value never meet in training; all else is drawn anew for each document."""

    name = "key_value"
    description = (
        "Each document binds words to numbers at random and then asks for some of the words; after '?' and a "
        "word, its number follows."
    )
    notes = (
        "Recall by an induction circuit (Olsson et al. 2022, arXiv 2209.11895): heads of the first layer "
        "copy each key to the value after it, and heads of a later layer look from the asked key to the "
        "value that carries it. The findings say which heads those are; a head that looks from the asked "
        "key to its earlier occurrence is the other half of a second way, by position."
    )

    def __init__(self, settings: KeyValueSettings, world_seed: int) -> None:
        self.settings, self.world_seed = settings, world_seed
        words = {
            "special": (PAD, BOS, "?"),
            "keys": KEYS[: settings.keys],
            "values": tuple(map(str, range(settings.values))),
        }
        super().__init__(words, n_ctx=1 + 2 * settings.pairs + 3 * settings.queries)
        self._ask = self.ids["?"]
        self.key_tokens, self.value_tokens = (torch.tensor(self.classes[name]) for name in ("keys", "values"))
        generator = named_generator("key_value", world_seed)
        order = torch.rand(settings.keys, settings.values, generator=generator).argsort(1)
        self.heldout_values = order[:, : settings.heldout_values]  # [key, value]
        self.trained_values = order[:, settings.heldout_values :]  # [key, value]

    def _draw(self, n: int, fewest_pairs: int, generator: torch.Generator) -> Bindings:
        """Random bindings as in training, of at least so many pairs."""
        most, n_trained = self.settings.pairs, self.trained_values.shape[1]
        keys = torch.rand(n, self.settings.keys, generator=generator).argsort(1)[:, :most]
        values = self.trained_values[keys, torch.randint(n_trained, keys.shape, generator=generator)]
        return Bindings(keys, values, torch.randint(fewest_pairs, most + 1, (n,), generator=generator))

    def _told(self, bindings: Bindings) -> Tensor:
        """BOS and the pairs in words, padding on the right, `[document, pos]`."""
        words = torch.stack([self.key_tokens[bindings.keys], self.value_tokens[bindings.values]], -1)
        told = torch.arange(words.shape[1]) < bindings.count[:, None]
        pairs = words.masked_fill(~told[..., None], self.pad).flatten(1)
        return torch.cat([torch.full((len(pairs), 1), self.bos), pairs], 1)

    def documents(self, n: int, generator: torch.Generator) -> Documents:
        """Random documents with their queries, each answered."""
        bindings = self._draw(n, self.settings.fewest_pairs, generator)
        told = torch.arange(self.settings.pairs) < bindings.count[:, None]
        order = torch.rand(told.shape, generator=generator).masked_fill(~told, 2.0).argsort(1)
        asked = order[:, : self.settings.queries]  # [document, query]
        key = self.key_tokens[bindings.keys.gather(1, asked)]
        value = self.value_tokens[bindings.values.gather(1, asked)]
        queries = torch.stack([torch.full_like(key, self._ask), key, value], -1)  # [document, query, word]
        queries = queries.masked_fill(~told[:, : self.settings.queries, None], self.pad)
        tokens = joined([self._told(bindings), queries.flatten(1)], self.pad)
        answers = ((tokens == self._ask).cumsum(1) > 0) & torch.isin(tokens, self.value_tokens)
        weight = torch.where(answers, 1.0, self.settings.other_weight)
        return Documents(tokens, weight * (tokens != self.pad) * (tokens != self.bos), answers)

    def _recall(self, bindings: Bindings, asked: Tensor) -> Recall:
        """Documents that end by asking for one pair, `[document]`."""
        rows = torch.arange(len(asked))
        query = torch.stack(
            [torch.full_like(asked, self._ask), self.key_tokens[bindings.keys[rows, asked]]], 1
        )
        return Recall(
            tokens=joined([self._told(bindings), query], self.pad),
            last=2 * bindings.count + 2,
            answer=self.value_tokens[bindings.values[rows, asked]],
            pairs=bindings.count,
            value_at=2 * asked + 2,
        )

    def prompts(self, n: int, generator: torch.Generator) -> Prompts:
        """Random documents up to their first query; what they tell is bound in them alone."""
        drawn = self._draw_recall(n, self.settings.fewest_pairs, generator)
        return Prompts(drawn.tokens, drawn.last + 1)

    def _draw_recall(self, n: int, fewest_pairs: int, generator: torch.Generator) -> Recall:
        bindings = self._draw(n, fewest_pairs, generator)
        return self._recall(bindings, _any_of(bindings.count, generator))

    @cached_property
    def table(self) -> Recall:
        """Documents as in training that ask for one of their pairs."""
        generator = named_generator("key_value table", self.world_seed)
        return self._draw_recall(ROWS, self.settings.fewest_pairs, generator)

    @cached_property
    def long(self) -> Recall:
        """Documents of the most pairs."""
        generator = named_generator("key_value long", self.world_seed)
        return self._draw_recall(ROWS, self.settings.pairs, generator)

    @cached_property
    def heldout(self) -> Recall:
        """Documents that ask for a key with a value to which training never binds it."""
        generator = named_generator("key_value heldout", self.world_seed)
        bindings = self._draw(ROWS, self.settings.fewest_pairs, generator)
        rows, asked = torch.arange(ROWS), _any_of(bindings.count, generator)
        n_heldout = self.heldout_values.shape[1]
        pick = torch.randint(n_heldout, (ROWS,), generator=generator)
        bindings.values[rows, asked] = self.heldout_values[bindings.keys[rows, asked], pick]
        return self._recall(bindings, asked)

    def probes(self) -> Mapping[str, Probe]:
        """`table`; `long`: the most pairs; `heldout`: the asked pair never occurs in training."""
        return {"table": self.table, "long": self.long, "heldout": self.heldout}

    def evaluate(self, model: Transformer) -> dict[str, float]:
        """Shares of right values: `accuracy` on the table, `long` and `heldout` on those probes."""
        return {
            "accuracy": accuracy(model, self.table),
            "long": accuracy(model, self.long),
            "heldout": accuracy(model, self.heldout),
        }

    def findings(self, model: Transformer) -> Mapping[str, Finding]:
        """Attention of each head along the paths of recall, on the table."""
        probe, rows = self.table, torch.arange(ROWS)
        _, cache = model.run_with_cache(
            probe.tokens.to(model.unembed.W_U.device), lambda name: name.endswith("attn.hook_pattern")
        )
        pattern = torch.stack([*cache.values()]).cpu()  # [layer, prompt, head, query, key]
        measured = {
            "value": ("The head looks from the asked key to the value it was bound to.", probe.last, 0),
            "key": ("The head looks from the asked key to where that key was bound.", probe.last, 1),
            "binding": ("The head looks from a bound value to the key before it.", probe.value_at, 1),
        }
        axes = ("layer", "head")
        return {
            f"{name}_attention": Finding(
                meaning, axes, pattern[:, rows, :, query, probe.value_at - back].mean(0)
            )
            for name, (meaning, query, back) in measured.items()
        }


def _any_of(count: Tensor, generator: torch.Generator) -> Tensor:
    """A random number below each count."""
    return (torch.rand(len(count), generator=generator) * count).long()
