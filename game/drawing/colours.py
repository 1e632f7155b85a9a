"""The colours of numbers, alike in every medium and told apart by colour-blind readers."""

from bisect import bisect_right
from typing import TypeAlias

from game.drawing.panels import Scale

RGB: TypeAlias = tuple[int, int, int]

# viridis (van der Walt and Smith 2015) and RdBu (ColorBrewer), at even steps
SEQUENTIAL: tuple[RGB, ...] = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
DIVERGING: tuple[RGB, ...] = (
    (33, 102, 172),
    (146, 197, 222),
    (247, 247, 247),
    (244, 165, 130),
    (178, 24, 43),
)

# of series; Okabe and Ito 2008
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999")
NULL = "#bbbbbb"
BAND = "rgba(187, 187, 187, 0.5)"  # the same, to see through


def colours(scale: Scale) -> tuple[RGB, ...]:
    """Those of a scale from its low end to its high one, at even steps."""
    return DIVERGING if scale.diverging else SEQUENTIAL


def colour(value: float, scale: Scale) -> RGB:
    """The colour of a number."""
    stops = colours(scale)
    place = scale.share(value) * (len(stops) - 1)
    left = min(bisect_right(range(len(stops)), place) - 1, len(stops) - 2)
    red, green, blue = (
        round(a + (b - a) * (place - left)) for a, b in zip(stops[left], stops[left + 1], strict=True)
    )
    return red, green, blue


def ink(ground: RGB) -> RGB:
    """Black or white, whichever is read on that ground."""
    red, green, blue = ground
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)
