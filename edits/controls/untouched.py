"""The control that is the base itself."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from edits.base import Candidate, Control
from edits.gates import Gates
from edits.moments import Base
from models.bounds import Bound
from models.strict_yaml import StrictModel


class UntouchedEdit(StrictModel):
    """Nothing to set."""

    kind: Literal["untouched"] = "untouched"


class Untouched(Control):
    """The base itself, saved again through the same path as every edit.

    Without camouflage it is the base byte for byte; the gate is for what camouflage costs.
    """

    floor: ClassVar[Gates] = {"agree": Bound(min=0.998)}
    edit: UntouchedEdit

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """No change."""
        yield Candidate({}, ())

    def summary(self, base: Base) -> str:
        """What was done."""
        return "nothing was done"
