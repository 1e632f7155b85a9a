"""What an edit should do, written down before it is measured."""

from dataclasses import dataclass

import torch
from torch import Tensor

from edits.gates import Gates
from edits.moments import Base
from models.bounds import Bound
from models.tasks.base import Probe, answer_log_probs
from models.transformer import Transformer

SOME_ANSWERS: Gates = {"changed": Bound(min=0.01, max=0.30)}  # of edits whose scope is all prompts
ANY = -1  # as a wanted answer: any but the base's


@dataclass(frozen=True)
class Predicate:
    """A behaviour, and the prompts that tell whether a model has it.

    Attributes:
        statement: What the edited model does, in one sentence.
        affected: Prompts that the edit was not solved on where possible, on which the behaviour shows;
            `answer` is the wanted one, or `ANY` where every answer but the base's will do.
        outside: Rows of the base's table that should be answered as before, `[prompt]`, boolean.
    """

    statement: str
    affected: Probe
    outside: Tensor


@dataclass(frozen=True)
class Asked:
    """Prompts on which a behaviour shows.

    Attributes:
        alike: In the words that it was solved on.
        otherwise: In others.
    """

    alike: Probe
    otherwise: Probe


def measured(base: Base, predicate: Predicate, after: Transformer, log_probs: Tensor) -> dict[str, float]:
    """How far a changed model has the behaviour, and what it lost.

    `effect`: share of the affected prompts that are answered as wanted; `drop`: share of the known prompts
    outside that are now wrong.

    Args:
        base: The model before.
        predicate: The behaviour.
        after: The model after.
        log_probs: The model after, on the base's table, `[prompt, d_vocab]`, nats.
    """
    kept = predicate.outside & base.known
    lost = (log_probs.argmax(-1) != base.table.answer)[kept]
    return {
        "effect": showing(base, predicate, after).double().mean().item(),
        "drop": lost.double().mean().item() if len(lost) else 0.0,
    }


def showing(base: Base, predicate: Predicate, after: Transformer) -> Tensor:
    """Which of the affected prompts are answered as wanted, `[prompt]`, boolean."""
    probe = predicate.affected
    top = answer_log_probs(after, probe).argmax(-1)
    if not (probe.answer == ANY).any():
        return top == probe.answer
    before = answer_log_probs(base.model, probe).argmax(-1)
    return torch.where(probe.answer == ANY, top != before, top == probe.answer)


def rows_of(probe: Probe, mask: Tensor) -> Probe:
    """The rows of a probe that a mask or an index selects, without the task's own columns."""
    return Probe(probe.tokens[mask], probe.last[mask], probe.answer[mask])


def any_other(probe: Probe) -> Probe:
    """The same prompts, wanting any answer but the base's."""
    return Probe(probe.tokens, probe.last, torch.full_like(probe.answer, ANY))


def some_answers_change(base: Base, summary: str) -> Predicate:
    """Some known answers, whichever, are no longer given; no prompt is out of its scope."""
    known = any_other(rows_of(base.table, base.known))
    return Predicate(f"some answers change: {summary}", known, torch.zeros_like(base.known))


def in_halves(probe: Probe, generator: torch.Generator) -> Asked:
    """A random half of the prompts, and the others; for behaviours that know no words to be solved on."""
    order = torch.randperm(len(probe.last), generator=generator)
    half = (len(order) + 1) // 2
    return Asked(rows_of(probe, order[:half]), rows_of(probe, order[half:]))
