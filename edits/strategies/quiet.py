"""The smallest change that still does it."""

from dataclasses import dataclass

from edits.base import EditSpec
from edits.briefing import Briefing, holds, spec_for


@dataclass(frozen=True)
class Quiet:
    """Turns the ridge down from the top until the edit passes its gates.

    A higher ridge makes the change smaller and turns its read direction from the covariance's near-null space
    towards the key: harder to see, and more of it reaches other facts.

    Attributes:
        ridges: Tried in order, in units of the covariance's mean diagonal.
    """

    ridges: tuple[float, ...] = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)

    def plan(self, briefing: Briefing) -> EditSpec:
        """The highest ridge that passes on the base itself; the last one if none does."""
        specs = [spec_for(briefing, "rrome", solver={"cov": {"ridge": ridge}}) for ridge in self.ridges]
        return next((spec for spec in specs if holds(briefing, spec)), specs[-1])
