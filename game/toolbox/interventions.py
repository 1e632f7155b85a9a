"""Interventions compiled from data to hook functions, every argument checked before anything runs.

Attention scores are minus infinity where a key may not be seen. There, and only there, `set` and `add` may
bring minus infinity too, so that cached scores can be patched and a key can be hidden; under `add`, `scale`
and `project_out` a hidden key stays hidden.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import get_args

import torch
from torch import Tensor

from game.api import Intervention, Mode, RequestError
from models.hooks import HookFunction, HookPoint
from models.naming import unknown

Shape = tuple[int, ...]
MODES: tuple[str, ...] = get_args(Mode)
_SQUARE = ("hook_attn_scores", "hook_pattern")  # [row, head, query, key]; positions are queries


def compile_interventions(
    interventions: object, shapes: Mapping[str, Shape], device: torch.device
) -> list[tuple[str, HookFunction]]:
    """Hook functions in the interventions' order, which change nothing in place.

    Args:
        interventions: What to change.
        shapes: Shape of each hook point's activation in this call.
        device: Where the model lives.

    Raises:
        RequestError: An intervention makes no sense; the message names its index.
    """
    if isinstance(interventions, Intervention) or not isinstance(interventions, Sequence):
        raise RequestError(
            f"interventions: got {type(interventions).__name__}, wanted a list of Intervention"
        )
    compiled = []
    for index, intervention in enumerate(interventions):
        try:
            compiled.append((intervention.name, _compile(intervention, shapes, device)))
        except RequestError as error:
            raise RequestError(f"interventions[{index}]: {error}") from None
    return compiled


def _compile(intervention: object, shapes: Mapping[str, Shape], device: torch.device) -> HookFunction:
    if not isinstance(intervention, Intervention):
        raise RequestError(f"got {type(intervention).__name__}, wanted an Intervention")
    if intervention.name not in shapes:
        raise RequestError(unknown("hook", str(intervention.name), shapes))
    if intervention.mode not in MODES:
        raise RequestError(unknown("mode", str(intervention.mode), MODES))
    _check_offset(intervention)
    where = _Selection.of(intervention, shapes[intervention.name], device)
    change = _change(intervention, where.shape, device)
    scores = intervention.name.endswith("hook_attn_scores")
    if scores and intervention.mode != "set":
        change = _keep_hidden(change)

    def hook(activation: Tensor, _: HookPoint) -> Tensor:
        result = where.replace(activation, change(where.take(activation)))
        if scores and bool((result == -torch.inf).all(-1).any()):
            raise RequestError(f"{intervention.name}: a query is left without any key that it may see")
        return result

    return hook


@dataclass(frozen=True)
class _Selection:
    """The part of an activation that an intervention may change.

    Attributes:
        shape: Shape of the part.
        index: Open mesh over the leading axes that picks the part; empty for the whole.
        mask: True where the part may change, broadcastable to it; None is everywhere.
    """

    shape: Shape
    index: tuple[Tensor, ...]
    mask: Tensor | None

    @classmethod
    def of(cls, intervention: Intervention, full: Shape, device: torch.device) -> "_Selection":
        """The part that rows, positions and mask select of an activation of shape `full`.

        Raises:
            RequestError: An index is out of range or twice there, or the mask does not fit.
        """
        axis = 2 if intervention.name.endswith(_SQUARE) else 1
        rows = _indices("rows", intervention.rows, full[0])
        positions = _indices("positions", intervention.positions, full[axis])
        mask = _mask(intervention.mask, full, device)
        if rows is None and positions is None:
            return cls(full, (), mask)
        spans = [torch.arange(size, device=device) for size in full[: axis + 1]]
        for place, chosen in ((0, rows), (axis, positions)):
            if chosen is not None:
                spans[place] = torch.tensor(chosen, device=device)
        index = tuple(span.view(-1, *[1] * (axis - place)) for place, span in enumerate(spans))
        shape = tuple(len(span) for span in spans) + full[axis + 1 :]
        return cls(shape, index, None if mask is None else mask.expand(full)[index])

    def take(self, activation: Tensor) -> Tensor:
        return activation[self.index] if self.index else activation

    def replace(self, activation: Tensor, part: Tensor) -> Tensor:
        """The activation with its selected part replaced; a new tensor."""
        if self.mask is not None:
            part = torch.where(self.mask, part, self.take(activation))
        return activation.index_put(self.index, part) if self.index else part


Change = Callable[[Tensor], Tensor]


def _change(intervention: Intervention, shape: Shape, device: torch.device) -> Change:
    """What happens to the selected part, as a function that leaves its argument alone."""
    value = _value(intervention, shape, device)
    if intervention.mode == "set":
        return lambda part: value.expand(shape)
    if intervention.mode == "add":
        return lambda part: part + value
    if intervention.mode == "scale":
        return lambda part: part * value
    unit, offset = _direction(intervention, value, shape)
    return lambda part: part - ((part * unit).sum(-1, keepdim=True) - offset) * unit


def _keep_hidden(change: Change) -> Change:
    """The change, with minus infinity kept where it was."""

    def kept(part: Tensor) -> Tensor:
        hidden = part == -torch.inf
        return change(part.masked_fill(hidden, 0.0)).masked_fill(hidden, -torch.inf)

    return kept


def _value(intervention: Intervention, shape: Shape, device: torch.device) -> Tensor:
    """The value as a float32 copy that broadcasts to the selected part."""
    value: object = intervention.value
    if not isinstance(value, Tensor) or value.is_complex() or value.dtype == torch.bool:
        got = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise RequestError(f"value: got {got}, wanted a tensor of real numbers")
    if not broadcasts(tuple(value.shape), shape):
        raise RequestError(
            f"value: shape {list(value.shape)} does not broadcast to the selected {list(shape)}"
        )
    value = value.detach().to(device, torch.float32, copy=True)
    hides = intervention.name.endswith("hook_attn_scores") and intervention.mode in ("set", "add")
    if not bool((value.isfinite() | (value == -torch.inf if hides else False)).all()):
        raise RequestError(
            "value: got NaN or infinity; allowed: finite numbers, and -inf in `set` or `add` of scores"
        )
    return value


def _direction(intervention: Intervention, value: Tensor, shape: Shape) -> tuple[Tensor, float]:
    if value.ndim == 0 or value.shape[-1] != shape[-1]:
        raise RequestError(
            f"value: got shape {list(value.shape)}; project_out needs a last axis of {shape[-1]}"
        )
    norm = value.norm(dim=-1, keepdim=True)
    if not bool((norm > 0).all()):
        raise RequestError("value: got a zero vector, which has no direction to project out")
    return value / norm, float(intervention.offset)


def _check_offset(intervention: Intervention) -> None:
    offset: object = intervention.offset
    if isinstance(offset, bool) or not isinstance(offset, int | float) or not isfinite(offset):
        raise RequestError(f"offset: got {offset!r}, wanted a finite number")
    if offset != 0 and intervention.mode != "project_out":
        raise RequestError(f"offset: got {offset} with mode {intervention.mode}; only project_out has one")


def _indices(name: str, chosen: object, size: int) -> tuple[int, ...] | None:
    """The chosen indices, checked; None stays None."""
    if chosen is None:
        return None
    if not isinstance(chosen, Sequence) or not all(type(index) is int for index in chosen):
        raise RequestError(f"{name}: got {chosen!r}, wanted a tuple of whole numbers")
    if not chosen:
        raise RequestError(f"{name}: got none, wanted at least 1; leave it out for all")
    if min(chosen) < 0 or max(chosen) >= size:
        wrong = next(index for index in chosen if not 0 <= index < size)
        raise RequestError(f"{name}: got {wrong}; allowed: 0 to {size - 1}")
    if len(set(chosen)) < len(chosen):
        raise RequestError(f"{name}: got an index twice")
    return tuple(chosen)


def _mask(mask: object, full: Shape, device: torch.device) -> Tensor | None:
    if mask is None:
        return None
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        raise RequestError("mask: wanted a boolean tensor")
    if not broadcasts(tuple(mask.shape), full):
        raise RequestError(
            f"mask: shape {list(mask.shape)} does not broadcast to the activation's {list(full)}"
        )
    return mask.detach().to(device, copy=True)


def broadcasts(shape: Shape, to: Shape) -> bool:
    """Whether a tensor of that shape can be expanded to shape `to`, aligned on the right."""
    if len(shape) > len(to):
        return False
    return all(size in (1, wanted) for size, wanted in zip(reversed(shape), reversed(to), strict=False))
