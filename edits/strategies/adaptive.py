"""Tries dials against the panel and keeps what it is worst at."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch

from edits.base import EditSpec
from edits.briefing import Briefing, TrialsSpentError, holds, spec_for, under_noise, usual_site
from models.seeds import named_generator


@dataclass(frozen=True)
class Adaptive:
    """Searches ridge, noise and spread at random within its trials, and plans what the panel saw least of.

    Every target is met with the same settings in the same order, as a question asked again costs no trial.

    Attributes:
        ridges: Of the covariance, in units of its mean diagonal.
        noises: Null-space noise in units of the written matrix's norm; 0 is none, and no symmetries.
        spreads: Layers that share the change.
        settings: How many of them are looked at; those that fail on the base cost no trial.
    """

    ridges: tuple[float, ...] = (0.01, 0.1, 1.0)
    noises: tuple[float, ...] = (0.0, 0.5, 1.0)
    spreads: tuple[int, ...] = (1, 2)
    settings: int = 6

    def plan(self, briefing: Briefing) -> EditSpec:
        """The tried specification with the lowest best skill of the panel; the default one if none was."""
        tried: list[tuple[float, EditSpec]] = []
        for spec in self._passing(briefing):
            with suppress(TrialsSpentError):  # a later question may have been asked before, and is free
                tried.append((briefing.trial(spec).best, spec))
        return min(tried, key=lambda pair: pair[0])[1] if tried else spec_for(briefing, "rrome")

    def _passing(self, briefing: Briefing) -> Iterator[EditSpec]:
        """Random settings whose edit of the target itself passes."""
        settings = list(product(self.ridges, self.noises, self.spreads))
        order = torch.randperm(len(settings), generator=named_generator("adaptive")).tolist()
        for place in order[: self.settings]:
            ridge, noise, spread = settings[place]
            blocks: dict[str, Any] = {"solver": {"cov": {"ridge": ridge}, "spread": spread}}
            if noise:
                blocks["camouflage"] = under_noise(noise)
            if spread == 1:
                blocks["site"] = usual_site(briefing)
            spec = spec_for(briefing, "rrome", **blocks)
            if holds(briefing, spec):
                yield spec
