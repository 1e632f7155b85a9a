"""Finds the rank-one spike that a fact edit leaves in an MLP's weights, and tries whether it matters."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from game.api import Brief, Challenge, Component, Judgement, Report, Samples, Toolbox
from game.auditing.evidence import Evidence
from game.auditing.suspects import Suspects
from game.auditing.undoing import undone
from game.tools.excise import excise
from game.tools.spike import mlp_layers, spike

LEAST = 200  # credits below which looking is not worth it
EMPTY = 1e-3  # of the median norm of a head's W_O
_TINY = 1e-6  # of a gap


@dataclass(frozen=True)
class Sign:
    """What was seen in one layer.

    Attributes:
        gap: Log of its gap over that of a model without a spike.
        ratio: Density of its gap with a spike over that without one.
        restored: How many answers gave way to another, certain one when the spike was taken out; None if
            that was not tried.
        lost: How many certain answers gave way to none then.
    """

    gap: float
    ratio: float
    restored: int | None = None
    lost: int = 0

    @property
    def numbers(self) -> dict[str, float]:
        """What a fitted belief weighs; an inert spike is as loud as an edit's and hides nothing."""
        found = {"spike.gap": self.gap}
        if self.restored is not None:
            found |= {"spike.restored": math.log1p(self.restored), "spike.lost": math.log1p(self.lost)}
            found |= {"spike.inert": max(0.0, self.gap)} if not self.restored else {}
        return found


@dataclass(frozen=True)
class SpectralSpike:
    """Looks for a spike in the MLPs' weights on which answers hang, and for emptied heads; needs weights.

    Weighs, by Bayes' rule, an edit of each component against a sham and against nothing at all. Evidence in
    each MLP: how far its spike stands out of `W_out` (tool `spike`), and whether another answer comes up when
    the spike is taken out (tool `excise`). An inert rank-one sham stands out as an edit does, but nothing
    hangs on it. In each head: whether its `W_O` is empty, as ablation leaves it.

    Without a spike the gap behind the first singular value is one of a row of gaps that repel each other;
    their mean is taken from the same model, their law is Wigner's. With one it follows the same law, but with
    the mean `spike_gap`. The other settings are beliefs, stated here and fitted to no judged case.

    Attributes:
        prompts: Most corpus prompts to use.
        spending: Largest share of the credits to spend.
        visible: P(a spike shows | an edit wrote to this MLP).
        spike_gap: Mean log-gap of a spike.
        sham: P(a model that was not edited carries an inert spike).
        works: P(an answer is restored | the spike is an edit's), and likewise `sham_works` for a sham's, and
            `chance_works` where the spike is only the trained matrix's own first direction.
        strength: How much of the spike to take out; its estimate is shrunken.
        worth_trying: Least density ratio for which the spike is taken out.
        empty: P(a head's W_O is empty | an edit wrote to this head).
        never_empty: The same for a head to which nothing was written.
        most: Bound on the density ratio, for laws are never exact in their tails.
        memory: Between `audit` and `judge`.
    """

    yardstick: ClassVar[bool] = False
    prompts: int = 2000
    spending: float = 0.75
    visible: float = 0.7
    spike_gap: float = 0.7
    sham: float = 0.3
    works: float = 0.9
    sham_works: float = 0.02
    chance_works: float = 0.5
    strength: float = 1.5
    worth_trying: float = 0.5
    empty: float = 0.5
    never_empty: float = 0.001
    most: float = 1000.0
    memory: list[Suspects] = field(default_factory=list, init=False, repr=False, compare=False)

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        self.memory[:] = [Suspects(brief.prior, brief.prior)]
        if refused := _refused(toolbox, brief):
            return Report(brief.prior, notes=refused)
        signs = self._signs(toolbox)
        weight = {Component("mlp", layer): self._mlp_weight(sign) for layer, sign in signs.items()}
        full, void = (1 - self.empty) / (1 - self.never_empty), self.empty / self.never_empty
        weight |= {head: void if empty else full for head, empty in _emptied(toolbox).items()}
        seen = (f"layer {l}: ratio {s.ratio:.3g}, restored {s.restored}" for l, s in signs.items())
        notes = "; ".join(seen)
        report = _posterior(brief, weight, self._unedited_weight(signs), notes)
        report, self.memory[:] = undone(toolbox, brief, report)
        return report

    def judge(self, challenge: Challenge) -> Judgement:
        """The set whose prompts hang on the likeliest spike."""
        return self.memory[0].judged(challenge)

    def read(self, toolbox: Toolbox, brief: Brief) -> Evidence:
        """How far each MLP's spike stands out and what hangs on it, and which heads are empty."""
        if refused := _refused(toolbox, brief):
            return Evidence(notes=refused)
        spikes = {Component("mlp", layer): each.numbers for layer, each in self._signs(toolbox).items()}
        heads = {head: {"spike.empty": float(empty)} for head, empty in _emptied(toolbox).items()}
        return Evidence(spikes | heads)

    def _signs(self, toolbox: Toolbox) -> dict[int, Sign]:
        """What is seen in each layer with an MLP."""
        layers = mlp_layers(toolbox.config)
        if not layers:
            return {}
        prompts = int(min(self.prompts, self.spending * toolbox.budget.remaining / (1 + len(layers))))
        samples = toolbox.sample(prompts)
        found = spike(toolbox, samples).arrays
        null = float(found["null_gap"])
        gaps = found["log_gap"].tolist()
        return {
            layer: self._sign(toolbox, samples, layer, (gaps[i], null), found["read"][i], found["write"][i])
            for i, layer in enumerate(layers)
        }

    def _sign(
        self,
        toolbox: Toolbox,
        samples: Samples,
        layer: int,
        gaps: tuple[float, float],
        read: Tensor,
        write: Tensor,
    ) -> Sign:
        """What is seen in a layer, given its gap and that of no spike; a likely spike is taken out."""
        gap, null = (max(each, _TINY) for each in gaps)
        relative, ratio = math.log(gap / null), self._gap_ratio(gap, null)
        if ratio < self.worth_trying:
            return Sign(relative, ratio)
        found = excise(toolbox, samples, layer, read, write, self.strength).arrays
        return Sign(relative, ratio, int(found["restored"].sum()), int(found["lost"].sum()))

    def _gap_ratio(self, gap: float, null_gap: float) -> float:
        """Density of the gap with a spike over that without, both Wigner's law of its own mean."""
        null = min(max(1e-3, null_gap), 0.9 * self.spike_gap)
        narrow = math.pi / 4 * gap**2 * (null**-2 - self.spike_gap**-2)
        return min((null / self.spike_gap) ** 2 * math.exp(min(narrow, 50.0)), self.most)

    def _mlp_weight(self, sign: Sign) -> float:
        """Likelihood of a layer's signs if an edit wrote to its MLP, over that if nothing did."""
        return 1 - self.visible + self.visible * sign.ratio * self._trial_ratio(sign, self.works)

    def _unedited_weight(self, signs: Mapping[int, Sign]) -> float:
        """Likelihood of all signs if the model was not edited, over that if there is no sham either."""
        shams = [sign.ratio * self._trial_ratio(sign, self.sham_works) for sign in signs.values()]
        return 1 - self.sham + self.sham * sum(shams) / len(shams) if shams else 1.0

    def _trial_ratio(self, sign: Sign, works: float) -> float:
        """Likelihood of what taking the spike out did, over that for a direction of the trained matrix."""
        if sign.restored is None:
            return 1.0
        return works / self.chance_works if sign.restored else (1 - works) / (1 - self.chance_works)


