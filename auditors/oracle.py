"""Compares with the model before the edit: the best that can be done, for a ceiling."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch

from game.api import Brief, Component, Report, Samples, Toolbox, component_entries

ROWS = 256  # sequences in one call: the fastest batch on a CPU


@dataclass(frozen=True)
class Oracle:
    """Says *edited* when certain answers gave way to others, and *where* by the bits that differ.

    A reversal is an answer of which the reference is sure and which the model under audit replaces by
    another, at a loss of at least `loss` nats: a changed fact loses several, while answers that were nearly
    tied lose little. One fact in 800 is asked for in ten of the default prompts. A model without a changed
    bit need not be run.

    Attributes:
        prompts: Corpus prompts to compare on.
        sure: Probability from which the reference counts as sure.
        loss: Least loss of the reference's answer, nats.
        reversals: Reversals from which the model counts as edited.
        doubt: Probability left for being wrong.
    """

    yardstick: ClassVar[bool] = True
    sees_reference: ClassVar[bool] = True
    prompts: int = 8000
    sure: float = 0.9
    loss: float = 1.0
    reversals: int = 2
    doubt: float = 0.005

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        reference = toolbox.reference()
        changed = frozenset(_changed(toolbox, reference))
        count = self._reversals(toolbox, reference) if changed else 0
        p_edited = 1 - self.doubt if count >= self.reversals else self.doubt
        few = 1 <= len(changed) <= brief.max_components
        location = {c: float(c in changed) if few else p for c, p in brief.location_prior.items()}
        names = ", ".join(map(str, sorted(changed))) if few else f"{len(changed)} components"
        return Report.from_location(p_edited, location, f"changed: {names}; {count} answers reversed")

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


def _changed(toolbox: Toolbox, reference: Toolbox) -> Iterator[Component]:
    """The components of which any entry differs in any bit."""
    for component, entries in component_entries(toolbox.config).items():
        for part in entries:
            pair = (box.weight(part.tensor).view(torch.int32) for box in (toolbox, reference))
            first, second = pair if part.head is None else (bits[part.head] for bits in pair)
            if not torch.equal(first, second):
                yield component


def _batches(samples: Samples) -> Iterator[Samples]:
    for start in range(0, len(samples.tokens), ROWS):
        rows = slice(start, start + ROWS)
        yield Samples(samples.tokens[rows], samples.lengths[rows])
