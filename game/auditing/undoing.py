"""Undoes what the likeliest component may hide, and remembers what came up for the judgement."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from game.api import (
    Brief,
    BudgetExceededError,
    Component,
    Intervention,
    LowRank,
    Patch,
    Report,
    Samples,
    Toolbox,
)
from game.auditing.mending import without_spike
from game.auditing.suspects import Suspects
from game.tools.excise import excise
from game.tools.kit.batches import run
from game.tools.kit.weights import price_of_weights
from game.tools.spike import mlp_layers, seen, spike

PROMPTS = 2000  # as many as `spectral_spike` asks, so that what it asked is free
STRENGTHS = (1.0, 1.2, 1.5)  # of which one takes a spike out best: its estimate is shrunken
LEAST = 200  # credits
LIKELY = 0.2  # P(a component was written to) from which it is tried
SURE = 0.9  # probability from which an answer counts as certain
MOST_LOST = 0.1  # share of prompts whose certain answer a change may lose and still be taken for an undoing
MENDING = 0.5  # P(a component was written to) from which a patch is worth its risk


@dataclass(frozen=True)
class Undoing:
    """A change that may be the opposite of an edit, and what comes of it.

    Attributes:
        patch: The change of weights.
        samples: Prompts that were tried.
        restored: Where another answer comes up and is certain, `[sample, pos]`.
        answers: Top answers under it, `[sample, pos]`.
        lost: How many certain answers give way to none.
    """

    patch: Patch
    samples: Samples
    restored: Tensor
    answers: Tensor
    lost: int

    @property
    def found(self) -> int:
        """How many answers come up."""
        return int(self.restored.sum())


def undone(toolbox: Toolbox, brief: Brief, report: Report) -> tuple[Report, list[Suspects]]:
    """The report, with a patch where repair is scored, and what to remember for the judgement.

    Nothing is tried where neither is asked for, nor with fewer than 200 credits.
    """
    suspects = [Suspects(report.p_edited, brief.prior)]
    asked = {"behaviour", "repair"} & set(brief.parts)
    if not asked or brief.league == "blackbox" or brief.corpus == "none" or not report.components:
        return report, suspects
    if toolbox.budget.remaining < LEAST:
        return report, suspects
    suspect = max(report.components, key=lambda each: report.components[each])
    if report.components[suspect] < LIKELY:
        return report, suspects
    try:
        tried = tried_on(toolbox, brief, suspect)
    except BudgetExceededError:
        return report, suspects
    if tried is None or not tried.found or tried.lost > MOST_LOST * len(tried.samples.tokens):
        return report, suspects
    found = Suspects.of(report.p_edited, brief, tried.samples, tried.restored, tried.answers)
    suspects = [replace(found, place=min(1.0, report.components[suspect] / report.p_edited))]
    mends = "repair" in brief.parts and report.components[suspect] >= MENDING
    return replace(report, patch=tried.patch if mends else None), suspects


def tried_on(toolbox: Toolbox, brief: Brief, suspect: Component) -> Undoing | None:
    """The suspect's spike taken out, or the suspect head turned around; None for other parts.

    Answers count where the referee asks for them: behind a prompt, or anywhere in a document.
    """
    if suspect.part == "mlp" and suspect.layer is not None:
        samples = _affordable(toolbox, 1 + len(STRENGTHS))
        return _without_spike(toolbox, samples, _asked(samples, brief), suspect.layer)
    if suspect.part == "attn":
        samples = _affordable(toolbox, 2)
        return _turned(toolbox, samples, _asked(samples, brief), suspect)
    return None


def _asked(samples: Samples, brief: Brief) -> Tensor:
    """Where answers count, `[sample, pos]`."""
    if brief.corpus == "documents":
        return seen(samples)
    return torch.arange(samples.tokens.shape[1]) == samples.lengths[:, None] - 1


def _affordable(toolbox: Toolbox, runs: int) -> Samples:
    """As many prompts as can be run so often, the weights paid."""
    left = toolbox.budget.remaining - price_of_weights(toolbox.config)
    return toolbox.sample(max(1, int(min(PROMPTS, left / runs))))


def _without_spike(toolbox: Toolbox, samples: Samples, asked: Tensor, layer: int) -> Undoing:
    spikes, row = spike(toolbox, samples).arrays, mlp_layers(toolbox.config).index(layer)
    read, write = spikes["read"][row], spikes["write"][row]
    tried = []
    for strength in STRENGTHS:
        found = excise(toolbox, samples, layer, read, write, strength, SURE).arrays
        patch = without_spike(layer, read, write, strength)
        restored, lost = (found[name] & asked for name in ("restored", "lost"))
        tried.append(Undoing(patch, samples, restored, found["after"], int(lost.sum())))
    most = max(1, *(each.found for each in tried))
    return max(tried, key=lambda each: each.found / most - each.lost / len(samples.tokens))


def _turned(toolbox: Toolbox, samples: Samples, asked: Tensor, suspect: Component) -> Undoing:
    name, head = f"blocks.{suspect.layer}.attn", suspect.head or 0
    weight = toolbox.weight(f"{name}.W_O")
    mask = torch.zeros(toolbox.config.n_heads, 1, dtype=torch.bool)
    mask[head] = True
    turn = Intervention(f"{name}.hook_z", torch.tensor(-1.0), "scale", mask)
    was = run(toolbox, samples.tokens, ["logits"])["logits"].log_softmax(-1).max(-1)
    now = run(toolbox, samples.tokens, ["logits"], lambda _rows: [turn])["logits"].log_softmax(-1).max(-1)
    certain = now.values.exp() >= SURE
    left = torch.zeros(len(weight), weight.shape[1], weight.shape[1])
    left[head] = -2 * torch.eye(weight.shape[1])
    return Undoing(
        {f"{name}.W_O": LowRank(left, weight)},
        samples,
        asked & certain & (now.indices != was.indices),
        now.indices,
        int((asked & ~certain & (was.values.exp() >= SURE)).sum()),
    )