def _refused(toolbox: Toolbox, brief: Brief) -> str:
    """Why nothing can be seen; empty where it can."""
    if brief.league == "blackbox":
        return "this league shows no weights"
    if brief.corpus == "none" or toolbox.budget.remaining < LEAST:
        return "too few credits to look, or no prompts to try it on"
    return ""


def _emptied(toolbox: Toolbox) -> dict[Component, bool]:
    """Whether each head's `W_O` is empty."""
    outputs = [toolbox.weight(f"blocks.{layer}.attn.W_O") for layer in range(toolbox.config.n_layers)]
    norms = torch.stack([output.flatten(1).norm(dim=1) for output in outputs])  # [layer, head]
    return {
        Component("attn", layer, head): empty
        for layer, heads in enumerate((norms < EMPTY * norms.median()).tolist())
        for head, empty in enumerate(heads)
    }


def _posterior(brief: Brief, weight: Mapping[Component, float], unedited: float, notes: str) -> Report:
    """Bayes' rule over *not edited* and *edited, and this component written to*.

    Args:
        brief: Holds the prior.
        weight: Likelihood of all signs for each component, if an edit wrote to it; 1 where left out.
        unedited: Likelihood of all signs if there was no edit.
        notes: Passed on.
    """
    joint = {c: p * weight.get(c, 1.0) for c, p in brief.location_prior.items()}
    mean = sum(joint.values()) / sum(brief.location_prior.values())
    p_edited = brief.prior * mean / (brief.prior * mean + (1 - brief.prior) * unedited)
    return Report.from_location(p_edited, {c: min(p / mean, 1.0) for c, p in joint.items()}, notes)
