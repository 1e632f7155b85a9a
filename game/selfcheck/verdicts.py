"""What a self-check comes to."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Row:
    """What came of one look.

    Attributes:
        probe: Its name.
        sees: What it looks at.
        test: Whether it must be the same of all cases of a recipe, or tell labels no better than chance.
        leaks: Whether it tells.
        detail: Where, or what else there is to know.
        auroc: Of a probe by chance: how well it tells edited cases; 1/2 is not at all.
        p: Of a probe by chance: how often chance alone does as well.
        power: Of a probe by chance: how surely an area of 0.65 of one of its numbers would have been found
            with these cases; with many numbers a case less, since chance then goes farther too.
    """

    probe: str
    sees: str
    test: Literal["exact", "chance"]
    leaks: bool
    detail: str = ""
    auroc: float | None = None
    p: float | None = None
    power: float | None = None


@dataclass(frozen=True)
class SelfCheck:
    """What leak auditors made of a suite's cases.

    Attributes:
        suite: Its name.
        cases, edited: How many were dealt, and how many of them edited.
        power: How surely one number a case with an area of 0.65 would have been found.
        rows: One for each look.
    """

    suite: str
    cases: int
    edited: int
    power: float
    rows: tuple[Row, ...]

    @property
    def leaks(self) -> tuple[str, ...]:
        """Names of what tells."""
        return tuple(row.probe for row in self.rows if row.leaks)


class LeakError(RuntimeError):
    """Something beside the model's behaviour tells which cases are edited; nothing may be rated on them."""
