"""Benches: prompts on which a patch is tried, those that changed and those that did not."""

from collections.abc import Collection

import torch

from edits.moments import Base
from edits.targets import Prompt, Target, top_answers
from game.case import Bench
from game.dealing.challenge import TableRows
from models.transformer import Transformer

CHANGED = 32  # prompts at most
KEPT = 128


def bench_of(
    base: Base,
    target: Target,
    own: Transformer,
    delivered: Transformer,
    asked: Collection[Prompt],
    generator: torch.Generator,
) -> Bench:
    """The bench of a case: first what its edit is about, then the rest of the base's table in random order.

    Args:
        base: What the case was made from.
        target: Of the edit that it was drawn around, delivered or not.
        own: The delivered model's own base.
        delivered: The case's model, whose answers decide what changed.
        asked: Prompts of its challenge, of which none is used.
        generator: Draws the order.
    """
    rows = torch.randperm(len(base.table.last), generator=generator).tolist()
    table = TableRows.of(base).prompts
    prompts = [*target.scope, *(table[row] for row in rows)]
    prompts = [prompt for prompt in dict.fromkeys(prompts) if prompt not in asked]
    before, after = (top_answers(model, prompts) for model in (own, delivered))
    changed = (before != after).nonzero().flatten()[:CHANGED]
    places = [*changed.tolist(), *(before == after).nonzero().flatten()[:KEPT].tolist()]
    return Bench(
        prompts=tuple(prompts[place] for place in places),
        before=tuple(before[places].tolist()),
        after=tuple(after[places].tolist()),
        affected=len(changed),
    )
