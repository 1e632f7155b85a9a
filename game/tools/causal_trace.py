"""Causal tracing by exchange: through which states the recall of a fact passes."""

from collections.abc import Mapping

import torch
from torch import Tensor

from game.api import RequestError, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.tools.kit.batches import run
from game.tools.kit.example import Example
from game.tools.kit.questions import Contrast
from game.tools.kit.result import Summary, ToolResult, View
from game.tools.kit.sweep import Grid, Site, cells_of, sweep

EXAMPLE = Example(
    edit="rrome",
    args="--clean affected:2 --corrupt nearest",
    found="The answer returns at the subject, then at the last token; the edited MLP adds more than before.",
    nothing="The same way, through the subject and the last token.",
)


def trace_sites(config: TransformerConfig) -> tuple[Site, ...]:
    """The kinds of places that a trace visits."""
    return ("resid", "attn", "mlp") if any(config.mlp) else ("resid", "attn")


def estimate(config: TransformerConfig, pairs: int, length: int) -> float:
    """Credits of `causal_trace` for that many pairs of prompts of `length` tokens."""
    cells = sum(cells_of(config, length, site) for site in trace_sites(config))
    return forward_price(pairs) * (2 + cells)


def causal_trace(box: Toolbox, contrast: Contrast, window: int = 1) -> ToolResult:
    """How much of an answer's margin returns when single states are restored in a run about something else.

    The corrupt run has another subject in the prompt. Total effect: margin of the clean run minus the corrupt
    one's. Indirect effect of a cell: margin with that state restored minus the corrupt one's. It shows where
    recall passes, which says little about where an edit was written (Hase et al. 2023, arXiv 2301.04213).
    Price: pairs (2 + cells).

    Arrays: `total` `[pair]`; `resid` `[layer, pos, pair]`, the embedding first, and `attn` and `mlp`
    `[layer, pos, pair]`, indirect effects in nats; `resid_mean`, `attn_mean`, `mlp_mean` `[layer, pos]`.

    Args:
        box: The model, in a league that grants activations and interventions.
        contrast: Prompts and the same with another subject, with the two answers.
        window: How many neighbouring layers' attention or MLP outputs are restored together.

    Raises:
        RequestError: The contrast does not fit, or the window is not a number of layers.

    Source: Meng et al. 2022, arXiv 2202.05262, section 2; exchange instead of noise: Zhang and Nanda 2023,
    arXiv 2309.16042.
    """
    contrast.check(box.config)
    check_window(box.config, window)
    spent, pairs = box.budget.spent, torch.arange(len(contrast))
    grids = trace_grids(box.config, contrast.clean.shape[1])
    clean = run(box, contrast.clean, [*(hook for grid in grids for hook in grid.hooks), "logits"])
    corrupt = contrast.metric(run(box, contrast.corrupt, ["logits"])["logits"], pairs)
    arrays: dict[str, Tensor] = {"total": contrast.metric(clean["logits"], pairs) - corrupt}
    for grid in grids:
        wide = 1 if grid.site == "resid" else window
        arrays[grid.site] = sweep(box, grid, contrast.corrupt, clean, contrast.metric, window=wide) - corrupt
    return trace_result("causal_trace", {"pairs": len(pairs), "window": window}, box, spent, arrays, grids)


def check_window(config: TransformerConfig, window: int) -> None:
    """Nothing, if a window may be that many layers wide.

    Raises:
        RequestError: It may not.
    """
    if not 1 <= window <= config.n_layers:
        raise RequestError(f"window: got {window}; allowed: 1 to {config.n_layers} layers")


def trace_grids(config: TransformerConfig, length: int) -> tuple[Grid, ...]:
    """The grids that a trace visits."""
    return tuple(Grid.of(config, length, site) for site in trace_sites(config))


def trace_result(
    tool: str,
    args: Mapping[str, object],
    box: Toolbox,
    spent: float,
    arrays: dict[str, Tensor],
    grids: tuple[Grid, ...],
) -> ToolResult:
    """A trace with its means over the prompts, and how to draw it."""
    views = []
    for grid in grids:
        arrays[f"{grid.site}_mean"] = arrays[grid.site].mean(-1)
        views.append(
            View(
                kind="heatmap",
                axes=grid.view_axes(),
                data=f"{grid.site}_mean",
                diverging=True,
                link=grid.link,
            )
        )
    count, total = len(arrays["total"]), float(arrays["total"].mean())
    best = [
        Summary(f"largest effect of {grid.site}", float(arrays[f"{grid.site}_mean"].max()), count)
        for grid in grids
    ]
    return ToolResult(
        tool,
        args,
        box.budget.spent - spent,
        arrays,
        tuple(views),
        ("an effect shows where recall passes, not where an edit was written",),
        (Summary("total effect", total, count), *best),
    )
