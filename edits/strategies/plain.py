"""The default editor, as it comes."""

from dataclasses import dataclass

from edits.base import EditSpec
from edits.briefing import Briefing, spec_for


@dataclass(frozen=True)
class Plain:
    """Rewrites the fact by r-ROME with its defaults and hides nothing.

    Attributes:
        ridge: Of the covariance, in units of its mean diagonal.
    """

    ridge: float = 1e-2

    def plan(self, briefing: Briefing) -> EditSpec:
        """One rank-one change, wherever calibration edits pass."""
        return spec_for(briefing, "rrome", solver={"cov": {"ridge": self.ridge}})
