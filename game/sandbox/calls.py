"""Calls of the toolbox as frames: written in the jail, read and checked for form by the referee.

What a call means is checked by the toolbox itself; here only that every field has its type.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from game.api import Intervention
from game.sandbox.wire import Frame, WireError

Primitive = Literal["logits", "activations", "vjp", "weight", "sample", "sibling", "reference"]
_CARRIED = (torch.int64, torch.bfloat16, torch.float16, torch.float32, torch.float64)


class Strict(BaseModel):
    """Data from a jail: every key known, nothing converted, every number finite."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


Name = Annotated[str, Field(max_length=200)]  # longer than any; looking for the nearest one takes time


class InterventionData(Strict):
    """An intervention but for its tensors, which travel as `<index>.value` and `<index>.mask`."""

    name: Name
    mode: Name
    positions: list[int] | None
    rows: list[int] | None
    offset: float
    masked: bool


class Call(Strict):
    """One call; ids count up from 0, and `box` is 0 for the model under audit."""

    type: Literal["call"] = "call"
    id: int
    box: int
    primitive: Primitive
    names: list[Name] = []
    interventions: list[InterventionData] = []
    name: Name = ""
    n: int = 0
    seed: int = 0
    index: int = 0


def intervention_data(interventions: Sequence[Intervention]) -> list[dict[str, Any]]:
    """The interventions' headers; they passed the toolbox's own checks."""
    return [
        {
            "name": str(each.name),
            "mode": str(each.mode),
            "positions": None if each.positions is None else list(each.positions),
            "rows": None if each.rows is None else list(each.rows),
            "offset": float(each.offset),
            "masked": each.mask is not None,
        }
        for each in interventions
    ]


def intervention_tensors(interventions: Sequence[Intervention]) -> dict[str, Tensor]:
    """Their tensors, in a dtype that frames carry."""
    tensors = {}
    for index, each in enumerate(interventions):
        tensors[f"{index}.value"] = each.value if each.value.dtype in _CARRIED else each.value.float()
        if each.mask is not None:
            tensors[f"{index}.mask"] = each.mask
    return tensors


def cotangent_tensors(cotangent: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Where a backward pass starts, as `cotangent.<hook>`."""
    return {f"cotangent.{name}": array.detach().float() for name, array in cotangent.items()}


def read_call(frame: Frame) -> tuple[Call, dict[str, Tensor]]:
    """The call in a frame and its tensors, exactly those that it needs.

    Raises:
        WireError: It is none, or carries other tensors.
    """
    try:
        call = Call.model_validate(frame.header)
    except ValidationError as error:
        fault = error.errors()[0]
        raise WireError(f"call: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    wanted = {"tokens"} if call.primitive in ("logits", "activations", "vjp") else set()
    wanted |= {f"{index}.value" for index in range(len(call.interventions))}
    wanted |= {f"{index}.mask" for index, each in enumerate(call.interventions) if each.masked}
    others = {
        name for name in frame.tensors if not (call.primitive == "vjp" and name.startswith("cotangent."))
    }
    if others != wanted:
        odd = sorted(others ^ wanted)[0]
        raise WireError(f"call: tensor {odd[:100]!r} is {'missing' if odd in wanted else 'not wanted'}")
    return call, frame.tensors


def read_interventions(call: Call, tensors: Mapping[str, Tensor]) -> list[Intervention]:
    """The call's interventions, for the toolbox to check."""
    return [
        Intervention(
            name=each.name,
            value=tensors[f"{index}.value"],
            mode=each.mode,  # type: ignore[arg-type]  # the toolbox refuses an unknown one
            mask=tensors.get(f"{index}.mask"),
            positions=None if each.positions is None else tuple(each.positions),
            rows=None if each.rows is None else tuple(each.rows),
            offset=each.offset,
        )
        for index, each in enumerate(call.interventions)
    ]


def read_cotangents(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Where the backward pass starts."""
    return {
        name.removeprefix("cotangent."): array
        for name, array in tensors.items()
        if name.startswith("cotangent.")
    }
