"""What a solved edit is about: the prompts that it is to change, and what it changed of the base's table."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from edits.base import EditSpec
from edits.moments import Base
from edits.predicates import Asked, Predicate, in_halves, rows_of
from models.seeds import named_generator
from models.tasks.base import Probe, answer_log_probs
from models.transformer import Transformer

Prompt: TypeAlias = tuple[int, ...]  # token ids from BOS on, without padding
MOST = 96  # prompts of each sort that are kept


@dataclass(frozen=True)
class Target:
    """What one solved edit is about.

    Attributes:
        about: The same for two edits of a family that are about the same prompts.
        affected: Prompts on which the behaviour shows, in the words that it was solved on, in random order.
        paraphrase: The same in other words; where a kind knows none, others that are kept aside.
        changed: Rows of the base's table whose top answer the solved edit changes.
    """

    about: str
    affected: tuple[Prompt, ...]
    paraphrase: tuple[Prompt, ...]
    changed: frozenset[int]

    @property
    def scope(self) -> tuple[Prompt, ...]:
        """Every prompt that it is about."""
        return self.affected + self.paraphrase


def target_of(base: Base, spec: EditSpec, after: Transformer) -> Target:
    """What an edit is about; of an edit whose scope is all prompts, those whose answer it changed.

    Args:
        base: The model before.
        spec: The edit.
        after: The model after, as it would be delivered.
    """
    predicate = spec.predicate(base)
    assert predicate is not None, f"{spec.kind()} is a control"
    moved = answer_log_probs(after, base.table).argmax(-1) != base.log_probs.argmax(-1)
    asked, about = _asked(base, spec, predicate, moved)
    order = named_generator(spec.seed, "order of prompts")
    affected, paraphrase = (_shuffled(probe, order) for probe in (asked.alike, asked.otherwise))
    return Target(about, affected, paraphrase, frozenset(moved.nonzero().flatten().tolist()))


def _asked(base: Base, spec: EditSpec, predicate: Predicate, moved: Tensor) -> tuple[Asked, str]:
    """The prompts that an edit is about, and a digest of which they are."""
    if predicate.outside.any():
        return spec.asked(base, predicate), _digest(repr(sorted(prompts_of(predicate.affected))))
    changed = rows_of(base.table, moved & base.known)
    block: str = vars(spec)["edit"].model_dump_json()
    return in_halves(changed, named_generator(spec.seed, "asked")), _digest(block)


def _shuffled(probe: Probe, generator: torch.Generator) -> tuple[Prompt, ...]:
    """Each prompt once, in random order, up to `MOST`."""
    order = torch.randperm(len(probe.last), generator=generator)
    return tuple(dict.fromkeys(prompts_of(rows_of(probe, order))))[:MOST]


def prompts_of(probe: Probe) -> list[Prompt]:
    """A probe's prompts, row by row."""
    rows = zip(probe.tokens.tolist(), probe.last.tolist(), strict=True)
    return [tuple(tokens[: last + 1]) for tokens, last in rows]


def top_answers(model: Transformer, prompts: Sequence[Prompt]) -> Tensor:
    """The most likely next token after each prompt, over the whole vocabulary, `[prompt]`."""
    if not prompts:
        return torch.empty(0, dtype=torch.long)
    last = torch.tensor([len(prompt) - 1 for prompt in prompts], dtype=torch.long)
    return answer_log_probs(model, Probe(padded(prompts, 0), last, last)).argmax(-1)


def padded(prompts: Sequence[Prompt], padding: int) -> Tensor:
    """The prompts side by side, padded on the right, `[prompt, pos]`."""
    width = max(map(len, prompts), default=0)
    rows = [[*prompt, *[padding] * (width - len(prompt))] for prompt in prompts]
    return torch.tensor(rows, dtype=torch.long).view(len(prompts), width)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
