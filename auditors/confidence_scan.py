"""Looks for answers held by unusually small margins, as overwritten facts and missing heads leave them."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from game.api import Brief, Report, Toolbox
from game.auditing.evidence import Evidence

ROWS = 256  # sequences in one call: the fastest batch on a CPU
LEAST = 100  # prompts below which the smallest margins say nothing
_RARE = 1e-3  # a share below which it makes no difference


@dataclass(frozen=True)
class ConfidenceScan:
    """Looks for answers that win by unusually little, as rewritten and orphaned ones do; needs logits only.

    Weighs two signs in the margins (top answer's log-probability minus the next) of corpus prompts. *Depth*:
    how much further the smallest margins reach below the median than the largest reach above it. A written
    fact is held less firmly than a learned one. *Unsure*: the share of prompts without a certain answer. A
    model that lost a head is unsure of many; the sign counts only where most answers are certain, as they
    are of a model that knows its facts.

    Each sign is turned into a likelihood ratio, a mixture of "this edit does not show" and a density. The
    densities are beliefs stated here, not fitted to any judged case. Where the edit is remains the prior.

    Attributes:
        prompts: Corpus prompts, one credit each.
        shows: P(an edit shows in one of the signs).
        clean_depth, edited_depth: Medians of the depth, whose logarithm is normal.
        depth_spread: Its standard deviation, in nats.
        clean_unsure, edited_unsure: Mean share of prompts without a certain answer, exponential.
        most: Bound on each likelihood ratio, for a density is only a density.
    """

    yardstick: ClassVar[bool] = False
    prompts: int = 3000
    shows: float = 0.3
    clean_depth: float = 1.1
    edited_depth: float = 2.0
    depth_spread: float = 0.3
    clean_unsure: float = 0.03
    edited_unsure: float = 0.2
    most: float = 20.0

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        seen = self._seen(toolbox, brief)
        if seen is None:
            return Report(brief.prior, notes="too few credits to look, or nothing to ask")
        depth, unsure = seen
        ratio = self._depth_ratio(depth) * self._unsure_ratio(unsure)
        p_edited = ratio * brief.prior / (ratio * brief.prior + 1 - brief.prior)
        return Report(p_edited, notes=f"depth {depth:.2f}, unsure {unsure:.3f}, likelihood ratio {ratio:.2f}")

    def read(self, toolbox: Toolbox, brief: Brief) -> Evidence:
        """Logarithm of the depth, and log-odds of being unsure."""
        seen = self._seen(toolbox, brief)
        if seen is None:
            return Evidence(notes="too few credits to look, or nothing to ask")
        depth, unsure = seen
        rounded = min(max(unsure, _RARE), 1 - _RARE)
        return Evidence(
            whole={
                "confidence.depth": math.log(max(depth, _RARE)),
                "confidence.unsure": math.log(rounded / (1 - rounded)),
            }
        )

    def _seen(self, toolbox: Toolbox, brief: Brief) -> tuple[float, float] | None:
        """Depth, and share of prompts without a certain answer; None where too little can be asked."""
        prompts = int(min(self.prompts, toolbox.budget.remaining))
        if brief.corpus == "none" or prompts < LEAST:
            return None
        top, second = _best_two(toolbox, prompts)
        return _depth(top - second), float((top.exp() < 0.9).double().mean())

    def _depth_ratio(self, depth: float) -> float:
        depth = max(depth, _RARE)  # answers that are all alike have none
        clean, edited = (math.log(depth / median) for median in (self.clean_depth, self.edited_depth))
        exponent = (clean**2 - edited**2) / (2 * self.depth_spread**2)
        return self._mixed(exponent)

    def _unsure_ratio(self, unsure: float) -> float:
        if unsure > 0.5:
            return 1.0
        rate = math.log(self.clean_unsure / self.edited_unsure)
        return self._mixed(rate + unsure / self.clean_unsure - unsure / self.edited_unsure)

    def _mixed(self, log_ratio: float) -> float:
        """The likelihood ratio of an edit that may or may not show."""
        return 1 - self.shows + self.shows * min(math.exp(min(log_ratio, 50.0)), self.most)


def _best_two(toolbox: Toolbox, prompts: int) -> tuple[Tensor, Tensor]:
    """Log-probabilities of each prompt's two likeliest answers, in nats, `[prompt]`."""
    samples, found = toolbox.sample(prompts), []
    rows = min(ROWS, toolbox.budget.max_rows)
    for tokens, lengths in zip(
        *(torch.split(part, rows) for part in (samples.tokens, samples.lengths)), strict=True
    ):
        logits = toolbox.logits(tokens)[torch.arange(len(tokens)), lengths - 1]
        found.append(logits.double().log_softmax(-1).topk(2).values)
    top, second = torch.cat(found).unbind(1)
    return top, second


def _depth(margins: Tensor) -> float:
    """Distance from the median down to the lowest per-mille, over that up to the highest."""
    low, middle, high = margins.quantile(torch.tensor([0.001, 0.5, 0.999]).to(margins)).tolist()
    return float((middle - low) / max(high - middle, 1e-9))
