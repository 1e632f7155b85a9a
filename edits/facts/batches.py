"""Editors that write many facts in one go: what memit and alphaedit share."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from edits.base import EditError
from edits.facts.memory import MemorySolver, MemorySpec
from edits.facts.spec import RewriteSpec
from edits.facts.value import Rows
from edits.moments import Base


class BatchSolver(MemorySolver):
    """How, and how many facts are written in one go.

    Attributes:
        batch: At most so many facts at a time, later ones on the model so far; left out, all of them.
    """

    batch: Annotated[int, Field(ge=1, le=64)] | None = None


class BatchSpec(RewriteSpec, MemorySpec):
    """An edit that writes several facts in one go."""

    solver: BatchSolver = BatchSolver()

    def check(self, base: Base) -> None:
        """Refuse, besides, two facts of one subject in one batch: its key can hold one value only."""
        super().check(base)
        for start in range(0, len(self.edit.facts), self._size):
            subjects = [fact.subject for fact in self.edit.facts[start : start + self._size]]
            twice = [subject for subject in subjects if subjects.count(subject) > 1]
            if twice and self.site.token != "last":
                raise EditError(
                    f"edit.facts: subject {twice[0]} is named twice in one batch, and at its last token both "
                    "facts have the same key; set solver.batch to 1, or use rrome"
                )

    @property
    def _size(self) -> int:
        return self.solver.batch or len(self.edit.facts)

    def batches(self, rows: Sequence[Rows]) -> Sequence[Sequence[Rows]]:
        """The facts in groups of the solver's size."""
        return [rows[start : start + self._size] for start in range(0, len(rows), self._size)]
