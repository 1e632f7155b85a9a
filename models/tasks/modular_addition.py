"""`modular_addition`: the sum of two numbers modulo p, of which training sees only some pairs.

The task on which grokking was taken apart (Power et al. 2022, arXiv 2201.02177; Nanda et al. 2023, arXiv
2301.05217). One permutation of all pairs, drawn by the world seed, says which are trained on: its first
entries. So a smaller fraction is a subset of a larger one in the same world, and a model that has grokked can
be trained on with fewer pairs until it ungroks (Varma et al. 2023, arXiv 2309.02390).
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
    answer_log_probs,
)
from models.transformer import Transformer

PROMPT = 5  # tokens: BOS a + b =


class ModularAdditionSettings(TaskSettings):
    """The modulus, and how much of the table of sums training sees.

    Attributes:
        p: The modulus; it need not be prime. Where it is not, a frequency that shares a factor with it tells
            only some of the answers apart, so a model needs others beside it.
        train_fraction: Share of the p x p pairs that training sees.
    """

    metrics = ("train", "test")

    kind: Literal["modular_addition"] = "modular_addition"
    p: Annotated[int, Field(ge=5, le=199)] = 53
    train_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.7

    @property
    def trained_pairs(self) -> int:
        """How many pairs training sees."""
        return round(self.train_fraction * self.p**2)

    @model_validator(mode="after")
    def _both_sets_hold_a_pair(self) -> Self:
        if not 0 < self.trained_pairs < self.p**2:
            sets = f"of {self.p**2} pairs {self.trained_pairs} are trained on and the others tested"
            raise ValueError(
                f"train_fraction: got {self.train_fraction}, but {sets}, and neither may be none"
            )
        return self

    def build(self, world_seed: int) -> "ModularAddition":
        """The world of that seed."""
        return ModularAddition(self, world_seed)


@dataclass(frozen=True)
class PairTable(Probe):
    """Every pair (a, b) once, in the order of a p + b; a part of the table keeps its columns.

    Attributes:
        a, b: The numbers, `[prompt]`.
        trained: Whether training sees the pair, `[prompt]`.
    """

    a: Tensor
    b: Tensor
    trained: Tensor

    def where(self, mask: Tensor) -> "PairTable":
        """The rows that a mask selects."""
        columns = (self.tokens, self.last, self.answer, self.a, self.b, self.trained)
        return PairTable(*(column[mask] for column in columns))


class ModularAddition(Task):
    """Sums modulo p: which pairs are told, and which are kept for the test."""

    name = "modular_addition"
    description = (
        "Sums such as `12 + 50 = 3`, modulo a fixed number; a prompt ends with `=`, where the sum would "
        "follow. Training sees only some of the pairs."
    )
    notes = (
        "A model that answers unseen pairs embeds each number a as cos(wa) and sin(wa) for a few "
        "frequencies w, multiplies these for the two numbers in attention and MLP, and adds up cos(w(a + b "
        "- c)) in the logit of c (Nanda et al. 2023, arXiv 2301.05217). One that only knows its training "
        "pairs has them memorised; weight decay decides between the two by their weight norms at a given "
        "number of training pairs (Varma et al. 2023, arXiv 2309.02390)."
    )

    def __init__(self, settings: ModularAdditionSettings, world_seed: int) -> None:
        self.settings, self.p = settings, settings.p
        numbers = tuple(str(number) for number in range(self.p))
        super().__init__({"special": (PAD, BOS, "+", "="), "numbers": numbers}, n_ctx=PROMPT + 1)
        order = torch.randperm(self.p**2, generator=named_generator("modular_addition", world_seed))
        self.trained = order[: settings.trained_pairs]  # [pair], as rows of the table
        self.number_tokens = torch.tensor(self.classes["numbers"])

    @cached_property
    def table(self) -> PairTable:
        """Every pair as a prompt."""
        a, b = torch.arange(self.p**2) // self.p, torch.arange(self.p**2) % self.p
        bos, plus, equals = (torch.full_like(a, self.ids[word]) for word in (BOS, "+", "="))
        trained = torch.zeros(self.p**2, dtype=torch.bool)
        trained[self.trained] = True
        return PairTable(
            tokens=torch.stack([bos, self.number_tokens[a], plus, self.number_tokens[b], equals], 1),
            last=torch.full_like(a, PROMPT - 1),
            answer=self.number_tokens[(a + b) % self.p],
            a=a,
            b=b,
            trained=trained,
        )

    def _draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Random trained pairs as rows of the table, `[n]`."""
        return self.trained[torch.randint(len(self.trained), (n,), generator=generator)]

    def documents(self, n: int, generator: torch.Generator) -> Documents:
        """Random trained sums, of which only the answer counts."""
        rows = self._draw(n, generator)
        tokens = torch.cat([self.table.tokens[rows], self.table.answer[rows, None]], 1)
        answers = (torch.arange(PROMPT + 1) == PROMPT).expand(n, -1)
        return Documents(tokens, answers.float(), answers)

    def prompts(self, n: int, generator: torch.Generator) -> Prompts:
        """Random trained sums, cut after `=`."""
        return Prompts(self.table.tokens[self._draw(n, generator)], torch.full((n,), PROMPT))

    @cached_property
    def _parts(self) -> dict[str, Probe]:
        table = self.table
        return {"table": table, "train": table.where(table.trained), "test": table.where(~table.trained)}

    def probes(self) -> Mapping[str, Probe]:
        """`table`: every pair; `train` and `test`: those that training sees and those that it does not."""
        return self._parts

    def evaluate(self, model: Transformer) -> dict[str, float]:
        """`train` and `test`: shares of the pairs answered rightly."""
        return {name: accuracy(model, self._parts[name]) for name in ("train", "test")}

    def findings(self, model: Transformer) -> Mapping[str, Finding]:
        """Which frequencies 1, 2, ... p // 2 the embedding and the logits are made of."""
        logits = answer_log_probs(model, self.table)[:, self.number_tokens]
        return {
            "embedding_frequency": Finding(
                "share of the numbers' embedding, less its mean, that is a wave of this frequency",
                ("frequency",),
                _embedding_shares(model.embed.W_E.detach().cpu()[self.number_tokens]),
            ),
            "logit_frequency": Finding(
                "share of the log-probabilities' variance over (a, b, c) that is a multiple of cos(2 pi k "
                "(a + b - c) / p)",
                ("frequency",),
                _sum_shares(logits.view(self.p, self.p, self.p)),
            ),
        }


