"""Vector lens: what a direction of the residual stream makes the model say."""

import torch
from torch import Tensor

from game.api import Intervention, RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.tools.kit.arguments import Layer, Vectors
from game.tools.kit.batches import run
from game.tools.kit.example import Example
from game.tools.kit.readings import check_vector, checked
from game.tools.kit.result import Summary, ToolResult, View, numbered

EXAMPLE = Example(
    edit="rrome",
    args="--samples sample:16 --layer 0 --vectors spike.json:write",
    found="The direction that the edit wrote raises the new answer.",
    nothing="The loudest direction of an untouched layer raises some answer, too; see the null band.",
)


def estimate(config: TransformerConfig, samples: Samples, vectors: Tensor, controls: int = 20) -> float:
    """Credits of `vector_lens`."""
    return forward_price(len(samples.tokens)) * (1 + 2 * (len(vectors) + controls))


def vector_lens(
    box: Toolbox,
    samples: Samples,
    layer: Layer,
    vectors: Vectors,
    step: float = 0.1,
    controls: int = 20,
    top: int = 5,
    seed: int = 0,
) -> ToolResult:
    """Which answers rise and fall when a vector is added to the residual stream behind a layer.

    By central differences: the vector is added and taken away at all positions, as long as `step` of the
    stream's mean norm, and half the difference of log-probabilities where the answer is read is averaged over
    the samples. The null band is what random directions do. Price: samples (1 + 2 (vectors + controls)).

    Arrays: `effect` `[vector, token]`, nats; `top_tokens` and `top_effects` `[vector, top]`, what rises most;
    `high`, what the largest effect of a random direction exceeds in 1 of 20.

    Args:
        box: The model, in a league that grants activations and interventions.
        samples: Prompts on which the effect is averaged.
        layer: Behind which the vector is added.
        vectors: `[vector, d_model]`, such as `spectrum`'s right ones; their length does not matter.
        step: Length of what is added, in units of the stream's mean norm.
        controls: How many random directions.
        top: How many tokens to list.
        seed: Of the random directions.

    Raises:
        RequestError: An argument does not fit.

    Source: the mean Jacobian of `jacobian_lens`, one direction at a time.
    """
    config, spent = box.config, box.budget.spent
    checked(config, samples)
    _check(config, layer, vectors, step, controls, top)
    hook, rows = f"blocks.{layer}.hook_resid_post", len(samples.tokens)
    found = run(box, samples.tokens, [hook])[hook]
    holds = torch.arange(found.shape[1]) < samples.lengths[:, None]
    length = step * float(found[holds].norm(dim=-1).mean())
    drawn = torch.randn(controls, config.d_model, generator=torch.Generator().manual_seed(seed))
    every = torch.cat([vectors.float(), drawn])
    added = length * every / every.norm(dim=-1, keepdim=True)
    signed = torch.stack([added, -added], 1).flatten(0, 1)  # [vector sign, d_model]
    owners = torch.arange(len(signed)).repeat_interleave(rows)
    sample = torch.arange(rows).repeat(len(signed))
    logits = run(
        box,
        samples.tokens[sample],
        ["logits"],
        lambda runs: [Intervention(hook, signed[owners[runs], None], "add")],
    )["logits"]
    read = logits[torch.arange(len(logits)), samples.lengths[sample] - 1].double().log_softmax(-1)
    up, down = read.view(len(every), 2, rows, -1).unbind(1)  # [vector, sample, token]
    effect = ((up - down) / 2).mean(1)
    high = effect[len(vectors) :].amax(1).quantile(0.95)
    best = effect[: len(vectors)].topk(top)
    arrays = {
        "effect": effect[: len(vectors)],
        "top_tokens": best.indices,
        "top_effects": best.values,
        "high": high,
    }
    view = View(
        kind="heatmap",
        axes=[numbered("vector", len(vectors)), numbered("rank", top)],
        data="top_effects",
        words="top_tokens",
        unit="nats",
    )
    largest = float(best.values.max())
    return ToolResult(
        "vector_lens",
        {"samples": rows, "layer": layer, "vectors": len(vectors), "step": step, "controls": controls},
        box.budget.spent - spent,
        arrays,
        (view,),
        (f"19 of 20 random directions raise no answer by more than {float(high):.3g} nats",),
        (Summary("largest effect", largest, rows, (0.0, float(high))),),
    )


def _check(
    config: TransformerConfig, layer: int, vectors: Tensor, step: float, controls: int, top: int
) -> None:
    if not 0 <= layer < config.n_layers:
        raise RequestError(f"layer: got {layer}; allowed: 0 to {config.n_layers - 1}")
    if vectors.ndim != 2 or vectors.shape[1] != config.d_model or not len(vectors):
        raise RequestError(f"vectors: got shape {list(vectors.shape)}, wanted [vector, {config.d_model}]")
    for row, vector in enumerate(vectors):
        check_vector(f"vectors[{row}]", vector, config.d_model)
    if not bool((vectors.norm(dim=1) > 0).all()):
        raise RequestError("vectors: got a zero vector, which has no direction")
    if not step > 0:
        raise RequestError(f"step: got {step}; allowed: above 0")
    if controls < 2:
        raise RequestError(f"controls: got {controls}; allowed: at least 2")
    if not 1 <= top <= config.d_vocab:
        raise RequestError(f"top: got {top}; allowed: 1 to {config.d_vocab}")
