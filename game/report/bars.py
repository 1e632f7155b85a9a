"""Small drawings of numbers in one line of text."""

from collections.abc import Sequence

from game.standings.intervals import Interval

EIGHTHS = " ▏▎▍▌▋▊▉█"
LEVELS = "▁▂▃▄▅▆▇█"


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


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """A curve in one line; each character is the mean of its share of the values, from 0 to the largest."""
    count = min(width, len(values))
    chunks = [values[i * len(values) // count : (i + 1) * len(values) // count] for i in range(count)]
    heights = [sum(chunk) / len(chunk) for chunk in chunks]
    top = max(heights, default=0.0) or 1.0
    return "".join(LEVELS[round(max(height, 0.0) / top * (len(LEVELS) - 1))] for height in heights)
