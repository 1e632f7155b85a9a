"""Edge attribution: which part tells which later part what decides an answer, to first order."""

import torch
from einops import einsum
from torch import Tensor

from game.api import Toolbox, TransformerConfig
from game.toolbox.prices import forward_price, vjp_price
from game.tools.kit.batches import batches
from game.tools.kit.example import Example
from game.tools.kit.nodes import Node, output_names, reaches, readers, writers, written
from game.tools.kit.norms import before_norm
from game.tools.kit.questions import Contrast
from game.tools.kit.reader_weights import ReaderWeights, entry_hook, read_weights, reader_price, stream_hook
from game.tools.kit.result import Axis, Summary, ToolResult, View

EXAMPLE = Example(
    edit="rrome",
    args="--clean affected:2 --corrupt nearest",
    found="The edited MLP writes the strongest edges.",
    nothing="The strongest edges come from heads of the last layer.",
)


def estimate(config: TransformerConfig, pairs: int) -> float:
    """Credits of `edge_attribution` for that many pairs."""
    return forward_price(2 * pairs) + vjp_price(pairs, 1) + reader_price(config, readers(config))


def edge_attribution(box: Toolbox, contrast: Contrast) -> ToolResult:
    """What patching single connections would find, from one gradient: change written . slope there.

    For each writer and later reader: (clean - corrupt output of the writer) . (gradient, at the corrupt run,
    of the margin with respect to the residual stream as that reader alone sees it). Over all readers they add
    up to the writer's attribution patching. Price: 5 pairs + the readers' matrices.

    Arrays: `effect` `[source, target]`, mean over the pairs, nats, NaN where the target does not come later;
    `by_source` `[source]`, its sum over the targets.

    Args:
        box: The model, in a league that grants activations, gradients and weights.
        contrast: The pairs of prompts.

    Raises:
        RequestError: The contrast does not fit.

    Source: Syed et al. 2023, arXiv 2310.10348 (edge attribution patching).
    """
    contrast.check(box.config)
    config, spent = box.config, box.budget.spent
    sources, targets = writers(config), readers(config)
    weights, total = read_weights(box, targets), torch.zeros(len(sources), len(targets)).double()
    for pairs in batches(box, len(contrast)):
        total += _effects(box, contrast, weights, targets, pairs)
    possible = reaches(sources, targets)
    effect = (total / len(contrast)).masked_fill(~possible, torch.nan)
    axes = [
        Axis(name=name, labels=[node.name for node in nodes])
        for name, nodes in (("source", sources), ("target", targets))
    ]
    return ToolResult(
        "edge_attribution",
        {"pairs": len(contrast)},
        box.budget.spent - spent,
        {"effect": effect, "by_source": effect.nansum(1)},
        (
            View(kind="heatmap", axes=axes, data="effect", unit="nats", diverging=True, link=["component"]),
            View(kind="graph", axes=axes, data="effect", unit="nats", diverging=True, link=["component"]),
            View(
                kind="bars", axes=axes[:1], data="by_source", unit="nats", diverging=True, link=["component"]
            ),
        ),
        ("to first order; confirm with path_patch",),
        (Summary("largest effect", float(effect.nan_to_num().abs().max()), len(contrast)),),
        {
            node.name: float(value)
            for node, value in zip(sources, effect.nan_to_num().abs().amax(1), strict=True)
        },
    )


def _effects(
    box: Toolbox, contrast: Contrast, weights: ReaderWeights, targets: tuple[Node, ...], pairs: Tensor
) -> Tensor:
    """Sum over some pairs of every edge's effect, `[source, target]`."""
    config, clean, corrupt = box.config, contrast.clean[pairs], contrast.corrupt[pairs]
    names = output_names(config)
    streams = tuple(dict.fromkeys(stream_hook(config, node) for node in targets))
    before = box.activations(corrupt, [*names, *streams])
    change = written(config, box.activations(clean, names)) - written(config, before)
    last = streams[-1]
    entries = tuple(dict.fromkeys(entry_hook(node) for node in targets if node.layer is not None))
    cotangent = contrast.asked(contrast.corrupt).cotangent(config.d_vocab)[pairs]
    slopes = box.vjp(corrupt, [*entries, last], {"logits": cotangent})
    columns = [
        einsum(
            change,
            _seen(config, node, weights, slopes, before),
            "source row pos d_model, row pos d_model -> source",
        )
        for node in targets
    ]
    return torch.stack(columns, 1)


def _seen(
    config: TransformerConfig,
    node: Node,
    weights: ReaderWeights,
    slopes: dict[str, Tensor],
    before: dict[str, Tensor],
) -> Tensor:
    """Gradient with respect to the stream as one reader alone sees it, `[row, pos, d_model]`."""
    stream = stream_hook(config, node)
    if node.layer is None:
        return slopes[stream].double()
    slope = slopes[entry_hook(node)].double()
    if node.letter is not None:
        slope = slope[:, :, node.head]
    return before_norm(slope @ weights.of(node).T, before[stream].double(), config)
