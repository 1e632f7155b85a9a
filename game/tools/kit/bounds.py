"""Checks of a tool's plain numbers; what is not a number, NaN, passes none of them."""

import math

from game.api import RequestError


def check_least(name: str, number: float, lowest: float) -> None:
    """Nothing, if the number is at least that.

    Raises:
        RequestError: It is not.
    """
    if not number >= lowest:
        raise RequestError(f"{name}: got {number}; allowed: {lowest} and more")


def check_positive(name: str, number: float) -> None:
    """Nothing, if the number is above 0.

    Raises:
        RequestError: It is not.
    """
    if not number > 0:
        raise RequestError(f"{name}: got {number}; allowed: above 0")


def check_finite(name: str, number: float) -> None:
    """Nothing, if the number is finite.

    Raises:
        RequestError: It is not.
    """
    if not math.isfinite(number):
        raise RequestError(f"{name}: got {number}; allowed: finite numbers")
