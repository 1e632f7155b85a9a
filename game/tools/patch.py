"""Activation patching: which of the clean run's activations bring the answer back into a corrupt run."""

import torch
from torch import Tensor

from game.api import Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.tools.kit.batches import run
from game.tools.kit.example import Example
from game.tools.kit.questions import Contrast
from game.tools.kit.result import Summary, ToolResult, View
from game.tools.kit.sweep import Grid, Site, cells_of, sweep

EXAMPLE = Example(
    edit="rrome",
    args="--clean affected:4 --corrupt nearest",
    found="The subject in early layers, the last token in late ones: where the new answer passes.",
    nothing="The learned answer passes the same places: a map shows the way, not where an edit was written.",
)

_SAME = 1e-6  # nats; a pair whose two runs differ less has nothing to recover


def estimate(config: TransformerConfig, pairs: int, length: int, site: Site = "resid") -> float:
    """Credits of `patch` for that many pairs of prompts of `length` tokens."""
    return forward_price(pairs) * (2 + cells_of(config, length, site))


def patch(box: Toolbox, contrast: Contrast, site: Site = "resid") -> ToolResult:
    """Where an answer is decided: one cell of the clean run put into the corrupt run at a time.

    All cells of all pairs run as one batch, cut where it is too long for one call. A cell shows where the
    answer passes, which for an edited model need not be where the edit was written.
    Price: pairs (2 + cells).

    Arrays: `recovered` `[layer, *place]`, mean over the pairs of (patched - corrupt) / (clean - corrupt): 0
    is the corrupt run, 1 the clean one, and pairs whose two runs agree count as 0; `metric`
    `[layer, *place, pair]`, `clean` and `corrupt` `[pair]`: log P(answer) - log P(distractor) in nats.

    Args:
        box: The model, in a league that grants activations and interventions.
        contrast: The pairs of prompts.
        site: `resid`, the residual stream by layer (the embedding first) and position; `attn` and `mlp`,
            their outputs by layer and position; `head` and `neuron`, by layer and number, at all positions;
            `head_position`, by layer, position and head; `attn_layer` and `mlp_layer`, by layer alone.

    Raises:
        RequestError: The contrast's shapes differ, the site is unknown or empty, or the toolbox refuses.

    Source: Zhang and Nanda 2023, arXiv 2309.16042; Meng et al. 2022, arXiv 2202.05262.
    """
    contrast.check(box.config)
    grid, spent = Grid.of(box.config, contrast.clean.shape[1], site), box.budget.spent
    pairs = torch.arange(len(contrast))
    cache = run(box, contrast.clean, [*grid.hooks, "logits"])
    clean = contrast.metric(cache["logits"], pairs)
    corrupt = contrast.metric(run(box, contrast.corrupt, ["logits"])["logits"], pairs)
    metric = sweep(box, grid, contrast.corrupt, cache, contrast.metric)
    recovered = share_of_the_way(metric, clean, corrupt)
    arrays = {"recovered": recovered, "metric": metric, "clean": clean, "corrupt": corrupt}
    view = View(kind="heatmap", axes=grid.view_axes(), data="recovered", diverging=True, link=grid.link)
    return ToolResult(
        "patch",
        {"pairs": len(pairs), "site": site},
        box.budget.spent - spent,
        arrays,
        (view,),
        ("recovered: 0 is the corrupt run, 1 the clean run; it may leave that range",),
        (Summary("largest recovered", float(recovered.max()), len(pairs)),),
    )


def share_of_the_way(metric: Tensor, clean: Tensor, corrupt: Tensor) -> Tensor:
    """Mean over pairs, the last axis, of how far a metric is from the corrupt run's to the clean one's."""
    way = clean - corrupt  # [pair]
    same = way.abs() < _SAME
    return torch.where(same, 0.0, (metric - corrupt) / torch.where(same, 1.0, way)).mean(-1)
