"""Compares with the model before the edit: the best that can be done, for a ceiling."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch

from game.api import Brief, Challenge, Judgement, Report, Samples, Toolbox
from game.tools.kit.low_rank import patch_between
from game.tools.kit.weights import changed_components, weights_of

ROWS = 256  # sequences in one call: the fastest batch on a CPU


class Found(NamedTuple):
    """What the audit leaves for the judgement: both models and P(edited)."""

    subject: Toolbox
    reference: Toolbox
    p_edited: float


@dataclass(frozen=True)
class Oracle:
    """Says *edited* when certain answers gave way to others, and *where* by the bits that differ.

    A reversal is an answer of which the reference is sure and which the model under audit replaces by
    another, at a loss of at least `loss` nats: a changed fact loses several, while answers that were nearly
    tied lose little. One fact in 800 is asked for in ten of the default prompts. A model without a changed
    bit need not be run. Asked what changed, it runs both models; its patch is the difference, cut to the rank
    that a patch may have.

    Attributes:
        prompts: Corpus prompts to compare on.
        sure: Probability from which the reference counts as sure.
        loss: Least loss of the reference's answer, nats.
        reversals: Reversals from which the model counts as edited.
        doubt: Probability left for being wrong.
        found: Memory between `audit` and `judge`.
    """

    yardstick: ClassVar[bool] = True
    sees_reference: ClassVar[bool] = True
    prompts: int = 8000
    sure: float = 0.9
    loss: float = 1.0
    reversals: int = 2
    doubt: float = 0.005
    found: list[Found] = field(default_factory=list, init=False, repr=False, compare=False)

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        reference = toolbox.reference()
        now, before = weights_of(toolbox), weights_of(reference)
        changed = changed_components(now, before, toolbox.config)
        count = self._reversals(toolbox, reference) if changed else 0
        edited = count >= self.reversals
        p_edited = 1 - self.doubt if edited else self.doubt
        self.found[:] = [Found(toolbox, reference, p_edited)]
        few = 1 <= len(changed) <= brief.max_components
        location = {c: float(c in changed) if few else p for c, p in brief.location_prior.items()}
        names = ", ".join(map(str, sorted(changed))) if few else f"{len(changed)} components"
        asked = edited and "repair" in brief.parts
        patch = patch_between(now, before, changed, toolbox.config) if asked else None
        return Report(
            p_edited,
            {component: p_edited * p for component, p in location.items()},
            patch=patch,
            notes=f"changed: {names}; {count} answers reversed",
        )

    def judge(self, challenge: Challenge) -> Judgement:
        """Where the two models' top answers differ, and what the reference's was."""
        (found,) = self.found
        before, after = (_top_answers(box, challenge) for box in (found.reference, found.subject))
        differ = [i for i, (then, now) in enumerate(zip(before, after, strict=True)) if then != now]
        return Judgement(
            [found.p_edited if i in set(differ) else 0.0 for i in range(len(before))],
            {i: {before[i]: 1 - self.doubt} for i in differ if before[i] in challenge.answers},
        )

    def _reversals(self, toolbox: Toolbox, reference: Toolbox) -> int:
        samples = toolbox.sample(self.prompts)
        return sum(self._reversed(toolbox, reference, batch) for batch in _batches(samples))

    def _reversed(self, toolbox: Toolbox, reference: Toolbox, batch: Samples) -> int:
        rows, last = torch.arange(len(batch.tokens)), batch.lengths - 1
        before = reference.logits(batch.tokens)[rows, last].log_softmax(-1)  # [sample, d_vocab]
        after = toolbox.logits(batch.tokens)[rows, last].log_softmax(-1)
        best = before.max(-1)
        lost = best.values - after.gather(-1, best.indices[:, None])[:, 0]  # nats, [sample]
        replaced = (after.argmax(-1) != best.indices) & (lost >= self.loss)
        return int((replaced & (best.values.exp() >= self.sure)).sum())


def _top_answers(toolbox: Toolbox, challenge: Challenge) -> list[int]:
    """The model's most probable token after each prompt."""
    prompts = Samples(challenge.tokens, challenge.lengths)
    return [answer for batch in _batches(prompts) for answer in _top(toolbox, batch)]


def _top(toolbox: Toolbox, batch: Samples) -> list[int]:
    rows, last = torch.arange(len(batch.tokens)), batch.lengths - 1
    answers: list[int] = toolbox.logits(batch.tokens)[rows, last].argmax(-1).tolist()
    return answers


def _batches(samples: Samples) -> Iterator[Samples]:
    for start in range(0, len(samples.tokens), ROWS):
        rows = slice(start, start + ROWS)
        yield Samples(samples.tokens[rows], samples.lengths[rows])
