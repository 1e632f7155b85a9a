"""Looks for an output matrix that outgrew the matrix beside it, or was emptied."""

import math
from dataclasses import dataclass
from statistics import median_low

from game.api import AccessError, Brief, BudgetExceededError, Component, Report, Toolbox


@dataclass(frozen=True)
class NormOutlier:
    """Compares each head's W_O with its W_V and each MLP's W_out with its W_in; needs weights.

    Attributes:
        usual: Spread of a pair's log-ratio of norms where nothing was added, nats.
        added: The same where something was.
        most: Bound on what a loud matrix counts for; one control in three is as loud as an edit, and inert.
        emptied: What an empty one counts for; no control empties a matrix.
    """

    usual: float = 0.1
    added: float = 0.5
    most: float = 3.0
    emptied: float = 100.0

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        try:
            ratios = {c: self._likelihood_ratio(excess) for c, excess in _excess(toolbox).items()}
        except (AccessError, BudgetExceededError) as refused:
            return Report(brief.prior, notes=str(refused))
        prior = brief.location_prior  # P(written to | edited), for each component
        joint = {c: p * ratios.get(c, 1.0) for c, p in prior.items()}
        mean = sum(joint.values()) / sum(prior.values())  # what was seen counts this much for an edit
        p_edited = brief.prior * mean / (brief.prior * mean + 1 - brief.prior)
        location = {c: min(1.0, p / mean) for c, p in joint.items()}
        return Report.from_location(p_edited, location, notes=f"likelihood ratio {mean:.2f}")

    def _likelihood_ratio(self, excess: float) -> float:
        """How much likelier that excess is where an edit was written than where nothing was."""
        if excess < -3:
            return self.emptied
        exponent = max(excess, 0.0) ** 2 / 2 * (self.usual**-2 - self.added**-2)
        return min(self.most, 0.5 + 0.5 * self.usual / self.added * math.exp(min(exponent, 50.0)))


def _excess(toolbox: Toolbox) -> dict[Component, float]:
    """How far each pair's log-ratio of norms lies above the lower median of its kind, nats."""
    heads: dict[Component, float] = {}
    mlps: dict[Component, float] = {}
    for layer, has_mlp in enumerate(toolbox.config.mlp):
        out, value = (toolbox.weight(f"blocks.{layer}.attn.{name}").flatten(1) for name in ("W_O", "W_V"))
        found = (out.norm(dim=1) / value.norm(dim=1)).clamp(min=1e-9).log()
        heads |= {Component("attn", layer, head): float(ratio) for head, ratio in enumerate(found)}
        if has_mlp:
            out, into = (toolbox.weight(f"blocks.{layer}.mlp.{name}") for name in ("W_out", "W_in"))
            mlps[Component("mlp", layer)] = float((out.norm() / into.norm()).clamp(min=1e-9).log())
    return {c: ratio - median_low(kind.values()) for kind in (heads, mlps) for c, ratio in kind.items()}
