"""Attribution on a probe: which embedding, head, neuron or bias brings what a linear probe reads."""

import torch
from einops import einsum
from torch import Tensor

from game.api import RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price, weight_price
from game.tools.kit.arguments import Layer, Vector
from game.tools.kit.batches import batches
from game.tools.kit.bounds import check_finite
from game.tools.kit.example import Example
from game.tools.kit.readings import check_vector, checked
from game.tools.kit.result import Axis, Summary, ToolResult, View, numbered

EXAMPLE = Example(
    edit="rrome",
    args="--samples '<first_names> Marsh' --layer 0 --direction spike.json:write[0]",
    found="Several neurons write far more along the edit's direction than any does before it.",
    nothing="Along the untouched layer's loudest direction neither neurons nor heads write much.",
)


def estimate(config: TransformerConfig, rows: int, layer: Layer) -> float:
    """Credits of `probe_attribution` for that many sequences."""
    return forward_price(rows) + sum(weight_price(config, name) for name in _weights(config, layer))


def probe_attribution(
    box: Toolbox, samples: Samples, layer: Layer, direction: Vector, intercept: float = 0.0
) -> ToolResult:
    """Which parts of the model write what a probe reads after a layer, at each sequence's last token.

    The residual stream h is a sum of what embeddings, heads, neurons and biases wrote, so the probe's logit
    h . direction + intercept is the sum of their shares, exactly. A head's share splits further by the
    position that it looks at: pattern x (value W_O) . direction. Price: rows + W_O and W_out of the layers
    up to that one.

    Arrays: `logit` `[sample]`; shares of it in the probe's log odds: `embed`, `pos_embed` `[sample]`; `heads`
    `[sample, layer, head]`; `sources` `[sample, layer, head, pos]`, which sum to `heads` over pos; `neurons`
    `[sample, layer, neuron]`, 0 in layers without an MLP; `attn_bias`, `mlp_bias` `[layer]`; `mean_heads`
    `[layer, head]` and `mean_neurons` `[layer, neuron]`, means over the samples of the shares' size.

    Args:
        box: The model, in a league that grants activations and weights.
        samples: Sequences.
        layer: The probe reads `hook_resid_post` of this layer.
        direction: The probe, `[d_model]`, as `linear_probe.fitted` or `ccs` finds it.
        intercept: Of the probe.

    Raises:
        RequestError: No such layer, or the direction, the intercept or the samples do not fit.

    Source: direct attribution as in Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits";
    on a probe in place of an output: McGrath et al. 2021, arXiv 2111.09259.
    """
    config = box.config
    if not 0 <= layer < config.n_layers:
        raise RequestError(f"layer: got {layer}; allowed: 0 to {config.n_layers - 1}")
    check_vector("direction", direction, config.d_model)
    check_finite("intercept", intercept)
    checked(box.config, samples)
    rows = len(samples.tokens)
    spent, w = box.budget.spent, direction.double()
    written = {
        name: einsum(box.weight(name).double(), w, "... out, out -> ...") for name in _weights(config, layer)
    }
    parts = [
        _shares(box, samples.tokens[chosen], samples.lengths[chosen] - 1, layer, w, written)
        for chosen in batches(box, rows)
    ]
    arrays = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    arrays |= {name: arrays[name].mean(0) for name in ("attn_bias", "mlp_bias")}  # the same in every row
    arrays["logit"] = arrays["logit"] + intercept
    arrays |= {f"mean_{name}": arrays[name].abs().mean(0) for name in ("heads", "neurons")}
    layers = numbered("layer", layer + 1)
    views = (
        View(
            kind="heatmap",
            axes=[layers, numbered("head", config.n_heads)],
            data="mean_heads",
            link=["layer", "head"],
        ),
        View(
            kind="heatmap",
            axes=[layers, numbered("neuron", config.d_mlp)],
            data="mean_neurons",
            link=["layer", "neuron"],
        ),
        View(
            kind="attention",
            axes=[
                numbered("prompt", rows),
                layers,
                numbered("head", config.n_heads),
                Axis(name="pos", labels=[str(pos) for pos in range(samples.tokens.shape[1])]),
            ],
            data="sources",
            diverging=True,
            link=["prompt", "layer", "head", "pos"],
        ),
    )
    return ToolResult(
        "probe_attribution",
        {"rows": rows, "layer": layer, "intercept": intercept},
        box.budget.spent - spent,
        arrays,
        views,
        ("shares are in log odds of the probe; they and the intercept sum to its logit",),
        (Summary("largest head share", float(arrays["mean_heads"].max()), rows),),
        _suspects(arrays),
    )


def _weights(config: TransformerConfig, layer: int) -> tuple[str, ...]:
    """Output matrices of the layers up to that one."""
    layers = range(layer + 1)
    attention = [f"blocks.{l}.attn.W_O" for l in layers]
    return (*attention, *(f"blocks.{l}.mlp.W_out" for l in layers if config.mlp[l]))


def _shares(
    box: Toolbox, tokens: Tensor, last: Tensor, layer: int, w: Tensor, written: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Every share of one batch; biases with a row for each sample."""
    config, rows = box.config, torch.arange(len(tokens))
    names = ["hook_embed", "hook_pos_embed", f"blocks.{layer}.hook_resid_post"]
    for l in range(layer + 1):
        names += [f"blocks.{l}.{part}" for part in ("attn.hook_pattern", "attn.hook_v", "hook_attn_out")]
        names += [f"blocks.{l}.{part}" for part in ("mlp.hook_post", "hook_mlp_out") if config.mlp[l]]
    run = {name: value.double() for name, value in box.activations(tokens, names).items()}
    sources, neurons, attn_bias, mlp_bias = [], [], [], []
    for l in range(layer + 1):
        block = f"blocks.{l}."
        values = einsum(
            run[block + "attn.hook_v"],
            written[block + "attn.W_O"],
            "row pos head d_head, head d_head -> row head pos",
        )
        source = run[block + "attn.hook_pattern"][rows, :, last] * values  # [row, head, pos]
        sources.append(source)
        attn_bias.append(run[block + "hook_attn_out"][rows, last] @ w - source.sum((1, 2)))
        fires = torch.zeros(len(rows), config.d_mlp).double()
        if config.mlp[l]:
            fires = run[block + "mlp.hook_post"][rows, last] * written[block + "mlp.W_out"]
            mlp_bias.append(run[block + "hook_mlp_out"][rows, last] @ w - fires.sum(1))
        else:
            mlp_bias.append(torch.zeros(len(rows)).double())
        neurons.append(fires)
    return {
        "logit": run[f"blocks.{layer}.hook_resid_post"][rows, last] @ w,
        "embed": run["hook_embed"][rows, last] @ w,
        "pos_embed": run["hook_pos_embed"][rows, last] @ w,
        "heads": torch.stack(sources, 1).sum(-1),
        "sources": torch.stack(sources, 1),
        "neurons": torch.stack(neurons, 1),
        "attn_bias": torch.stack(attn_bias, 1),
        "mlp_bias": torch.stack(mlp_bias, 1),
    }


def _suspects(arrays: dict[str, Tensor]) -> dict[str, float]:
    """How much each head and MLP moves the probe, in standard deviations of log odds."""
    found = {}
    for l in range(arrays["heads"].shape[1]):
        for head, spread in enumerate(arrays["heads"][:, l].std(0, correction=0).tolist()):
            found[f"blocks.{l}.attn.{head}"] = spread
        found[f"blocks.{l}.mlp"] = float(arrays["neurons"][:, l].sum(-1).std(correction=0))
    return found
