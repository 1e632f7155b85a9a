"""Does causal tracing tell where to write an edit (arXiv 2301.04213)?

Hase, Bansal, Kim and Ghandeharioun 2023 trace GPT-J on a fact and edit it at every layer: the tracing effect
of a layer hardly correlates with the edit's success there (rho -0.13 at the layer that is usually edited),
and a regression of success on the layer alone explains as much (R2 0.947) as with the effect (0.948). Here
the model is the ordinary one of four layers, the edit r-ROME at the last token, and success the mean of
rewriting, paraphrases and neighbours; what a trace restores is the MLP's output at that token.

What did not transfer: a small model can be edited at every layer, so that the layer explains a quarter of the
success and not nearly all of it. What did: the effect adds next to nothing to the layer, and within a layer
its correlation with success is slightly negative.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.claims.hidden_states import SEEDS, draw
from benchmarks.figures import Figure, mean_of
from edits.apply import tries
from edits.base import EditError
from edits.moments import Base
from game.api import Samples
from game.toolbox.live import ModelToolbox
from game.tools.causal_trace import causal_trace
from game.tools.kit.questions import Contrast
from models.recipe import named_recipe
from models.seeds import named_generator
from models.tasks.facts import Fact
from models.training import one_thread
from models.zoo import trained

PAPER = "2301.04213"
RECIPE = "facts-plain"
FACTS = 12  # of each model, each edited at every layer
PARTS = ("efficacy", "paraphrase", "neighbourhood")
RHO, OF_LAYER, OF_BOTH = -0.13, 0.947, 0.948


class Try(NamedTuple):
    """One fact edited at one layer: what the trace says of that layer, and how well the edit did."""

    layer: int
    effect: float
    success: float


def measured() -> Mapping[str, Figure]:
    """Correlation and explained variance beside the paper's; means over models."""
    found = [list(_tries(Base(trained(named_recipe(RECIPE), seed, seed)))) for seed in SEEDS]
    rows: dict[str, tuple[float | None, list[float]]] = {
        "rho": (RHO, [_rho(each) for each in found]),
        "r2_layer": (OF_LAYER, [_explained(each, traced=False) for each in found]),
        "r2_layer_and_trace": (OF_BOTH, [_explained(each, traced=True) for each in found]),
        "peak_is_best": (None, [_peak_is_best(each) for each in found]),
    }
    return {
        f"claim.{PAPER}.{what}": replace(mean_of(values, _UNITS[what]), peer=peer)
        for what, (peer, values) in rows.items()
    }


_UNITS = {
    "rho": "rank correlation within a layer",
    "r2_layer": "share of variance",
    "r2_layer_and_trace": "share of variance",
    "peak_is_best": "share of facts",
}


def _tries(base: Base) -> Iterator[Try]:
    layers = [layer for layer, has_mlp in enumerate(base.checkpoint.config.mlp) if has_mlp]
    for number in range(FACTS):
        told = draw(base, layers[0], number, "last").edit.facts[0]
        effects = _effects(base, base.facts.fact(told.subject, told.relation), number)
        for layer in layers:
            with suppress(EditError), one_thread():
                record = next(tries(base, draw(base, layer, number, "last"))).record
                success = sum(record.measured[part] for part in PARTS) / len(PARTS)
                yield Try(layer, effects[layer], success)


def _effects(base: Base, fact: Fact, number: int) -> dict[int, float]:
    """By layer, the indirect effect of the MLP's output at the last token, in units of the total effect."""
    table, config = base.facts.table, base.checkpoint.config
    (row,) = (table.of(fact) & (table.phrasing == 0)).nonzero()[:, 0].tolist()
    differs = (table.answer != table.answer[row]) & (table.relation == fact.relation) & (table.phrasing == 0)
    others = (differs & base.known).nonzero()[:, 0]
    other = int(others[torch.randint(len(others), (1,), generator=named_generator("claim other", number))])
    corrupt, (end, its) = table.tokens[row].clone(), table.subject_last[[row, other]].tolist()
    for back in range(len(base.facts.subjects[0])):
        corrupt[end - back] = table.tokens[other, its - back]
    at = table.last[[row]]
    length = int(at) + 1
    contrast = Contrast(
        table.tokens[[row], :length],
        corrupt[None, :length],
        table.answer[[row]],
        table.answer[[other]],
        at,
    )
    box = ModelToolbox(base.model, league="whitebox", corpus=_no_corpus, total=1e9)
    traced = causal_trace(box, contrast).arrays
    layers = [layer for layer, has_mlp in enumerate(config.mlp) if has_mlp]
    share = traced["mlp"][:, -1, 0] / traced["total"][0]
    return dict(zip(layers, share.tolist(), strict=True))


def _no_corpus(_n: int, _seed: int) -> Samples:
    raise NotImplementedError("a trace draws no samples")


def _rho(found: Sequence[Try]) -> float:
    """Mean over layers of the rank correlation of effect and success."""
    each = []
    for layer in sorted({one.layer for one in found}):
        effect, success = zip(
            *((one.effect, one.success) for one in found if one.layer == layer), strict=True
        )
        if len(set(success)) > 1:
            each.append(float(spearmanr(effect, success).statistic))
    return sum(each) / len(each) if each else 0.0


def _explained(found: Sequence[Try], traced: bool) -> float:
    """Share of the variance of success that a linear regression on the layer, and the effect, explains."""
    layers = sorted({one.layer for one in found})
    columns = [[float(one.layer == layer) for one in found] for layer in layers]
    columns += [[one.effect for one in found]] * traced
    X: NDArray[np.float64] = np.array(columns).T
    y = np.array([one.success for one in found])
    rest = y - X @ np.linalg.lstsq(X, y, rcond=None)[0]
    return float(1 - rest.var() / y.var()) if y.var() > 0 else 0.0


def _peak_is_best(found: Sequence[Try]) -> float:
    """Share of the facts whose edit does best, ties included, at the layer with the largest effect."""
    size = len({one.layer for one in found})
    groups = [found[start : start + size] for start in range(0, len(found) - size + 1, size)]
    hits = [
        max(each, key=lambda one: one.effect).success == max(one.success for one in each) for each in groups
    ]
    return sum(hits) / len(hits)
