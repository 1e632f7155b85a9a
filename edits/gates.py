"""Gates: bounds on what an edit measures, tested on the artefact that blue loads."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from pydantic import model_validator

from models.strict_yaml import StrictModel


class Bound(StrictModel):
    """A lower bound, an upper bound, or both, inclusive."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("a gate needs min or max")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self

    def admits(self, value: float) -> bool:
        """Whether a value lies within."""
        low = self.min is None or value >= self.min
        return low and (self.max is None or value <= self.max)

    def no_looser_than(self, floor: "Bound") -> bool:
        """Whether this bound admits nothing that `floor` refuses."""
        low = floor.min is None or (self.min is not None and self.min >= floor.min)
        high = floor.max is None or (self.max is not None and self.max <= floor.max)
        return low and high


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
