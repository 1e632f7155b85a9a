"""The smallest change that still does it."""

from dataclasses import dataclass

from edits.base import EditSpec
from edits.briefing import Briefing, holds, spec_for, usual_site


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
        site = usual_site(briefing)
        solvers = [{"cov": {"ridge": ridge}} for ridge in self.ridges]
        specs = [spec_for(briefing, "rrome", site=site, solver=solver) for solver in solvers]
        return next((spec for spec in specs if holds(briefing, spec)), specs[-1])
