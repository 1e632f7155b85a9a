"""Gradient times input: which prompt tokens an answer hangs on, to first order."""

import torch

from game.api import Toolbox, TransformerConfig
from game.toolbox.prices import forward_price, vjp_price
from game.tools.kit.batches import gradients, run
from game.tools.kit.example import Example
from game.tools.kit.questions import Questions
from game.tools.kit.result import Summary, ToolResult, View, numbered

EXAMPLE = Example(
    edit="rrome",
    args="--tokens affected:4",
    found="The subject's last name, where the edit was written, counts for most of the margin.",
    nothing="Neither name nor relation counts for as much.",
)

_EMBED = "hook_embed"


def estimate(config: TransformerConfig, rows: int) -> float:
    """Credits of `gradient_input` for that many questions."""
    return forward_price(rows) + vjp_price(rows, 1)


def gradient_input(box: Toolbox, questions: Questions) -> ToolResult:
    """How an answer's margin would change with each prompt token's embedding, to first order.

    Cheaper than `integrated_gradients`, and wrong where the model saturates. Price: 4 rows.

    Arrays: `share` `[row, pos]`, gradient times embedding, nats; `norm` `[row, pos]`, the gradient's length,
    nats for a unit of embedding; `tokens` `[row, pos]`.

    Args:
        box: The model, in a league that grants gradients.
        questions: What is asked.

    Raises:
        RequestError: The questions do not fit the model.

    Source: Shrikumar et al. 2016, arXiv 1605.01713.
    """
    questions.check(box.config)
    spent, cotangent = box.budget.spent, questions.cotangent(box.config.d_vocab)
    embedded = run(box, questions.tokens, [_EMBED])[_EMBED].double()
    slope = gradients(box, questions.tokens, [_EMBED], cotangent)[_EMBED].double()
    share = (slope * embedded).sum(-1)
    arrays = {"share": share, "norm": torch.linalg.vector_norm(slope, dim=-1), "tokens": questions.tokens}
    axes = [numbered("prompt", len(questions)), numbered("pos", share.shape[1])]
    views = tuple(
        View(
            kind="tokens",
            axes=axes,
            data=name,
            words="tokens",
            unit="nats",
            diverging=name == "share",
            link=["prompt", "pos"],
        )
        for name in ("share", "norm")
    )
    return ToolResult(
        "gradient_input",
        {"rows": len(questions)},
        box.budget.spent - spent,
        arrays,
        views,
        summary=(Summary("largest share", float(share.abs().max()), len(questions)),),
    )
