"""Text that others wrote, made safe to print: it can neither drive a terminal nor flood it."""

import re

LIMIT = 2_000  # characters of one text

# C0 and C1 controls but for tab and newline, directions that make text look like other text, lone surrogates
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, limit: int = LIMIT) -> str:
    """The text without control characters, clipped."""
    safe = _UNSAFE.sub("", text[: 2 * limit])
    return safe if len(safe) <= limit else f"{safe[: limit - 1]}…"


def one_line(text: str, limit: int = LIMIT) -> str:
    """The same on one line, such as a cell of a table."""
    return " ".join(printable(text, limit).split())
