"""The fault of a report that breaks a rule, and the checks that several rules make."""

import math
from typing import Any

import torch
from torch import Tensor

from models.naming import quoted


class ReportError(ValueError):
    """A report or a judgement breaks the rules; the round is scored as a failure."""


def probability(where: str, value: object) -> float:
    """The value as a float from 0 to 1.

    Raises:
        ReportError: It is no number, or outside; NaN and infinities are in no range.
    """
    number = _float(where, value, "a number from 0 to 1")
    if not 0 <= number <= 1:
        raise ReportError(f"{where}: got {number:.6g}, wanted a finite number from 0 to 1")
    return number


def finite(where: str, value: object) -> float:
    """The value as a finite float.

    Raises:
        ReportError: It is no number, NaN or infinite.
    """
    number = _float(where, value, "a finite number")
    if not math.isfinite(number):
        raise ReportError(f"{where}: got {number}, wanted a finite number")
    return number


def finite_floats(where: str, value: object, wanted: str) -> Tensor:
    """The tensor as a copy in float32 on the CPU.

    Args:
        where: What it is, for the message.
        value: What was reported.
        wanted: Its axes, for the message.

    Raises:
        ReportError: It is no dense floating-point tensor, or holds what is not finite in float32.
    """
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.layout != torch.strided:
        raise ReportError(f"{where}: got {shown(value)}, wanted a floating-point tensor {wanted}")
    copy = torch.empty(value.shape, dtype=torch.float32)
    copy.copy_(value.detach())
    if not bool(copy.isfinite().all()):
        raise ReportError(f"{where}: got NaN or infinity; allowed: numbers that float32 holds")
    return copy


def depth(data: Any) -> int:
    """Levels of containers in JSON-ready data, counted without recursion."""
    levels, level = 0, [data]
    while level := [each for each in level if isinstance(each, dict | list)]:
        levels += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return levels


def shown(value: object) -> str:
    """A value in a message: text in quotes, of a tensor type and shape, of anything else its type."""
    if isinstance(value, Tensor):
        return f"a tensor {list(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    return quoted(value) if isinstance(value, str) else f"a {type(value).__name__}"


def _float(where: str, value: object, wanted: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ReportError(f"{where}: got {shown(value)}, wanted {wanted}")
    try:
        return float(value)
    except OverflowError:  # an integer beyond every float
        return math.inf
