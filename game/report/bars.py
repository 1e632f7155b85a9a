"""Small drawings of numbers in one line of text."""

from game.intervals import Interval

EIGHTHS = " ▏▎▍▌▋▊▉█"


def probability_bar(p: float, width: int = 16) -> str:
    """A bar as long as the probability, in eighths of a character; anything above 0 shows."""
    full, rest = divmod(max(round(p * width * 8), p > 0), 8)
    return (EIGHTHS[8] * full + EIGHTHS[rest].strip()).ljust(width)


def interval_bar(interval: Interval, width: int = 21, low: float = -1.0, high: float = 1.0) -> str:
    """An interval with its mean on a scale with a mark at zero; arrows stand for what lies beyond the scale.

    Args:
        interval: What to draw.
        width: In characters; an odd one puts zero of a symmetric scale in the middle.
        low: Left end of the scale.
        high: Right end of the scale.
    """

    def place(value: float) -> int:
        return round((min(max(value, low), high) - low) / (high - low) * (width - 1))

    cells = ["·"] * width
    cells[place(0.0)] = "│"
    first, last = place(interval.low), place(interval.high)
    cells[first : last + 1] = "━" * (last - first + 1)
    if interval.low < low:
        cells[0] = "◂"
    if interval.high > high:
        cells[-1] = "▸"
    cells[place(interval.mean)] = "●"
    return "".join(cells)
