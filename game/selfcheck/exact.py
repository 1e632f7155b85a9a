"""What must be the same of all cases with one recipe, league and corpus, whatever was done to the model."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from game.selfcheck.evidence import Evidence, Exhibit


@dataclass(frozen=True)
class Sameness:
    """One thing that must not differ between such cases.

    Attributes:
        name: Short.
        sees: What an auditor would look at.
        of: Where it is seen.
    """

    name: str
    sees: str
    of: Callable[[Exhibit], Hashable]


SAMENESSES = (
    Sameness(
        "file header",
        "metadata, names, order, dtypes and shapes in the delivered file",
        lambda seen: seen.headers[0],
    ),
    Sameness("file size", "bytes of the delivered file", lambda seen: seen.sizes[0]),
    Sameness(
        "companions",
        "how many models come along, their headers and sizes",
        lambda seen: (seen.headers[1:], seen.sizes[1:]),
    ),
    Sameness("brief", "the brief, as text", lambda seen: seen.brief),
    Sameness("start of a round", "bytes of the first frame into a jail", lambda seen: seen.start_size),
)


def difference(sameness: Sameness, evidence: Evidence) -> str:
    """Which cases differ in it from the others of their kind; empty if none do."""
    kinds: dict[str, dict[Hashable, list[str]]] = {}
    for seen in evidence.exhibits:
        kinds.setdefault(seen.shown, {}).setdefault(sameness.of(seen), []).append(seen.id)
    for shown, found in kinds.items():
        if len(found) > 1:
            few = min(found.values(), key=len)
            names = ", ".join(few[:3]) + (", ..." if len(few) > 3 else "")
            return f"{shown}: {len(found)} kinds; the rarest: {names}"
    return ""
