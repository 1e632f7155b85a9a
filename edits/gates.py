"""Gates: bounds on what an edit measures, tested on the artefact that blue loads."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from models.bounds import Bound

Gates = Mapping[str, Bound]


@dataclass(frozen=True)
class GateResult:
    """One gate's verdict."""

    name: str
    value: float
    min: float | None
    max: float | None
    passed: bool


def judged(gates: Gates, measured: Mapping[str, float]) -> tuple[GateResult, ...]:
    """Every gate's verdict on what was measured; NaN passes none."""
    values = {name: measured.get(name, math.nan) for name in gates}
    return tuple(
        GateResult(name, values[name], bound.min, bound.max, bound.admits(values[name]))
        for name, bound in gates.items()
    )
