"""Messages about names: what is allowed, and which legal name was probably meant."""

from collections.abc import Iterable, Set

SHOWN = 12  # legal names listed in one message
NEAR = 2  # single-letter edits between a slip and the name that was meant
LONGEST = 100  # a longer name is no slip, and comparing it would be slow
CLIPPED = 60  # characters of a reader's own text repeated in a message


def unknown(kind: str, name: str, allowed: Iterable[str]) -> str:
    """`unknown {kind} "{name}"; allowed: a, b`, with the legal name that was probably meant.

    Args:
        kind: What the name should have been, such as `hook` or `task`.
        name: What was got.
        allowed: Every legal name; a set is listed in alphabetical order.
    """
    legal = _ordered(allowed)
    return f"unknown {kind} {quoted(name)}; allowed: {listing(name, legal)}{nearest(name, legal)}"


def nearest(name: str, allowed: Iterable[str]) -> str:
    """`; did you mean "rome"?` if a legal name is near, otherwise an empty string."""
    match = _match(name, _ordered(allowed))
    return "" if match is None else f"; did you mean {quoted(match)}?"


def listing(name: str, allowed: Iterable[str]) -> str:
    """The legal names in their order; of a long list only those most like `name`, and how many there are."""
    legal = _ordered(allowed)
    if len(legal) <= SHOWN:
        return ", ".join(legal) or "none"
    likeliest = sorted(legal, key=lambda option: -_likeness(name, option))[:SHOWN]
    return f"{', '.join(likeliest)}, ... ({len(legal)} in all)"


def quoted(text: str) -> str:
    """The text in double quotes on one line: clipped, invisible characters written as escapes."""
    clipped = text if len(text) <= CLIPPED else text[: CLIPPED - 3] + "..."
    return f'"{one_line(clipped)}"'


def one_line(text: str) -> str:
    """The text with line breaks and everything else that cannot be seen written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _ordered(allowed: Iterable[str]) -> list[str]:
    return sorted(allowed) if isinstance(allowed, Set) else list(dict.fromkeys(allowed))


def _match(name: str, legal: list[str]) -> str | None:
    import difflib  # only a failing run pays for it

    if not 0 < len(name) <= LONGEST:
        return None
    near = [(distance, option) for option in legal if (distance := _slips(name, option)) <= NEAR]
    if near:
        return min(near, key=lambda pair: pair[0])[1]
    by_lower = {option.lower(): option for option in legal}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.7)
    return by_lower[close[0]] if close else None


def _slips(name: str, option: str) -> int:
    """Single-letter edits between two names, letter case aside; beyond `NEAR` if no letter is shared."""
    if abs(len(name) - len(option)) > NEAR:
        return NEAR + 1
    distance = _edit_distance(name.lower(), option.lower())
    return distance if distance < max(len(name), len(option)) else NEAR + 1


def _edit_distance(first: str, second: str) -> int:
    row = list(range(len(second) + 1))
    for i, letter in enumerate(first, start=1):
        above, row = row, [i]
        for j, other in enumerate(second, start=1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (letter != other)))
    return row[-1]


def _likeness(name: str, option: str) -> float:
    import difflib

    return difflib.SequenceMatcher(None, option.lower(), name[:LONGEST].lower()).ratio()
