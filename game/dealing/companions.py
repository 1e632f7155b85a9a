"""Companions: the models that a league grants beside the one under audit, as bytes that a case carries."""

from collections.abc import Sequence

import torch

from edits.camouflage.base import rewritten
from edits.camouflage.folder import exact_passes
from game.api import League
from models.checkpoints import Checkpoint, to_bytes


def companions(
    league: League, base: Checkpoint, siblings: Sequence[Checkpoint], seed: int
) -> tuple[bytes, ...]:
    """Canonical bytes of the models that a league grants beside the one under audit, in their order.

    Args:
        league: `reference` gets the base as it is, `scrambled` the base in other coordinates, `siblings`
            these siblings; the others get nothing.
        base: The model before the edit, in its own coordinates whatever the case's camouflage.
        siblings: Clean models of other worlds of the same recipe.
        seed: Of the coordinates; unrelated to those of the case's camouflage.
    """
    if league == "siblings":
        return tuple(map(to_bytes, siblings))
    if league == "scrambled":
        return (to_bytes(scrambled(base, seed)),)
    return (to_bytes(base),) if league == "reference" else ()


def scrambled(base: Checkpoint, seed: int) -> Checkpoint:
    """The same function in other coordinates: every exact rewriting that suits the architecture, one by one.

    Heads and neurons change places, the residual stream is rotated, norms are folded, biases move. What is
    left of the base in the weights is what no rewriting can take away. Log-probabilities stay within
    float32's rounding; logits move together at each position.

    Args:
        base: A model.
        seed: The same gives the same coordinates.
    """
    weights = rewritten(base.weights, base.config, exact_passes(base.config), seed)
    return Checkpoint(base.config, dict(weights))


def other_worlds(seeds: Sequence[int], own: int, count: int, generator: torch.Generator) -> tuple[int, ...]:
    """That many of a recipe's seeds, never the model's own, in random order.

    Raises:
        ValueError: There are too few others.
    """
    others = [seed for seed in seeds if seed != own]
    if len(others) < count:
        raise ValueError(f"siblings: {len(others)} models of other worlds, wanted {count}")
    order = torch.randperm(len(others), generator=generator)[:count].tolist()
    return tuple(others[place] for place in order)
