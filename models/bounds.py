"""Bounds on a measure, as recipes set them for what is trained and gates for what is edited."""

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, model_validator

from models.strict_yaml import StrictModel


class Bound(StrictModel):
    """A lower bound, an upper bound, or both, inclusive."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("a bound needs min or max")
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

    def __str__(self) -> str:
        sides = ((self.min, "at least"), (self.max, "at most"))
        return " and ".join(f"{words} {value:g}" for value, words in sides if value is not None)


def _number_is_minimum(value: Any) -> Any:
    return {"min": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


BoundOrMinimum = Annotated[Bound, BeforeValidator(_number_is_minimum)]  # in YAML, a number is a lower bound
