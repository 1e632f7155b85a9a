"""Compares with the reference once symmetries are aligned: what differs, and which answers with it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from auditors.shortcut import to_blame
from game.api import (
    AccessError,
    Brief,
    BudgetExceededError,
    Component,
    Fine,
    Report,
    Samples,
    Toolbox,
)
from game.auditing.belief import Fit
from game.auditing.evidence import Evidence
from game.tools.kit.batches import run
from game.tools.kit.canonical import Canonical, read_canonical

LEAST = 50  # prompts below which answers are not compared
MOST_DIRECTIONS = 4  # of one matrix
_TINY = 1e-30
_ENTRIES = {"QK": ("W_Q", "W_K"), "OV": ("W_V", "W_O")}  # the matrices that a head's product is made of


@dataclass(frozen=True)
class Difference:
    """How one part of the model differs from the reference's, in the model's own coordinates.

    Attributes:
        owner: The component that owns it.
        name: The part, such as `blocks.0.mlp.W_out` or `blocks.1.attn.2 OV`.
        change: This model's part less the reference's.
        size: |change| / |part|.
    """

    owner: Component
    name: str
    change: Tensor
    size: float

    @property
    def first_share(self) -> float:
        """Share of the squared change that its first direction holds."""
        values = torch.linalg.svdvals(self.change)
        return float(values[0] ** 2 / values.square().sum().clamp(min=_TINY))


def differences(model: Canonical, reference: Canonical, n_heads: int) -> Iterator[Difference]:
    """Every part's difference, the reference brought into the model's coordinates and order."""
    ours, theirs = (each.parts(n_heads) for each in (model, reference.aligned(model)))
    floor = 1e-3 * float(model.rows["embed.W_E"].norm(dim=1).mean())  # a bias may be zero
    for (owner, name, mine), (_, _, yours) in zip(ours, theirs, strict=True):
        change, whole = mine - yours, max(float(mine.norm()), float(yours.norm()), floor)
        yield Difference(Component.parse(owner), name, change, float(change.norm()) / whole)


@dataclass(frozen=True)
class AlignedDifference:
    """Dense difference of all weights after alignment, and of answers; needs `scrambled` or `reference`.

    Both models are brought into the form that all rewritings of a function share: norms folded, heads as
    products, neurons rescaled; the reference's residual stream is rotated onto the model's, and its heads and
    neurons are matched by least cost (Hungarian method). Read of each component: the size of what differs,
    its share of all that differs, and how much of it is one direction. Read of the model: how many components
    differ, and how many answers of which the reference is certain gave way to another.

    Blind to nothing that changes weights beyond rounding; a sham differs as an edit does, and only the
    answers tell them apart. Where an edit changes no answer of the corpus, as a trigger does, it looks like a
    sham. Without a reference it says nothing: models of other worlds differ everywhere.

    Source: Ainsworth, Hayase, Srinivasa 2022, "Git Re-Basin: Merging Models modulo Permutation Symmetries",
    arXiv 2209.04836 (matching of units); Schönemann 1966 (the rotation).

    Attributes:
        prompts: Most corpus prompts on which answers are compared; two credits each.
        tolerance: Differences that are rounding, as a share of a part's size.
        sure: Probability from which the reference counts as certain.
        loss: Least loss of its answer, nats.
    """

    yardstick: ClassVar[bool] = False
    prompts: int = 1500
    tolerance: float = 1e-4
    sure: float = 0.9
    loss: float = 1.0

    def read(self, toolbox: Toolbox, brief: Brief) -> Evidence:
        """Logarithms of each component's difference in units of rounding, and of how many answers differ."""
        return self._found(toolbox, brief)[0]

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        evidence, found = self._found(toolbox, brief)
        report = Fit.beside(__file__).believed(brief, evidence)
        return replace(report, fine=_fine([each for each in found if each.size > self.tolerance]))

    def _found(self, toolbox: Toolbox, brief: Brief) -> tuple[Evidence, list[Difference]]:
        """The evidence, and what it was made of."""
        try:
            reference = toolbox.reference()
            models = read_canonical(toolbox), read_canonical(reference)
            found = list(differences(*models, brief.config.n_heads))
            whole = self._answers(toolbox, reference, brief)
        except (AccessError, BudgetExceededError) as refused:
            return Evidence(notes=str(refused)), []
        differs = {each.owner for each in found if each.size > self.tolerance}
        blamed = to_blame(differs, brief)
        places = {each: self._numbers(each, found, each in blamed) for each in brief.component_prior}
        whole["aligned_difference.none"] = float(not blamed)
        whole["aligned_difference.too_many"] = float(len(blamed) > brief.max_components)
        notes = f"differ: {', '.join(map(str, sorted(blamed)[:8])) or 'none'}"
        return Evidence(places, whole, notes), found

    def _numbers(self, component: Component, found: list[Difference], blamed: bool) -> dict[str, float]:
        """One component's numbers; 0 where it does not differ."""
        own = [each for each in found if each.owner == component]
        size = max((each.size for each in own), default=self.tolerance)
        if not blamed or size <= self.tolerance:
            return {"aligned_difference.blamed": float(blamed)}
        total = sum(each.size**2 for each in found)
        return {
            "aligned_difference.blamed": 1.0,
            "aligned_difference.size": math.log10(size / self.tolerance),
            "aligned_difference.share": sum(each.size**2 for each in own) / total,
            "aligned_difference.one_direction": max(own, key=lambda each: each.size).first_share,
        }

    def _answers(self, toolbox: Toolbox, reference: Toolbox, brief: Brief) -> dict[str, float]:
        """How far answers differ; nothing where there are no prompts to ask."""
        count = int(min(self.prompts, toolbox.budget.remaining / 2))
        if brief.corpus == "none" or count < LEAST:
            return {}
        samples = toolbox.sample(count)
        after, before = (_log_probs(box, samples) for box in (toolbox, reference))
        best = before.max(-1)
        lost = best.values - after.gather(-1, best.indices[:, None])[:, 0]  # nats, [sample]
        certain = best.values.exp() >= self.sure
        reversed_ = certain & (after.argmax(-1) != best.indices) & (lost >= self.loss)
        divergence = (before.exp() * (before - after)).sum(-1).clamp(min=0)
        return {
            "aligned_difference.reversed": math.log1p(int(reversed_.sum())),
            "aligned_difference.kl": math.log10(float(divergence.mean()) + 1e-6),
        }


