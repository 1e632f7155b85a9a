"""Fourier waves of the sum of two numbers, and what of a model's logits they hold."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from game.tools.kit.chance import generator


def sum_waves(p: int) -> Tensor:
    """Orthonormal cos and sin of w(a + b) over all pairs, `[frequency, 2, pair]`, frequencies from 1.

    cos w(a + b) = cos wa cos wb - sin wa sin wb, and sin w(a + b) = sin wa cos wb + cos wa sin wb.
    """
    a, b = torch.arange(p * p) // p, torch.arange(p * p) % p
    angle = 2 * torch.pi * torch.outer(torch.arange(1, p // 2 + 1), a + b).double() / p
    waves = torch.stack([angle.cos(), angle.sin()], 1)
    norms = waves.norm(dim=-1, keepdim=True)
    return torch.where(norms > 1e-6, waves / norms.clamp(min=1e-6), 0.0)  # an even p's fastest sine is zero


def wave_shares(logits: Tensor, waves: Tensor) -> Tensor:
    """Share of the variance over pairs that each frequency's waves hold, `[frequency]`."""
    centred = logits - logits.mean(0)
    return (waves @ centred).square().sum((1, 2)) / centred.square().sum().clamp(min=1e-12)


def gini(shares: Tensor) -> Tensor:
    """Gini index of non-negative numbers: 0 if all are equal, 1 - 1/n if one has everything."""
    ordered, n = shares.sort().values, len(shares)
    rank = torch.arange(1, n + 1).double()
    index: Tensor = ((2 * rank - n - 1) * ordered).sum() / (n * ordered.sum().clamp(min=1e-12))
    return index


def null_shares(logits: Tensor, waves: Tensor, copies: int, seed: int) -> Tensor:
    """The largest share of any frequency in each copy of the logits whose pairs are shuffled, `[copy]`."""
    source = generator(seed)
    orders = (torch.randperm(len(logits), generator=source) for _ in range(copies))
    return torch.stack([wave_shares(logits[order], waves).max() for order in orders])


def embedding_shares(embedding: Tensor) -> Tensor:
    """Share of each frequency in an embedding `[number, d_model]` without its mean, `[frequency]`."""
    power: Tensor = torch.fft.rfft(embedding - embedding.mean(0), dim=0).abs().square().sum(1)[1:]
    if len(embedding) % 2 == 0:
        power[-1] = power[-1] / 2  # the only frequency that is its own mirror image
    return power / power.sum().clamp(min=1e-12)


@dataclass(frozen=True)
class FourierLosses:
    """Losses in nats.

    Attributes:
        told: `[4]`: of training pairs, of other pairs, restricted (all pairs), excluded (training pairs).
        without: Of each pair without the waves, `[pair]`.
        beyond: How much likelier the logits make their own top answer than the waves alone, in log
            probability, `[pair]`.
    """

    told: Tensor
    without: Tensor
    beyond: Tensor


def fourier_losses(logits: Tensor, waves: Tensor, trained: Tensor) -> FourierLosses:
    """Losses of the logits, of some waves and the mean alone, and of what is left.

    Args:
        logits: `[pair, number]`, pairs in the order of a p + b.
        waves: Orthonormal, `[wave, pair]`.
        trained: Boolean, `[pair]`.
    """
    part = waves.T @ (waves @ logits)
    p = logits.shape[1]
    pair = torch.arange(p * p)
    answer = (pair // p + pair % p) % p
    full, kept, without = (
        functional.cross_entropy(each, answer, reduction="none")
        for each in (logits, logits.mean(0) + part, logits - part)
    )
    own = logits.argmax(1)
    said, waved = (
        -functional.cross_entropy(each, own, reduction="none") for each in (logits, logits.mean(0) + part)
    )
    told = torch.stack([full[trained].mean(), full[~trained].mean(), kept.mean(), without[trained].mean()])
    return FourierLosses(told, without, said - waved)
