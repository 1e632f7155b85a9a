"""Are two values the same to the last bit, whatever they are made of?"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor


def identical(one: Any, other: Any) -> bool:
    """Same types, same order of mappings, same bits of every number; NaN is NaN, and -0 is not 0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        same = one.dtype == other.dtype and one.shape == other.shape
        return same and torch.equal(_bits(one), _bits(other))
    if isinstance(one, float):
        return repr(one) == repr(other)
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(identical(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(identical, one, other))
    if is_dataclass(one):
        return all(identical(getattr(one, each.name), getattr(other, each.name)) for each in fields(one))
    return bool(one == other)


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)
