"""Attribution patching: all of activation patching at once, to first order."""

import torch
from torch import Tensor

from game.api import Toolbox, TransformerConfig
from game.toolbox.prices import forward_price, vjp_price
from game.tools.kit.batches import gradients, run
from game.tools.kit.example import Example
from game.tools.kit.questions import Contrast
from game.tools.kit.result import Summary, ToolResult, View
from game.tools.kit.sweep import Grid, Site

EXAMPLE = Example(
    edit="rrome",
    args="--clean affected:4 --corrupt nearest",
    found="The edited MLP of layer 0 is the most suspect part, twice as far ahead as before the edit.",
    nothing="Attention heads of the last layer and the same MLP share the answer.",
)


def estimate(config: TransformerConfig, pairs: int) -> float:
    """Credits of `attribution_patching` for that many pairs."""
    return forward_price(2 * pairs) + vjp_price(pairs, 1)


def attribution_patching(box: Toolbox, contrast: Contrast) -> ToolResult:
    """What `patch` would find at every place, from one gradient: (clean - corrupt) . gradient at corrupt.

    Positive: the clean activation there helps the clean answer. It is exact where the model is linear, and
    fails where a gradient vanishes, as behind a saturated pattern or a dead neuron. Price: 5 pairs.

    Arrays, means over the pairs in nats: `resid` `[layer, pos]`, the embedding first; `attn` and, where there
    are MLPs, `mlp` `[layer, pos]`; `head` `[layer, pos, head]`; `neuron` `[layer, neuron]`, all positions
    together; also `clean` and `corrupt` `[pair]`, the margins.

    Args:
        box: The model, in a league that grants activations and gradients.
        contrast: The pairs of prompts.

    Raises:
        RequestError: The contrast does not fit.

    Source: Nanda 2023, "Attribution Patching"; Syed et al. 2023, arXiv 2310.10348; its failures: Kramár et
    al. 2024, arXiv 2403.00745.
    """
    contrast.check(box.config)
    spent, grids = box.budget.spent, attribution_grids(box.config, contrast.clean.shape[1])
    hooks = list(dict.fromkeys(hook for grid in grids for hook in grid.hooks))
    clean, corrupt = (run(box, tokens, [*hooks, "logits"]) for tokens in (contrast.clean, contrast.corrupt))
    cotangent = contrast.asked(contrast.corrupt).cotangent(box.config.d_vocab)
    slope = gradients(box, contrast.corrupt, hooks, cotangent)
    change = {hook: (clean[hook] - corrupt[hook]).double() * slope[hook] for hook in hooks}
    pairs = torch.arange(len(contrast))
    arrays: dict[str, Tensor] = {
        "head" if grid.site == "head_position" else grid.site: _by_cell(grid, change) for grid in grids
    }
    margins = {
        name: contrast.metric(found["logits"], pairs)
        for name, found in (("clean", clean), ("corrupt", corrupt))
    }
    views = tuple(
        View(kind="heatmap", axes=axes, data=name, unit="nats", diverging=True, link=["layer"])
        for name, axes in zip(arrays, (grid.view_axes() for grid in grids), strict=True)
    )
    summary = tuple(
        Summary(f"largest effect of {name}", float(found.abs().max()), len(pairs))
        for name, found in arrays.items()
    )
    return ToolResult(
        "attribution_patching",
        {"pairs": len(pairs)},
        box.budget.spent - spent,
        arrays | margins,
        views,
        ("to first order; confirm with patch",),
        summary,
        _suspects(box.config, arrays),
    )


def attribution_grids(config: TransformerConfig, length: int) -> tuple[Grid, ...]:
    """Every kind of place that the model has."""
    sites: tuple[Site, ...] = ("resid", "attn", "head_position")
    if any(config.mlp):
        sites = (*sites, "mlp", "neuron")
    return tuple(Grid.of(config, length, site) for site in sites)


def _by_cell(grid: Grid, change: dict[str, Tensor]) -> Tensor:
    """Mean over the pairs of what the entries of each cell add up to, `[layer, *place]`."""
    found = torch.stack([change[hook] for hook in grid.hooks]).mean(1)  # [layer, pos, ...]
    if grid.site == "neuron":
        return found.sum(1)
    return found.sum(-1)


def _suspects(config: TransformerConfig, arrays: dict[str, Tensor]) -> dict[str, float]:
    """Heads and MLPs by the size of what they carry over all positions."""
    heads = arrays["head"].sum(1).abs()  # [layer, head]
    found = {
        f"blocks.{layer}.attn.{head}": float(heads[layer, head])
        for layer in range(config.n_layers)
        for head in range(config.n_heads)
    }
    layers = [layer for layer, has_mlp in enumerate(config.mlp) if has_mlp]
    return found | {
        f"blocks.{layer}.mlp": float(arrays["mlp"][row].sum().abs()) for row, layer in enumerate(layers)
    }