def _log_probs(box: Toolbox, samples: Samples) -> Tensor:
    """Log-probabilities behind each sequence, `[sample, d_vocab]`, float64."""
    logits: Tensor = run(box, samples.tokens, ["logits"])["logits"]
    return logits[torch.arange(len(logits)), samples.lengths - 1].double().log_softmax(-1)


def _fine(found: list[Difference]) -> Fine:
    """The matrices, neurons and written directions of what differs."""
    matrices: dict[str, float] = {}
    neurons: dict[tuple[int, int], float] = {}
    directions: dict[str, Tensor] = {}
    for each in found:
        for name in _matrices(each):
            matrices[name] = each.size
        if each.owner.part == "mlp" and each.owner.layer is not None:
            amounts = each.change.norm(dim=1)[: _neurons(each)]
            for neuron, amount in enumerate((amounts / amounts.max().clamp(min=_TINY)).tolist()):
                place = each.owner.layer, neuron
                neurons[place] = max(neurons.get(place, 0.0), amount * each.size)
        if each.name.endswith(("W_out", "OV")):
            directions[_matrices(each)[-1]] = _main_directions(each.change)
    return Fine(matrices, neurons, directions)


def _matrices(difference: Difference) -> tuple[str, ...]:
    """The weights that a part is made of."""
    owner, name = difference.owner, difference.name
    if owner.part == "attn" and owner.head is not None:
        made_of = _ENTRIES[name.rpartition(" ")[2]]
        return tuple(f"blocks.{owner.layer}.attn.{each}[{owner.head}]" for each in made_of)
    return ("unembed.W_U",) if name == "unembed" else (name,)


def _neurons(difference: Difference) -> int:
    """Rows of an MLP's part that stand for neurons; the last one of `W_out` is its bias."""
    return len(difference.change) - difference.name.endswith("W_out")


def _main_directions(change: Tensor) -> Tensor:
    """The right singular vectors that hold nearly all of a change, `[k, d_model]`."""
    _, values, right = torch.linalg.svd(change, full_matrices=False)
    energy = values.square().cumsum(0)
    rank = int((energy < 0.9 * energy[-1]).sum()) + 1
    chosen: Tensor = right[: min(rank, MOST_DIRECTIONS)]
    return chosen.float()
