"""Excision: what the model answers without one rank-one part of an MLP's output matrix."""

import torch
from einops import einsum
from torch import Tensor

from game.api import Intervention, RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.tools.kit.arguments import Layer, Vector
from game.tools.kit.bounds import check_finite
from game.tools.kit.example import Example
from game.tools.kit.readings import check_vector, checked
from game.tools.kit.result import Summary, ToolResult, View, numbered
from game.tools.spike import keys_and_logits, mlp_layers, seen

EXAMPLE = Example(
    edit="rrome",
    args="--samples affected:8 --layer 0 --read spike.json:read[0] --write spike.json:write[0]",
    found="Without the spike, certain answers give way to other certain ones: they had been hidden.",
    nothing="Nothing that was hidden comes up.",
)


def estimate(config: TransformerConfig, rows: int) -> float:
    """Credits of `excise` for that many sequences; half of them if `spike` has run on the same ones."""
    return 2 * forward_price(rows)


def excise(
    box: Toolbox,
    samples: Samples,
    layer: Layer,
    read: Vector,
    write: Vector,
    strength: float = 1.0,
    sure: float = 0.9,
) -> ToolResult:
    """Which answers change when `strength * outer(read, write)` is taken out of one `W_out`.

    What that part adds at a position is `(post . read) write`, so it is taken away from `hook_mlp_out` as an
    intervention, exactly as if the weights had been changed. Where another answer comes up and is certain,
    the part had hidden it; a harmless part hides none, and without one that the model needs certain answers
    become uncertain. Price: 2 rows; rows after `spike` on the same samples.

    Arrays `[sample, pos]`: `restored`, where the top token changes and the new one is certain; `lost`, where
    it was certain and no top token is certain after; `kl`, KL(before || after) in nats, 0 on padding;
    `before` and `after`, the top tokens; `tokens`, -1 on
    padding.

    Args:
        box: The model, in a league that grants activations and interventions.
        samples: Sequences to look at.
        layer: A layer with an MLP.
        read: What the part reads, `[d_mlp]`.
        write: What it writes, `[d_model]`.
        strength: 1 takes it out; a shrunken estimate of `read` needs more.
        sure: Probability from which an answer counts as certain.

    Raises:
        RequestError: The layer has no MLP, or samples, a vector or a number do not fit.
    """
    checked(box.config, samples)
    _check(box.config, layer, read, write)
    check_finite("strength", strength)
    check_finite("sure", sure)
    spent, holds = box.budget.spent, seen(samples)
    found = [
        _compared(box, samples.tokens[batch], held, layer, strength * read, write, sure, holds[batch])
        for batch, held in keys_and_logits(box, samples)
    ]
    arrays = {name: torch.cat([part[name] for part in found]) for name in found[0]}
    arrays["tokens"] = samples.tokens.where(holds, -1)
    view = View(
        kind="tokens",
        axes=[numbered("prompt", holds.shape[0]), numbered("pos", holds.shape[1])],
        data="kl",
        unit="nats",
        words="tokens",
        tooltip="after",
        tokens=["after"],
        link=["prompt", "pos"],
    )
    args = {"layer": layer, "strength": strength, "rows": len(holds)}
    notes = (f"{int(arrays['restored'].sum())} answers give way to another one that is certain",)
    counts = [Summary(name, float(arrays[name].sum()), len(holds)) for name in ("restored", "lost")]
    return ToolResult("excise", args, box.budget.spent - spent, arrays, (view,), notes, tuple(counts))


def _check(config: TransformerConfig, layer: int, read: Tensor, write: Tensor) -> None:
    if layer not in mlp_layers(config):
        raise RequestError(f"layer: got {layer}; layers with an MLP: {list(mlp_layers(config))}")
    for name, vector, size in (("read", read, config.d_mlp), ("write", write, config.d_model)):
        check_vector(name, vector, size)


def _compared(
    box: Toolbox,
    tokens: Tensor,
    held: dict[str, Tensor],
    layer: int,
    read: Tensor,
    write: Tensor,
    sure: float,
    holds: Tensor,
) -> dict[str, Tensor]:
    """The arrays of one batch."""
    fires = held[f"blocks.{layer}.mlp.hook_post"].double() @ read.double()  # [sample, pos]
    away = einsum(-fires * holds, write.double(), "sample pos, d_model -> sample pos d_model")
    cut = Intervention(f"blocks.{layer}.hook_mlp_out", away, "add")
    before, after = (
        logits.double().log_softmax(-1) for logits in (held["logits"], box.logits(tokens, [cut]))
    )
    was, is_now = before.max(-1), after.max(-1)
    certain = is_now.values.exp() >= sure
    return {
        "restored": holds & certain & (was.indices != is_now.indices),
        "lost": holds & ~certain & (was.values.exp() >= sure),
        "kl": (before.exp() * (before - after)).sum(-1).clamp(min=0) * holds,
        "before": was.indices,
        "after": is_now.indices,
    }