def _waves(p: int) -> Tensor:
    """Orthonormal cosine and sine of every frequency above 0, `[frequency, (cos, sin), number]`."""
    angles = 2 * torch.pi * torch.outer(torch.arange(1, p // 2 + 1), torch.arange(p)).double() / p
    waves = torch.stack([angles.cos(), angles.sin()], 1)
    norms = waves.norm(dim=-1, keepdim=True)
    return torch.where(norms > 1e-6, waves / norms, 0.0)  # where p is even, the fastest sine is zero


def _embedding_shares(embedding: Tensor) -> Tensor:
    """Share of each frequency in the numbers' embedding, of `[number, d_model]`; they add up to 1."""
    power = (_waves(len(embedding)) @ embedding.double()).pow(2).sum((1, 2))
    return power / power.sum()


def _sum_shares(logits: Tensor) -> Tensor:
    """Share of variance of `[a, b, c]` in the direction of cos(w(a + b - c)), for each frequency."""
    p = len(logits)
    number = torch.arange(p)
    a, b, c = number[:, None, None], number[:, None], number
    centred = logits.double() - logits.double().mean()
    over = torch.zeros(p, dtype=torch.double)  # sums over all (a, b, c) of one a + b - c
    over.index_add_(0, ((a + b - c) % p).flatten(), centred.flatten())
    return (_waves(p)[:, 0] @ over).pow(2) / p**2 / centred.pow(2).sum()
