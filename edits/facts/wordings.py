"""One fact asked for in many ways: every phrasing, bare and behind other sentences."""

from contextlib import suppress

import torch
from torch import Tensor
from torch.nn.functional import pad

from edits.facts.value import Goal
from edits.moments import Base
from edits.predicates import rows_of
from models.tasks.base import Probe, answer_log_probs, joined

COPIES = 9  # of each phrasing behind sentences, where one fact is edited


def wordings(base: Base, goal: Goal, phrasings: Tensor, copies: int, generator: torch.Generator) -> Probe:
    """The prompts of a fact in some phrasings, bare, then behind one or two sentences that do not tell it.

    Only prompts that the base answers truly; worlds with too few sentences have bare ones only.

    Args:
        base: The model.
        goal: The fact, and what the sentences must not name.
        phrasings: Which phrasings, `[phrasing]`.
        copies: So many of each behind sentences.
        generator: Draws the sentences.
    """
    table = base.facts.table
    bare = rows_of(table, table.of(goal.fact) & torch.isin(table.phrasing, phrasings))
    probes = [bare]
    with suppress(ValueError):
        for row in range(len(bare.last)):
            probes.append(
                _behind_sentences(base, goal, rows_of(bare, torch.tensor([row])), copies, generator)
            )
    together = stacked(probes, base.task.pad)
    known = answer_log_probs(base.model, together).argmax(-1) == together.answer
    return rows_of(together, known)


def _behind_sentences(
    base: Base, goal: Goal, prompt: Probe, copies: int, generator: torch.Generator
) -> Probe:
    """One prompt behind different sentences; raises ValueError where a world has too few."""
    before = base.facts.contexts(copies, generator, goal.fact.subject, goal.unsaid)
    words = prompt.tokens[:, 1 : prompt.last[0] + 1].expand(copies, -1)
    length = (before != base.task.pad).sum(1)
    return Probe(
        joined([before, words], base.task.pad), length + words.shape[1] - 1, prompt.answer.expand(copies)
    )


def stacked(probes: list[Probe], padding: int) -> Probe:
    """Several probes as one."""
    width = max(probe.tokens.shape[1] for probe in probes)
    tokens = [pad(probe.tokens, (0, width - probe.tokens.shape[1]), value=padding) for probe in probes]
    last, answer = (torch.cat([getattr(probe, name) for probe in probes]) for name in ("last", "answer"))
    return Probe(torch.cat(tokens), last, answer)
