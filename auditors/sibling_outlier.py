"""Compares each component with the same one of clean models of other worlds: in its weights and at work."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from game.api import AccessError, Brief, BudgetExceededError, Component, Report, Samples, Toolbox
from game.auditing.belief import Fit
from game.auditing.evidence import Evidence
from game.auditing.peers import deviation, siblings_of
from game.tools.kit.canonical import read_canonical
from game.tools.kit.readings import read_tail
from game.tools.spike import mlp_layers

LEAST = 50  # prompts below which components are not watched at work
_TINY = 1e-6
Readings = dict[Component, dict[str, float]]


@dataclass(frozen=True)
class SiblingOutlier:
    """Outliers among clean models of the same recipe, component by component; needs `siblings`.

    Models of other worlds differ in every weight and every fact, but their parts do the same work: how large
    a part is, how much of it is one direction, how loudly it writes, and how far it speaks for the answer
    that the model gives, is alike. Each is read as its deviation from the same component of the siblings; the
    heads of a layer, which have no order, are compared with all heads of that layer. The oddest of a
    component's deviations is a number of its own.

    Blind to edits within what worlds differ by anyway, as one rewritten fact often is; a sham as loud as an
    edit is as odd. Without siblings it says nothing.

    Source: model-population detection of trojans, after Kolouri, Saha, Pirsiavash, Hoffmann 2020, "Universal
    Litmus Patterns", arXiv 1906.10842, and Langosco et al. 2024, "Towards Meta-Models for Automated
    Interpretability", which both judge a model by others made the same way; the statistics are ours.

    Attributes:
        prompts: Most corpus prompts on which components are watched; a credit each for every model.
        spending: Largest share of the credits to spend.
    """

    yardstick: ClassVar[bool] = False
    prompts: int = 300
    spending: float = 0.75

    def read(self, toolbox: Toolbox, brief: Brief) -> Evidence:
        """Each component's deviations from the siblings' same component, and the oddest of them."""
        try:
            siblings = list(siblings_of(toolbox))
            if not siblings:
                return Evidence(notes="this league grants no siblings")
            boxes = [toolbox, *siblings]
            samples = self._samples(toolbox, brief, len(boxes))
            own, *others = (_readings(box, samples, brief.config.n_heads) for box in boxes)
        except (AccessError, BudgetExceededError) as refused:
            return Evidence(notes=str(refused))
        places = {c: _deviations(c, numbers, others) for c, numbers in own.items()}
        odd = max(places, key=lambda c: places[c]["sibling_outlier.oddest"])
        return Evidence(
            places, notes=f"oddest: {odd}, {places[odd]['sibling_outlier.oddest']:.1f} deviations"
        )

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        return Fit.beside(__file__).believed(brief, self.read(toolbox, brief))

    def _samples(self, toolbox: Toolbox, brief: Brief, models: int) -> Samples | None:
        """What components are watched on; None where there are too few credits or no prompts."""
        count = int(min(self.prompts, self.spending * toolbox.budget.remaining / models))
        return toolbox.sample(count) if brief.corpus == "prompts" and count >= LEAST else None


def _deviations(component: Component, own: Mapping[str, float], others: list[Readings]) -> dict[str, float]:
    """How far each reading lies from those of the siblings' same component, heads being a set."""
    place = component.part, component.layer
    found = {
        f"sibling_outlier.{name}": deviation(
            value, [theirs[c][name] for theirs in others for c in theirs if (c.part, c.layer) == place]
        )
        for name, value in own.items()
    }
    return {**found, "sibling_outlier.oddest": max(map(abs, found.values()), default=0.0)}


def _readings(box: Toolbox, samples: Samples | None, n_heads: int) -> Readings:
    """All that is read of each component of one model, by name."""
    found: Readings = {}
    for owner, name, matrix in read_canonical(box).parts(n_heads):
        found.setdefault(Component.parse(owner), {}).update(_of_weights(name, matrix, box.config.act_fn))
    if samples is not None:
        for component, numbers in _at_work(box, samples, n_heads):
            found[component].update(numbers)
    return found


def _of_weights(name: str, matrix: Tensor, act_fn: str) -> Iterator[tuple[str, float]]:
    """Logarithms of a matrix's size, of its first direction's share, and of its largest row's."""
    values, kind = torch.linalg.svdvals(matrix), name.replace(" ", ".").rpartition(".")[2]
    if min(matrix.shape) > 1:
        yield f"{kind}.share", _log(values[0] / values.norm().clamp(min=_TINY))
    if kind == "W_in" and act_fn == "relu":
        return  # there all rows have length 1
    yield f"{kind}.size", _log(values.norm())
    if len(matrix) > 1:
        rows = matrix.norm(dim=1)
        yield f"{kind}.largest_row", _log(rows.max() / rows.median().clamp(min=_TINY))


def _at_work(box: Toolbox, samples: Samples, n_heads: int) -> Iterator[tuple[Component, dict[str, float]]]:
    """How loudly each head and MLP writes where the answer is read, and how far it speaks for the answer."""
    layers, mlps = range(box.config.n_layers), mlp_layers(box.config)
    results, outputs = (
        {l: f"blocks.{l}.{end}" for l in ls}
        for ls, end in ((layers, "attn.hook_result"), (mlps, "hook_mlp_out"))
    )
    scale = ["ln_final.hook_scale"] if box.config.normalization_type else []
    found = read_tail(box, samples, [*results.values(), *outputs.values(), *scale, "logits"], 1)
    answers = found["logits"][:, 0].argmax(-1)
    towards = read_canonical(box).rows["unembed.W_U"][answers]  # [sample, d_model]
    if scale:
        towards = towards / found[scale[0]][:, 0].double()
    for layer, name in results.items():
        for head in range(n_heads):
            written = found[name][:, 0, head].double()
            yield Component("attn", layer, head), _work(written, towards)
    for layer, name in outputs.items():
        yield Component("mlp", layer), _work(found[name][:, 0].double(), towards)


def _work(written: Tensor, towards: Tensor) -> dict[str, float]:
    """How loudly vectors `[sample, d_model]` are written, and what they add to the answers' logits."""
    direct = (written * towards).sum(1)
    return {"loudness": _log(written.norm(dim=1).mean()), "direct": float(direct.mean())}


def _log(value: Tensor) -> float:
    return math.log(max(float(value), _TINY))
