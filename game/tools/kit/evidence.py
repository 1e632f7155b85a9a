"""P-values, and what they are worth as evidence when nothing is known of the alternative."""

import math
from collections.abc import Sequence

import torch
from scipy.stats import t as student

_EPS = 1e-16
_ROUNDING = 1e-6  # of a number that was computed from float32


def unlike_peers(value: float, peers: Sequence[float]) -> float:
    """P(one more of the peers' kind would be at least as far from their mean), both sides, were they normal.

    Args:
        value: What is judged.
        peers: At least two of the same kind; where they are all the same up to rounding, so must it be.
    """
    values = torch.tensor(peers, dtype=torch.float64)
    spread = float(values.std()) * math.sqrt(1 + 1 / len(peers))
    away = abs(value - float(values.mean()))
    rounding = _ROUNDING * float(values.abs().max())
    if spread <= rounding:
        return float(away <= rounding)
    return 2 * float(student.sf(away / spread, len(peers) - 1))


def least_of(p: float, trials: int) -> float:
    """P-value of the least of so many independent p-values (Sidak 1967)."""
    return -math.expm1(trials * math.log1p(-min(p, 1 - _EPS)))


def likelihood_ratio(p: float, least: float = 1e-6) -> float:
    """What a p-value says for *something* against *nothing*: 1/2 at 1, 1 near 0.3, 4 at 0.01, 21 at 0.001.

    Under *nothing* p is uniform; under *something* its density is `k p^(k-1)` with k uniform from 0 to 1. So
    the ratio is `(1 - p + p ln p) / (p ln(p)^2)`. Its mean under *nothing* is 1, and below p = 1/e it never
    exceeds `1 / (-e p ln p)`, the largest that any k gives.

    Args:
        p: From 0 to 1.
        least: Smaller ones count as this, for laws are never exact in their tails.

    Source: Sellke, Bayarri, Berger 2001, Am. Stat. 55 (the bound); Vovk and Wang 2021, Ann. Stat. 49 (the
    mixture over k).
    """
    p = max(p, least)
    if p > 1 - 1e-6:
        return 0.5  # the limit at 1
    return (1 - p + p * math.log(p)) / (p * math.log(p) ** 2)
