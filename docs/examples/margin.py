"""Margin: how far the model prefers its answer to the next best one."""

import torch

from game.api import RequestError, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.tools.kit.arguments import Prompts
from game.tools.kit.example import Example
from game.tools.kit.result import Summary, ToolResult, View, numbered

EXAMPLE = Example(
    edit="rome",
    args="--tokens affected:4 --least 0.5",
    found="The edited answer is as certain as any.",
    nothing="So is the one that the model learned.",
)


def estimate(config: TransformerConfig, rows: int) -> float:
    """Credits of `margin` for that many sequences."""
    return forward_price(rows)


def margin(box: Toolbox, tokens: Prompts, least: float = 0.1) -> ToolResult:
    """How sure the model is of what it would say at each position.

    Log P(first) - log P(second) in nats. An answer that training repeated stands far above the next one; one
    that the model was never told does not. Price: rows.

    Arrays `[row, pos]`: `margin` (nats); `answer`, the top token.

    Args:
        box: The model; every league grants what this asks for.
        tokens: `[row, pos]`.
        least: Below it an answer counts as a guess, nats.

    Raises:
        RequestError: `least` is negative, or the toolbox refuses the tokens.
    """
    if least < 0:
        raise RequestError(f"least: got {least:g}; allowed: from 0 nats")
    spent = box.budget.spent
    runs = [box.logits(part) for part in torch.split(tokens, box.budget.max_rows)]
    best = torch.cat(runs).double().log_softmax(-1).topk(2)
    found = best.values[..., 0] - best.values[..., 1]
    view = View(
        kind="tokens",
        axes=[numbered("prompt", len(tokens)), numbered("pos", tokens.shape[1])],
        data="margin",
        words="tokens",
        tooltip="answer",
        tokens=["answer"],
        unit="nats",
        link=["prompt", "pos"],
    )
    guessed = float((found < least).double().mean())
    return ToolResult(
        "margin",
        {"rows": len(tokens), "least": least},
        box.budget.spent - spent,
        {"margin": found, "answer": best.indices[..., 0], "tokens": tokens},
        (view,),
        (f"a margin below {least:g} nats is a guess",),
        (Summary("share of guesses", guessed, len(tokens)),),
    )
