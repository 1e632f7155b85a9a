"""`brackets`: sequences of brackets, each followed by the verdict whether it is balanced.

Dyck languages of bounded depth, as in Wen et al. 2023 ("Transformers are uninterpretable with myopic methods:
a case study with bounded Dyck grammars", arXiv 2312.01429), with the question of the balanced-bracket
classifier in the interpretability exercises of Redwood Research and ARENA. Half of the sequences are
balanced; each of the others is a balanced one with the smallest change that spoils it in one way, so that no
count alone tells.
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
    answer_log_probs,
    joined,
)
from models.transformer import Transformer

OPENING, CLOSING = ("(", "["), (")", "]")
ROWS = 1000  # prompts in the table
BALANCED, WRONG_COUNT, NEGATIVE_ELEVATION, WRONG_TYPE = range(4)
WAYS = ("balanced", "wrong_count", "negative_elevation", "wrong_type")


class BracketsSettings(TaskSettings):
    """Shape of the sequences.

    Attributes:
        types: Kinds of brackets: `( )`, or `( )` and `[ ]`; with two, a sequence may also be wrong in that a
            bracket is closed by the other kind.
        shortest: Fewest brackets in a sequence, even.
        longest: Most brackets in a sequence, even.
        depth: Most brackets open at once in a balanced sequence.
        other_weight: Loss weight of every token that is not a verdict.
    """

    metrics = ("accuracy", "worst")

    kind: Literal["brackets"] = "brackets"
    types: Literal[1, 2] = 1
    shortest: Annotated[int, Field(ge=4, le=60, multiple_of=2)] = 4
    longest: Annotated[int, Field(ge=4, le=60, multiple_of=2)] = 30
    depth: Annotated[int, Field(ge=1, le=30)] = 6
    other_weight: Annotated[float, Field(ge=0, le=1)] = 0.05

    @model_validator(mode="after")
    def _some_lengths(self) -> Self:
        if self.shortest > self.longest:
            raise ValueError(f"shortest: got {self.shortest}, but the longest has {self.longest} brackets")
        return self

    def build(self, world_seed: int) -> "Brackets":
        """The world of that seed."""
        return Brackets(self, world_seed)


@dataclass(frozen=True)
class Sequences:
    """Brackets as they are drawn, before they are put into words.

    Attributes:
        closing: Whether each bracket closes, `[sequence, bracket]`.
        type: Each bracket's kind, `[sequence, bracket]`.
        told: Which columns are within the sequence, `[sequence, bracket]`.
    """

    closing: Tensor
    type: Tensor
    told: Tensor

    @property
    def elevation(self) -> Tensor:
        """Brackets open after each one, negative after too many closings, `[sequence, bracket]`."""
        return torch.where(self.closing, -1, 1).mul(self.told).cumsum(1)


@dataclass(frozen=True)
class BracketTable(Probe):
    """Sequences, and what is wrong with them.

    Attributes:
        way: Index in `WAYS`: balanced, or the way in which it was spoiled, `[prompt]`.
        inside: Which positions hold brackets, `[prompt, pos]`.
        elevation: Brackets open after each position, `[prompt, pos]`.
    """

    way: Tensor
    inside: Tensor
    elevation: Tensor


class Brackets(Task):
    """Balanced and unbalanced sequences; worlds differ in the prompts of their probes alone."""

    name = "brackets"
    description = "Brackets, then '?', then the verdict whether they are balanced."
    notes = (
        "Attention that is even over opening and closing brackets yields each position's elevation, the "
        "number of brackets open; the verdict needs that it ends at zero and never was negative (the "
        "balanced-bracket classifier of ARENA's exercises). The findings say where elevation can be read "
        "off. Attention patterns need not show it: Wen et al. 2023 (arXiv 2312.01429) prove that "
        "transformers can recognise bounded Dyck languages with very different patterns, almost even ones "
        "among them."
    )

    def __init__(self, settings: BracketsSettings, world_seed: int) -> None:
        self.settings, self.world_seed = settings, world_seed
        words = {
            "special": (PAD, BOS, "?"),
            "opening": OPENING[: settings.types],
            "closing": CLOSING[: settings.types],
            "verdicts": ("balanced", "unbalanced"),
        }
        super().__init__(words, n_ctx=settings.longest + 3)
        self.bracket_tokens = torch.tensor([self.classes["opening"], self.classes["closing"]])
        self.verdict_tokens = torch.tensor(self.classes["verdicts"])
        self._chances = _chances_to_open(settings.longest, settings.depth)

    def _balanced(self, n: int, generator: torch.Generator) -> Sequences:
        """Balanced sequences: all even lengths, and all sequences of a length, equally likely."""
        longest = self.settings.longest
        halves = torch.randint(self.settings.shortest // 2, longest // 2 + 1, (n,), generator=generator)
        length, open_now = 2 * halves, torch.zeros(n, dtype=torch.long)
        closing = torch.empty(n, longest, dtype=torch.bool)
        draws = torch.rand(n, longest, generator=generator)
        for bracket in range(longest):
            left = (length - bracket).clamp(min=0)
            closing[:, bracket] = draws[:, bracket] >= self._chances[left, open_now]
            open_now = (open_now + torch.where(closing[:, bracket], -1, 1)).clamp(min=0)
        type_of_opening = torch.randint(self.settings.types, closing.shape, generator=generator)
        sequences = Sequences(closing, type_of_opening, torch.arange(longest) < length[:, None])
        return sequences if self.settings.types == 1 else _with_types_matched(sequences)

    def _draw(self, n: int, generator: torch.Generator) -> tuple[Sequences, Tensor]:
        """Sequences of which half are balanced, and the way of each, `[sequence]`."""
        spoiled = torch.rand(n, generator=generator) < 0.5
        way = torch.randint(1, 2 + self.settings.types, (n,), generator=generator) * spoiled
        drawn = self._balanced(n, generator)
        closing, type_ = drawn.closing.clone(), drawn.type.clone()
        flipped = _any_of(drawn.told, generator) & (way == WRONG_COUNT)[:, None]
        swapped = _wrong_order(drawn, generator) & (way == NEGATIVE_ELEVATION)[:, None]
        closing ^= flipped | swapped
        if self.settings.types == 2:
            type_ ^= _wrong_types(drawn, generator) & (way == WRONG_TYPE)[:, None]
        return Sequences(closing, type_, drawn.told), way

    def _prompts(self, sequences: Sequences) -> Tensor:
        """BOS, the brackets and '?', padding on the right, `[prompt, pos]`."""
        words = self.bracket_tokens[sequences.closing.long(), sequences.type]
        edge = torch.ones(len(words), 1, dtype=torch.long)
        parts = [edge * self.bos, words.masked_fill(~sequences.told, self.pad), edge * self.ids["?"]]
        return joined(parts, self.pad)

    def documents(self, n: int, generator: torch.Generator) -> Documents:
        """Random sequences, one in each document, with their verdicts."""
        sequences, way = self._draw(n, generator)
        verdict = self.verdict_tokens[(way != BALANCED).long()]
        tokens = joined([self._prompts(sequences), verdict[:, None]], self.pad)
        answers = torch.isin(tokens, self.verdict_tokens)
        weight = torch.where(answers, 1.0, self.settings.other_weight)
        return Documents(tokens, weight * (tokens != self.pad) * (tokens != self.bos), answers)

    def prompts(self, n: int, generator: torch.Generator) -> Prompts:
        """Random sequences without their verdicts."""
        sequences, _ = self._draw(n, generator)
        return Prompts(self._prompts(sequences), sequences.told.sum(1) + 2)

    @cached_property
    def table(self) -> BracketTable:
        """Sequences as in training."""
        sequences, way = self._draw(ROWS, named_generator("brackets table", self.world_seed))
        tokens = self._prompts(sequences)
        edge, width = torch.zeros(ROWS, 1, dtype=torch.long), tokens.shape[1]
        return BracketTable(
            tokens=tokens,
            last=sequences.told.sum(1) + 1,
            answer=self.verdict_tokens[(way != BALANCED).long()],
            way=way,
            inside=torch.cat([edge > 0, sequences.told, edge > 0], 1)[:, :width],
            elevation=torch.cat([edge, sequences.elevation * sequences.told, edge], 1)[:, :width],
        )

    def probes(self) -> Mapping[str, Probe]:
        """`table`, and its rows of each way."""
        ways = {WAYS[way]: self.table.way == way for way in sorted(set(self.table.way.tolist()))}
        columns = vars(self.table).items()
        return {"table": self.table} | {
            name: BracketTable(**{column: values[rows] for column, values in columns})
            for name, rows in ways.items()
        }

    def evaluate(self, model: Transformer) -> dict[str, float]:
        """`accuracy`: right verdicts; `worst`: the same among the sequences of the hardest way."""
        right = (answer_log_probs(model, self.table).argmax(-1) == self.table.answer).double()
        ways = [right[self.table.way == way].mean().item() for way in sorted(set(self.table.way.tolist()))]
        return {"accuracy": right.mean().item(), "worst": min(ways)}

    def findings(self, model: Transformer) -> Mapping[str, Finding]:
        """What a linear map reads off the residual stream at each bracket, and how even attention is."""
        table = self.table
        _, cache = model.run_with_cache(
            table.tokens.to(model.unembed.W_U.device),
            lambda name: name.endswith(("hook_resid_pre", "hook_resid_post", "hook_pattern")),
        )
        cache = {name: activation.cpu() for name, activation in cache.items()}
        pattern = torch.stack([value for name, value in cache.items() if name.endswith("pattern")])
        resid = [cache["blocks.0.hook_resid_pre"]]
        resid += [value for name, value in cache.items() if name.endswith("resid_post")]
        lowest = table.elevation.cummin(1).values
        return {
            "elevation": Finding(
                "The number of open brackets is linear in the residual stream after so many layers (R²).",
                ("layers",),
                torch.stack([_linear(stream, table.elevation, table.inside) for stream in resid]),
            ),
            "lowest": Finding(
                "The lowest elevation so far is linear in the residual stream after so many layers (R²).",
                ("layers",),
                torch.stack([_linear(stream, lowest, table.inside) for stream in resid]),
            ),
            "evenness": Finding(
                "The head looks evenly from '?' over all positions (entropy over its largest value).",
                ("layer", "head"),
                _evenness(pattern[:, torch.arange(ROWS), :, table.last], table.last),
            ),
        }


def _chances_to_open(longest: int, depth: int) -> Tensor:
    """Chance that the next bracket opens, `[brackets left, brackets open]`, uniform over all sequences."""
    ways = torch.zeros(longest + 1, depth + 2, dtype=torch.double)  # to close all; the last column stays 0
    ways[0, 0] = 1
    for left in range(1, longest + 1):
        ways[left, :-1] = ways[left - 1, 1:]
        ways[left, 1:-1] += ways[left - 1, :-2]
    chances = torch.zeros(longest + 1, depth + 2, dtype=torch.double)
    chances[1:, :-1] = (ways[:-1, 1:] / ways[1:, :-1]).nan_to_num(0.0)
    return chances


def _with_types_matched(sequences: Sequences) -> Sequences:
    """The sequences with each closing bracket of the kind of the one it closes."""
    after = sequences.elevation
    before = after - torch.where(sequences.closing, -1, 1)
    order = torch.arange(after.shape[1])
    opens = ~sequences.closing[:, None, :] & (after[:, None, :] == before[:, :, None])
    partner = (opens & (order < order[:, None])).int().mul(order + 1).argmax(2)  # [sequence, bracket]
    type_ = torch.where(sequences.closing, sequences.type.gather(1, partner), sequences.type)
    return Sequences(sequences.closing, type_, sequences.told)


def _any_of(mask: Tensor, generator: torch.Generator) -> Tensor:
    """A mask of one random true entry in each row, of none where there is none."""
    chosen = torch.rand(mask.shape, generator=generator).mul(mask).argmax(1, keepdim=True)
    return torch.zeros_like(mask).scatter(1, chosen, True) & mask


def _wrong_order(balanced: Sequences, generator: torch.Generator) -> Tensor:
    """Mask of a bracket opened at elevation 0 and of one closed later; exchanged, elevation falls below 0."""
    opened = _any_of(~balanced.closing & (balanced.elevation == 1) & balanced.told, generator)
    later = (opened.int().cumsum(1) > 0) & balanced.closing & balanced.told
    return opened | _any_of(later, generator)


def _wrong_types(balanced: Sequences, generator: torch.Generator) -> Tensor:
    """Mask of a closing bracket and, where there is one, of a closing bracket of the other kind."""
    closing = balanced.closing & balanced.told
    first = _any_of(closing, generator)
    kind = (balanced.type * first).sum(1, keepdim=True)
    return first | _any_of(closing & (balanced.type != kind), generator)


def _linear(stream: Tensor, label: Tensor, inside: Tensor) -> Tensor:
    """R² at the brackets of every other prompt of a least-squares map fitted on the rest."""
    x = torch.cat([stream, torch.ones_like(stream[..., :1])], -1).double()
    (fit_x, fit_y), (x, y) = (
        (x[rows][inside[rows]], label[rows][inside[rows]].double())
        for rows in (slice(0, None, 2), slice(1, None, 2))
    )
    weights: Tensor = torch.linalg.lstsq(fit_x, fit_y[:, None], rcond=1e-6, driver="gelsd").solution[:, 0]
    unexplained: Tensor = (y - x @ weights).var() / y.var()
    return (1 - unexplained).float()


def _evenness(pattern: Tensor, last: Tensor) -> Tensor:
    """Mean entropy of attention, `[prompt, layer, head, key]`, over the log of how many keys there are."""
    entropy: Tensor = torch.special.entr(pattern).sum(-1)  # [prompt, layer, head]
    return (entropy / (last + 1).log()[:, None, None]).mean(0)
