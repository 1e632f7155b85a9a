"""How far the most extreme of many numbers lie from the bulk of them, in units of the bulk itself."""

import math

import torch
from torch import Tensor

_MOST = 5.0  # a tail e^5 times as long as it should be is as odd as one can be


def reach(values: Tensor) -> float:
    """How much further the largest number reaches above the median than the upper 5 % do, as a logarithm."""
    return _log_ratio(values, 1.0, 0.95)


def spread(values: Tensor) -> float:
    """How much further the upper 5 % reach above the median than the upper quarter, as a logarithm."""
    return _log_ratio(values, 0.95, 0.75)


def lead(values: Tensor) -> float:
    """How much further the largest number reaches above the median than the third largest, as a logarithm."""
    if len(values) < 4:
        return 0.0
    middle, best = values.double().median(), values.double().topk(3).values
    return bounded_log(float(best[0] - middle), float(best[2] - middle))


def deviations(values: Tensor) -> Tensor:
    """Distances from the median in units of their median, scaled as for a normal law; 0 without one."""
    values = values.double()
    away = values - values.median(0).values
    unit = 1.4826 * away.abs().median(0).values
    return torch.where(unit > 1e-12, away / unit.clamp(min=1e-12), 0.0).clamp(-1e3, 1e3)


def bounded_log(upper: float, lower: float) -> float:
    """Log of a ratio of two lengths, from -5 to 5; 0 where both are nothing."""
    if max(upper, lower) < 1e-9:
        return 0.0
    return max(-_MOST, min(_MOST, math.log(max(upper, 1e-12) / max(lower, 1e-12))))


def _log_ratio(values: Tensor, far: float, near: float) -> float:
    if len(values) < 20:
        return 0.0
    middle, low, high = values.double().quantile(torch.tensor([0.5, near, far]).double()).tolist()
    return bounded_log(high - middle, low - middle)
