"""Tries dials against the panel and keeps what it is worst at."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch

from edits.base import EditSpec
from edits.briefing import Briefing, holds, spec_for, under_noise
from models.seeds import named_generator


@dataclass(frozen=True)
class Adaptive:
    """Searches ridge, noise and spread at random within its trials, and plans what the panel saw least of.

    Every target is met with the same settings in the same order, as a question asked again costs no trial.

    Attributes:
        ridges: Of the covariance, in units of its mean diagonal.
        noises: Null-space noise in units of the written matrix's norm; 0 is none, and no symmetries.
        spreads: Layers that share the change.
    """

    ridges: tuple[float, ...] = (0.01, 0.1, 1.0)
    noises: tuple[float, ...] = (0.0, 0.5, 1.0)
    spreads: tuple[int, ...] = (1, 2)

    def plan(self, briefing: Briefing) -> EditSpec:
        """The tried specification with the lowest best skill of the panel; untried, the first that passes."""
        tried = [(briefing.trial(spec).best, spec) for spec in self._passing(briefing)]
        if not tried:
            return spec_for(briefing, "rrome")
        return min(tried, key=lambda pair: pair[0])[1]

    def _passing(self, briefing: Briefing) -> Iterator[EditSpec]:
        """Random settings whose edit of the target itself passes, as long as trials are left."""
        settings = list(product(self.ridges, self.noises, self.spreads))
        order = torch.randperm(len(settings), generator=named_generator("adaptive")).tolist()
        for place in order:
            if not briefing.trials_left:
                return
            ridge, noise, spread = settings[place]
            solver = {"cov": {"ridge": ridge}, "spread": spread}
            hidden = under_noise(noise) if noise else []
            spec = spec_for(briefing, "rrome", solver=solver, camouflage=hidden)
            if holds(briefing, spec):
                yield spec
