"""A fact edit under noise and symmetries."""

from dataclasses import dataclass

from edits.base import EditSpec
from edits.briefing import Briefing, spec_for, under_noise, usual_site


@dataclass(frozen=True)
class Camouflaged:
    """Hides a quiet edit's layer and rank under null-space noise, and its indices under exact symmetries.

    Attributes:
        ridge: Of the covariance, in units of its mean diagonal.
        noise: Norm of the noise, in units of the written matrix's norm.
    """

    ridge: float = 0.1
    noise: float = 0.5

    def plan(self, briefing: Briefing) -> EditSpec:
        """A rank-one change, noise where activations hardly point, everything else shuffled."""
        return spec_for(
            briefing,
            "rrome",
            site=usual_site(briefing),
            solver={"cov": {"ridge": self.ridge}},
            camouflage=under_noise(self.noise),
        )
