"""One change shared by several layers."""

from dataclasses import dataclass

from edits.base import EditSpec
from edits.briefing import Briefing, spec_for


@dataclass(frozen=True)
class Spread:
    """Divides the change over the MLPs, so that each is small and none is the place.

    Attributes:
        layers: How many MLPs share it; fewer where the model has fewer.
        ridge: Of the covariance, in units of its mean diagonal.
    """

    layers: int = 2
    ridge: float = 1e-2

    def plan(self, briefing: Briefing) -> EditSpec:
        """As many rank-one changes as there are layers."""
        there = sum(briefing.base.checkpoint.config.mlp)
        solver = {"cov": {"ridge": self.ridge}, "spread": min(self.layers, there)}
        return spec_for(briefing, "rrome", solver=solver)
