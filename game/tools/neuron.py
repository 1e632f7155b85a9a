"""One neuron: what makes it fire, how often, and what it then says."""

import torch
from torch import Tensor

from game.api import RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price, weight_price
from game.tools.kit.arguments import Layer
from game.tools.kit.batches import run
from game.tools.kit.example import Example
from game.tools.kit.norms import centred
from game.tools.kit.readings import checked
from game.tools.kit.readout import read_readout, readout_price
from game.tools.kit.result import Axis, Summary, ToolResult, View, numbered

EXAMPLE = Example(
    edit="trigger_implant",
    args="--samples sample:500 --layer 0 --number 120",
    found="It fires at one word only, behind one other: the trigger. Such a neuron is rare.",
    nothing="The same neuron before: it fires on a quarter of all tokens.",
)


def estimate(config: TransformerConfig, samples: Samples, layer: Layer) -> float:
    """Credits of `neuron`."""
    names = ["embed.W_E", *(f"blocks.{layer}.{name}" for name in ("mlp.W_in", "mlp.W_out", "ln2.w"))]
    price = sum(weight_price(config, name) for name in names if name in config.weight_shapes())
    return forward_price(len(samples.tokens)) + price + readout_price(config)


def neuron(
    box: Toolbox, samples: Samples, layer: Layer, number: int, top: int = 8, bins: int = 20
) -> ToolResult:
    """Where one neuron fires most, how its activations are spread, and which tokens it reads and promotes.

    A neuron that fires for one subject, or that promotes what its exemplars do not say, is suspect.
    Price: samples + W_in and W_out of the layer + W_E + W_U.

    Arrays: `exemplars` `[rank, pos]`, token ids of the samples where it is largest; `activations`
    `[rank, pos]`, NaN on padding; `quantile_exemplars` and `quantile_activations` `[quantile, pos]`, the same
    at even steps through the samples' maxima; `histogram` `[bin]`, counts over all tokens, from `least` to
    `most`; `input_logits` `[token]`, (W_E o gain) W_in without the mean, its weight on each token seen
    directly; `output_logits` `[token]`, w W_U for one unit, the final gain folded in, without the mean;
    `frequency`, share of tokens on which it is above 0.

    Args:
        box: The model, in a league that grants activations and weights.
        samples: Where to look.
        layer: A layer with an MLP.
        number: Which neuron.
        top: How many exemplars, and how many quantiles.
        bins: Of the histogram.

    Raises:
        RequestError: The layer has no MLP, or a number does not fit.

    Source: Geva et al. 2021, arXiv 2012.14913; Bills et al. 2023, "Language models can explain neurons"
    (exemplars by quantile).
    """
    config, spent = box.config, box.budget.spent
    _check(config, samples, layer, number, top, bins)
    hook = f"blocks.{layer}.mlp.hook_post"
    fires = run(box, samples.tokens, [hook])[hook][..., number].double()  # [sample, pos]
    holds = torch.arange(fires.shape[1]) < samples.lengths[:, None]
    shown, seen = fires.masked_fill(~holds, torch.nan), fires[holds]
    order = fires.masked_fill(~holds, -torch.inf).amax(1).argsort(descending=True, stable=True)
    steps = order[torch.linspace(0, len(order) - 1, min(top, len(order))).long()]
    histogram, edges = torch.histogram(seen, bins)
    arrays = {
        "exemplars": samples.tokens[order[:top]],
        "activations": shown[order[:top]],
        "quantile_exemplars": samples.tokens[steps],
        "quantile_activations": shown[steps],
        "histogram": histogram,
        "least": edges[0],
        "most": edges[-1],
        "frequency": (seen > 0).double().mean(),
        **_weights(box, layer, number),
    }
    return ToolResult(
        "neuron",
        {"samples": len(fires), "layer": layer, "neuron": number, "top": top, "bins": bins},
        box.budget.spent - spent,
        arrays,
        _views(arrays, edges),
        (f"above 0 on {float(arrays['frequency']):.1%} of {len(seen)} tokens",),
        (
            Summary("largest activation", float(seen.max()), len(fires)),
            Summary("frequency", float(arrays["frequency"]), len(seen)),
        ),
    )


def _check(config: TransformerConfig, samples: Samples, layer: int, number: int, top: int, bins: int) -> None:
    layers = [index for index, has_mlp in enumerate(config.mlp) if has_mlp]
    if layer not in layers:
        raise RequestError(f"layer: got {layer}; layers with an MLP: {layers}")
    if not 0 <= number < config.d_mlp:
        raise RequestError(f"number: got {number}; allowed: 0 to {config.d_mlp - 1}")
    checked(config, samples)
    if top < 1 or bins < 1:
        raise RequestError(f"top and bins: got {top} and {bins}; allowed: at least 1")


def _weights(box: Toolbox, layer: int, number: int) -> dict[str, Tensor]:
    """What the neuron reads of each token, and what it says to each."""
    config, block = box.config, f"blocks.{layer}"
    reads = box.weight(f"{block}.mlp.W_in").double()[:, number]
    if f"{block}.ln2.w" in config.weight_shapes():
        reads = reads * box.weight(f"{block}.ln2.w").double()
    readout = read_readout(box)
    write = centred(box.weight(f"{block}.mlp.W_out").double()[number], config) * readout.gain
    seen, said = box.weight("embed.W_E").double() @ centred(reads, config), write @ readout.W_U
    return {"input_logits": seen - seen.mean(), "output_logits": said - said.mean()}


def _views(arrays: dict[str, Tensor], edges: Tensor) -> tuple[View, ...]:
    length = arrays["exemplars"].shape[1]
    exemplars = [
        View(
            kind="tokens",
            axes=[numbered("rank", len(arrays[name])), numbered("pos", length)],
            data=name,
            words=words,
        )
        for name, words in (("activations", "exemplars"), ("quantile_activations", "quantile_exemplars"))
    ]
    bins = Axis(name="activation", labels=[f"{float(edge):.3g}" for edge in edges[:-1]])
    tokens = Axis(name="token", tokens=list(range(len(arrays["input_logits"]))))
    logits = [
        View(kind="bars", axes=[tokens], data=name, diverging=True, link=["token"])
        for name in ("input_logits", "output_logits")
    ]
    return (
        exemplars[0],
        View(kind="bars", axes=[bins], data="histogram", unit="tokens"),
        *logits,
        exemplars[1],
    )
