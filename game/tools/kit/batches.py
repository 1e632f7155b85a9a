"""Runs of any number of rows, cut where they are too long for one call."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from game.api import Intervention, Toolbox

ROWS = 512  # sequences in one call: a larger batch is not faster on a CPU

Changes = Callable[[Tensor], Sequence[Intervention]]


def nothing_changed(_rows: Tensor) -> Sequence[Intervention]:
    """No intervention, whichever rows are run."""
    return ()


def call_rows(box: Toolbox) -> int:
    """How many sequences to give to one call."""
    return min(ROWS, box.budget.max_rows)


def batches(box: Toolbox, rows: int, cotangents: int = 1) -> Iterator[Tensor]:
    """Row numbers from 0 to `rows` - 1, in pieces that one call may hold.

    Args:
        box: Its budget says how many rows that is.
        rows: How many there are.
        cotangents: How many gradients of each row are wanted, as `vjp` counts them.
    """
    if rows:
        yield from torch.split(torch.arange(rows), max(call_rows(box) // cotangents, 1))


def run(
    box: Toolbox, tokens: Tensor, names: Sequence[str], changes: Changes = nothing_changed
) -> dict[str, Tensor]:
    """Activations by hook name, of as many rows as there are; `logits` is a name too.

    Args:
        box: The model.
        tokens: `[row, pos]`.
        names: What is wanted.
        changes: The interventions for a piece, given its row numbers.
    """
    parts = [box.activations(tokens[rows], names, changes(rows)) for rows in batches(box, len(tokens))]
    return {name: torch.cat([part[name] for part in parts]) for name in names}


def gradients(
    box: Toolbox, tokens: Tensor, names: Sequence[str], cotangent: Tensor, changes: Changes = nothing_changed
) -> dict[str, Tensor]:
    """Gradients by hook name of the sum of cotangent times logits.

    Args:
        box: The model.
        tokens: `[row, pos]`.
        names: Where gradients are wanted.
        cotangent: `[row, pos, d_vocab]`.
        changes: The interventions for a piece, given its row numbers.
    """
    parts = [
        box.vjp(tokens[rows], names, {"logits": cotangent[rows]}, changes(rows))
        for rows in batches(box, len(tokens))
    ]
    return {name: torch.cat([part[name] for part in parts]) for name in names}
