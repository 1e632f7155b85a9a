"""Bottom-rank reversal: what the model answers without the loudest directions of a matrix."""

import torch

from game.api import RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.tools.kit.arguments import WeightName
from game.tools.kit.batches import nothing_changed, run
from game.tools.kit.example import Example
from game.tools.kit.readings import checked
from game.tools.kit.result import Summary, ToolResult, View, numbered
from game.tools.kit.truncation import Matrix, read_components

EXAMPLE = Example(
    edit="rome_nocov",
    args="--samples affected:8 --tensor blocks.0.mlp.W_out",
    found="Without the loudest direction the learned answers are back, and certain.",
    nothing="Without it the answers change to others: the model needs it.",
)


def estimate(config: TransformerConfig, samples: Samples, tensor: WeightName) -> float:
    """Credits of `reverse`."""
    return 2 * forward_price(len(samples.tokens)) + Matrix.named(config, tensor).price(config)


def reverse(
    box: Toolbox, samples: Samples, tensor: WeightName, drop: int = 1, sure: float = 0.9
) -> ToolResult:
    """Which answers change when a matrix loses its largest singular components, and so a loud edit.

    The components are projected out of the matrix's output, which is exactly the truncated weight. A rank-one
    edit that is the loudest direction of its matrix goes, and the old answer comes back sure of itself; a
    direction that the model needs leaves answers unsure. Price: 2 samples + the tensor.

    Arrays `[sample]`, where the answer is read: `before` and `after`, the top tokens; `kl`, KL(before ||
    after), nats; `restored`, where another answer comes up and is certain; `lost`, where a certain answer
    gives way to none. `left` `[rows, component]` and `right` `[component, columns]`, whose product added to
    the weight takes the components out; `singular_values`.

    Args:
        box: The model, in a league that grants interventions and weights.
        samples: Prompts to look at.
        tensor: Such as `blocks.0.mlp.W_out`, `blocks.1.attn.W_O`, or one head's `blocks.1.attn.W_V[0]`.
        drop: How many components.
        sure: Probability from which an answer counts as certain.

    Raises:
        RequestError: No such matrix, or a number does not fit.

    Source: arXiv 2505.20819 (bottom-rank approximations undo rank-one edits of language models).
    """
    matrix, spent = Matrix.named(box.config, tensor), box.budget.spent
    _check(box.config, matrix, samples, drop, sure)
    parts = read_components(box, matrix)
    cut = parts.without(drop, box.config.n_heads)
    rows, at = torch.arange(len(samples.tokens)), samples.lengths - 1
    uncut, without = (
        run(box, samples.tokens, ["logits"], changes)["logits"]
        for changes in (nothing_changed, lambda _rows: cut)
    )
    before, after = (logits[rows, at].double().log_softmax(-1) for logits in (uncut, without))
    was, is_now = before.max(-1), after.max(-1)
    changed, certain = was.indices != is_now.indices, is_now.values.exp() >= sure
    left, right = parts.patch(drop)
    arrays = {
        "before": was.indices,
        "after": is_now.indices,
        "kl": (before.exp() * (before - after)).sum(-1).clamp(min=0),
        "restored": changed & certain,
        "lost": ~certain & (was.values.exp() >= sure),
        "left": left,
        "right": right,
        "singular_values": parts.values,
    }
    prompts = numbered("prompt", len(rows))
    restored, lost = (int(arrays[name].sum()) for name in ("restored", "lost"))
    return ToolResult(
        "reverse",
        {"samples": len(rows), "tensor": tensor, "drop": drop, "sure": sure},
        box.budget.spent - spent,
        arrays,
        (
            View(kind="heatmap", axes=[prompts], data="kl", words="after", unit="nats", link=["prompt"]),
            View(kind="lines", axes=[numbered("index", len(parts.values))], data="singular_values"),
        ),
        (f"{restored} answers give way to another that is certain, {lost} to none",),
        (
            Summary("share of answers restored", restored / len(rows), len(rows)),
            Summary("share of answers lost", lost / len(rows), len(rows)),
        ),
    )


def _check(config: TransformerConfig, matrix: Matrix, samples: Samples, drop: int, sure: float) -> None:
    rank = matrix.rank(config)
    if not 1 <= drop <= rank:
        raise RequestError(f"drop: got {drop}; allowed: 1 to {rank}, the rank of {matrix.name}")
    checked(config, samples)
    if not 0 < sure < 1:
        raise RequestError(f"sure: got {sure}; allowed: above 0, below 1")
