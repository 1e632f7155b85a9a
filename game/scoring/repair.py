"""What a patch does to the delivered model, beside what noise of its shape and size does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from edits.targets import top_answers
from game.api import LowRank, Patch
from game.case import Bench
from game.rules.patch import delta
from models.checkpoints import Checkpoint
from models.seeds import named_generator
from models.transformer import Transformer

LOUDNESS = (1.0, 0.5, 0.25)  # of noise, in units of the patch's norm
DRAWS = 4  # of each sort

Noise = Callable[[LowRank, torch.Generator], LowRank]  # a random change like the given one


@dataclass(frozen=True)
class Repair:
    """What a patch did on a bench.

    Attributes:
        recovered: Share of the affected prompts whose top answer is the base's again; 0 without any.
        collateral: Share of the other prompts whose top answer moved; 0 without any.
        noise: Recovered less collateral of random patches, averaged over draws, of the sort that serves them
            best.
    """

    recovered: float
    collateral: float
    noise: float


def repair_of(delivered: Checkpoint, bench: Bench, patch: Patch) -> Repair:
    """What a patch is worth on a bench.

    Noise is drawn for the same tensors, each of the patch's rank and norm, and at half and a quarter of it:
    a loud patch would break so much as noise that it told nothing. And once more as the patch itself with
    other signs: what is loud stays where it is, so that a loud change that does nothing, as of an embedding
    that no prompt uses, cannot drown what the rest of the patch would do as noise.

    Args:
        delivered: What the auditor saw.
        bench: Prompts, with the answers before and after the edit.
        patch: Changes of weights that were checked.
    """
    tried = _tried(delivered, bench, patch)
    if not bench.affected:
        return tried
    sorts: list[Noise] = [partial(_like, loudness=loudness) for loudness in LOUDNESS]
    return replace(tried, noise=max(_worth(delivered, bench, patch, sort) for sort in (*sorts, _resigned)))


def patched(delivered: Checkpoint, patch: Patch) -> Transformer:
    """The delivered model with a patch applied."""
    weights = dict(delivered.weights)
    for name, change in patch.items():
        weights[name] = weights[name] + delta(change, tuple(weights[name].shape))
    return Checkpoint(delivered.config, weights).model()


def _tried(delivered: Checkpoint, bench: Bench, patch: Patch) -> Repair:
    """What a patch did, noise apart."""
    answers = top_answers(patched(delivered, patch), bench.prompts).tolist()
    cut = bench.affected
    mended = [now == then for now, then in zip(answers[:cut], bench.before[:cut], strict=True)]
    moved = [now != then for now, then in zip(answers[cut:], bench.after[cut:], strict=True)]
    return Repair(_share(mended), _share(moved), 0.0)


def _worth(delivered: Checkpoint, bench: Bench, patch: Patch, sort: Noise) -> float:
    """Mean worth of random patches of a sort."""
    worths = []
    for number in range(DRAWS):
        generator = named_generator("noise patch", number)
        tried = _tried(delivered, bench, {name: sort(patch[name], generator) for name in sorted(patch)})
        worths.append(tried.recovered - tried.collateral)
    return sum(worths) / len(worths)


def _like(change: LowRank, generator: torch.Generator, loudness: float) -> LowRank:
    """Random factors of the same shapes whose product has that share of the norm, head by head."""
    left, right = (torch.randn(each.shape, generator=generator) for each in (change.left, change.right))
    norm, drawn = _norms(change.left @ change.right), _norms(left @ right)
    return LowRank(left * (loudness * norm / drawn.clamp_min(1e-30)), right)


def _resigned(change: LowRank, generator: torch.Generator) -> LowRank:
    """The same change but for the signs of its rows and columns: every entry as large as it was."""
    left, right = change.left, change.right
    rows, columns = (torch.randn(n, generator=generator).sign() for n in (left.shape[-2], right.shape[-1]))
    return LowRank(left * rows[:, None], right * columns)


def _norms(product: Tensor) -> Tensor:
    """Frobenius norm of each matrix, `[..., 1, 1]`."""
    norms: Tensor = product.flatten(-2).norm(dim=-1)
    return norms[..., None, None]


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags) if flags else 0.0
