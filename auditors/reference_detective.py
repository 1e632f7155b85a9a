"""Lays the model beside its reference, in whatever coordinates, and tries which difference matters."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from game.api import Brief, Challenge, Component, Judgement, Patch, Report, Samples, Toolbox
from game.auditing.belief import Fit
from game.auditing.evidence import Evidence
from game.auditing.mending import given_back
from game.auditing.restoring import Pair
from game.auditing.suspects import Suspects
from game.tools.diff import ROUNDING
from game.tools.kit.batches import run
from game.tools.kit.weights import price_of_weights, weights_of

LEAST = 100  # prompts below which a change of one fact is missed anyway
_RARE = 1e-9


class Moved(NamedTuple):
    """How the reference's answers were moved, and the places in prompts where they were moved most.

    Attributes:
        samples: All prompts.
        turned: Where a sure answer gave way to another, `[sample, pos]`.
        answers: The reference's, `[sample, pos]`.
        divergence: Mean KL(reference || model), nats.
        tokens: Prompts of the places, `[place, pos]`.
        at: Position of each, `[place]`.
        before: The reference's log-probabilities there, nats, `[place, d_vocab]`.
        reversed: Whether a sure answer gave way there, `[place]`.
    """

    samples: Samples
    turned: Tensor
    answers: Tensor
    divergence: float
    tokens: Tensor
    at: Tensor
    before: Tensor
    reversed: Tensor

    @property
    def reversals(self) -> int:
        """In how many prompts a sure answer gave way."""
        return int(self.turned.any(-1).sum())

    def read(self, logits: Tensor) -> Tensor:
        """Log-probabilities at the places, `[place, d_vocab]`."""
        return logits[torch.arange(len(self.at)), self.at].double().log_softmax(-1)


class Seen(NamedTuple):
    """Both models in the same coordinates, where their answers part, and what that comes to."""

    pair: Pair
    moved: Moved
    evidence: Evidence


@dataclass(frozen=True)
class ReferenceDetective:
    """Tells the difference that carries behaviour from those that hide it; needs a reference, in any form.

    Two models that are only rewritten agree in every answer and, once norms are folded, heads multiplied out,
    neurons matched and the stream rotated, in every number (tool `diff`). What differs is then given back,
    one component at a time: a difference that carries the change brings the reference's answers back, one
    that is noise, a decoy or further training does not.

    Numbers of a component: `reference.differs`, log of its relative difference over rounding;
    `reference.apart`, the same over the median of its kind; `reference.restored`, the share of reversed
    answers that it alone brings back; `reference.carries`, the share of divergence that goes with it;
    `reference.gain.norm` and `.reader`, the share of the difference that other gains of a norm explain.
    Of the whole: `reference.reversals`, log of how many answers n are reversed, and `reference.any`, n / (1 +
    n); `reference.divergence`, log of mean KL.

    Attributes:
        prompts: Most corpus prompts on which both models are asked.
        spending: Largest share of the credits for that.
        places: Most places at which components are given back.
        sure: Probability from which the reference counts as sure.
        loss: Least loss of the reference's answer in a reversal, nats.
        worth_mending: P(a component was written to) times what it brings back, from which a patch is worth
            its risk.
        memory: Between `audit` and `judge`.
    """

    yardstick: ClassVar[bool] = False
    prompts: int = 4000
    spending: float = 0.6
    places: int = 32
    sure: float = 0.9
    loss: float = 1.0
    worth_mending: float = 0.5
    memory: list[Suspects] = field(default_factory=list, init=False, repr=False, compare=False)

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        seen = self._seen(toolbox, brief)
        evidence = seen if isinstance(seen, Evidence) else seen.evidence
        report = Fit.beside(__file__).believed(brief, evidence)
        if isinstance(seen, Evidence):
            self.memory[:] = [Suspects(report.p_edited, brief.prior)]
            return report
        moved = seen.moved
        self.memory[:] = [Suspects.of(report.p_edited, brief, moved.samples, moved.turned, moved.answers)]
        return replace(report, patch=self._patch(toolbox, brief, report, seen))

    def read(self, toolbox: Toolbox, brief: Brief) -> Evidence:
        """What differs, and what of it matters."""
        seen = self._seen(toolbox, brief)
        return seen if isinstance(seen, Evidence) else seen.evidence

    def judge(self, challenge: Challenge) -> Judgement:
        """The set whose prompts say what the reversed ones said, and the reference's answers to those."""
        return self.memory[0].judged(challenge)

    def _patch(self, toolbox: Toolbox, brief: Brief, report: Report, seen: Seen) -> Patch | None:
        """What gives the likeliest component back, where that is worth the risk."""
        if "repair" not in brief.parts or not report.components:
            return None
        suspect = max(report.components, key=lambda each: report.components[each])
        mends = seen.evidence.places.get(suspect, {}).get("reference.restored", 0.0)
        if report.components[suspect] * mends < self.worth_mending:
            return None
        return given_back(weights_of(toolbox), seen.pair, suspect)

    def _seen(self, toolbox: Toolbox, brief: Brief) -> Seen | Evidence:
        """What was found, or evidence that says why nothing was."""
        if brief.league not in ("scrambled", "reference"):
            return Evidence(notes=f"the league {brief.league} grants no reference")
        left = toolbox.budget.remaining - 2 * price_of_weights(toolbox.config)
        prompts = min(self.prompts, int(self.spending * left / 2))
        if brief.corpus == "none" or prompts < LEAST:
            return Evidence(notes="too few credits to look, or nothing to ask")
        pair = Pair.read(toolbox)
        moved = self._moved(toolbox, brief, toolbox.sample(prompts))
        whole = {
            "reference.reversals": math.log1p(moved.reversals),
            "reference.any": moved.reversals / (1 + moved.reversals),
            "reference.divergence": math.log(max(moved.divergence, _RARE)),
        }
        notes = f"{moved.reversals} answers reversed in {prompts}"
        return Seen(pair, moved, Evidence(self._places(toolbox, pair, moved), whole, notes))

    def _places(self, toolbox: Toolbox, pair: Pair, moved: Moved) -> dict[Component, Mapping[str, float]]:
        """The numbers of every component."""
        differs, gains = pair.differences(), pair.gains()
        for norm in gains:
            differs[norm] = max(differs[each] for each in pair.readers(norm))
        tried = self._tried(toolbox, pair, moved, differs)
        usual = _medians(differs)
        explained = gains | {each: share for norm, share in gains.items() for each in pair.readers(norm)}
        return {
            component: {
                "reference.differs": math.log(max(each, ROUNDING) / ROUNDING),
                "reference.apart": math.log(max(each, ROUNDING) / max(usual[component.part], ROUNDING)),
                f"reference.gain.{_kind(component)}": explained.get(component, 0.0) * (each > ROUNDING),
            }
            | tried.get(component, {})
            for component, each in differs.items()
        }

    def _moved(self, toolbox: Toolbox, brief: Brief, samples: Samples) -> Moved:
        """Where the reference's answers are moved most: behind a prompt, or anywhere in a document."""
        at = torch.arange(samples.tokens.shape[1])
        holds = at < samples.lengths[:, None]
        if brief.corpus == "prompts":
            holds = at == samples.lengths[:, None] - 1
        before, after = (
            run(box, samples.tokens, ["logits"])["logits"].log_softmax(-1)
            for box in (toolbox.reference(), toolbox)
        )
        best = before.max(-1)
        lost = best.values - after.gather(-1, best.indices[..., None])[..., 0]
        turned = holds & (best.values.exp() >= self.sure) & (after.argmax(-1) != best.indices)
        turned &= lost >= self.loss
        moved = (before.exp() * (before - after)).sum(-1) * holds  # KL, [sample, pos]
        order = (moved + 1e3 * turned).amax(-1).argsort(descending=True)[: self.places]
        place = (moved + 1e3 * turned)[order].argmax(-1)
        return Moved(
            samples,
            turned,
            best.indices,
            float(moved.sum() / holds.sum()),
            samples.tokens[order],
            place,
            before[order, place].double(),
            turned[order, place],
        )

    def _tried(
        self, toolbox: Toolbox, pair: Pair, moved: Moved, differs: dict[Component, float]
    ) -> dict[Component, dict[str, float]]:
        """What each component that differs brings back, the most different first while credits last."""
        found: dict[Component, dict[str, float]] = {}
        usual = _divergence(moved.before, moved.read(pair.logits(toolbox, moved.tokens)))
        for component in sorted(differs, key=lambda each: -differs[each]):
            if differs[component] <= ROUNDING or toolbox.budget.remaining < 2 * len(moved.tokens):
                break
            now = moved.read(pair.restored(toolbox, moved.tokens, component))
            left = _divergence(moved.before, now)
            carries = 1 - float(left.sum() / usual.sum().clamp(min=_RARE))
            found[component] = {"reference.carries": max(-1.0, carries)}
            if moved.reversed.any():
                back = (now.argmax(-1) == moved.before.argmax(-1))[moved.reversed]
                found[component]["reference.restored"] = float(back.double().mean())
        return found


def _divergence(before: Tensor, after: Tensor) -> Tensor:
    """KL(before || after), nats, `[place]`."""
    return (before.exp() * (before - after)).sum(-1).clamp(min=0)


def _kind(component: Component) -> str:
    return "norm" if component.part.startswith("ln") else "reader"


def _medians(differs: dict[Component, float]) -> dict[str, float]:
    """Median difference of each kind of part."""
    kinds: dict[str, list[float]] = {}
    for component, each in differs.items():
        kinds.setdefault(component.part, []).append(each)
    return {part: float(torch.tensor(found).median()) for part, found in kinds.items()}
