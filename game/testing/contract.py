"""A contract: named rules that a plug-in is held to, one after the other, and what was found."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

S = TypeVar("S")

Verdict = Literal["held", "broken", "not tried"]


@dataclass(frozen=True)
class Finding:
    """What came of one rule.

    Attributes:
        rule: Its name.
        verdict: `not tried` where a rule before it left nothing to try, or it does not apply.
        message: What was wrong, with file and line where there is one; empty if it held.
    """

    rule: str
    verdict: Verdict
    message: str = ""


class NotApplicableError(Exception):
    """A rule has nothing to say of this plug-in; the message says why."""


@dataclass(frozen=True)
class Rule(Generic[S]):
    """One thing that a plug-in must keep to.

    Attributes:
        name: A sentence about the plug-in, such as `the same seed gives the same report`.
        faults: Everything that breaks it, from a plug-in that could be loaded.
        vital: Whether nothing after it can be tried once it is broken.
    """

    name: str
    faults: Callable[[S], Iterator[str]]
    vital: bool = False

    def finding(self, subject: S) -> Finding:
        """Whether it holds, with the first fault."""
        try:
            message = next(self.faults(subject), None)
        except NotApplicableError as reason:
            return Finding(self.name, "not tried", str(reason))
        return Finding(self.name, "held") if message is None else Finding(self.name, "broken", message)


def findings(rules: Sequence[Rule[S]], subject: S) -> Iterator[Finding]:
    """What comes of each rule, as soon as it is known."""
    broken = ""
    for rule in rules:
        if broken:
            yield Finding(rule.name, "not tried", f"as this is broken: {broken}")
            continue
        found = rule.finding(subject)
        broken = rule.name if rule.vital and found.verdict == "broken" else ""
        yield found


def broken_by(found: Sequence[Finding]) -> list[Finding]:
    """Those that did not hold."""
    return [each for each in found if each.verdict == "broken"]
