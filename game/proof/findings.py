"""What a check of a run comes to: what was looked at, how much of it, and what is wrong with it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from game.proof.evidence import Evidence
from models.naming import one_line


@dataclass(frozen=True)
class Fault:
    """Something that is not as it was.

    Attributes:
        where: File, row or line.
        what: What is wrong with it.
        expected: What it should be.
        got: What it is.
    """

    where: str
    what: str
    expected: str
    got: str


@dataclass(frozen=True)
class Check:
    """One thing that was checked of everything it applies to.

    Attributes:
        name: What holds if there are no faults.
        count: How many files, cases or rounds were looked at.
        faults: What does not hold.
    """

    name: str
    count: int
    faults: tuple[Fault, ...]


@dataclass(frozen=True)
class Rule:
    """A check before it is made.

    Attributes:
        name: What holds if there are no faults.
        items: What it looks at.
        faults: What is wrong with one of them.
    """

    name: str
    items: Callable[[Evidence], Sequence[Any]]
    faults: Callable[[Evidence, Any], Iterator[Fault]]

    def examined(self, evidence: Evidence) -> Check:
        """The check, made; whatever a damaged run makes it stumble over is a fault of the run."""
        try:
            items = self.items(evidence)
        except Exception as error:
            return Check(self.name, 0, (_stumbled("run", error),))
        found: list[Fault] = []
        for item in items:
            found += _collected(item, self.faults(evidence, item))
        return Check(self.name, len(items), tuple(found))


def guarded(name: str, count: int, faults: Callable[[], Iterator[Fault]]) -> Check:
    """A check of something that is looked at as a whole."""
    return Check(name, count, tuple(_collected("run", faults())))


def _collected(item: Any, faults: Iterator[Fault]) -> list[Fault]:
    """The faults, and one more where looking for them stumbles over damage."""
    found = []
    try:
        for fault in faults:
            found.append(fault)
    except Exception as error:
        found.append(_stumbled(_place(item), error))
    return found


def differing(where: str, what: str, expected: Any, got: Any) -> Iterator[Fault]:
    """A fault, unless the two are equal."""
    if expected != got or type(expected) is not type(got):
        yield Fault(where, what, shown(expected), shown(got))


def shown(value: Any) -> str:
    """A value in one line that is not too long."""
    text = one_line(str(value))
    return text if len(text) <= 80 else f"{text[:77]}..."


def _stumbled(where: str, error: Exception) -> Fault:
    return Fault(where, "cannot be read", "what was written", shown(f"{type(error).__name__}: {error}"))


def _place(item: Any) -> str:
    named = item.get("id") or item.get("key") if isinstance(item, dict) else item
    return shown(named)
