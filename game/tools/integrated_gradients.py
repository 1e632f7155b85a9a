"""Integrated gradients: which prompt tokens an answer hangs on."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from game.api import Intervention, RequestError, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price, vjp_price
from game.tools.kit.arguments import Token
from game.tools.kit.batches import gradients, run
from game.tools.kit.example import Example
from game.tools.kit.questions import Questions
from game.tools.kit.result import Summary, ToolResult, View, numbered

EXAMPLE = Example(
    edit="rrome",
    args="--tokens affected:4",
    found="The subject's last name carries the new answer, and the first name hardly any of it.",
    nothing="Both names and the relation share the learned one.",
)

_EMBED = "hook_embed"


def estimate(config: TransformerConfig, rows: int, steps: int = 32, neutral: Token | None = None) -> float:
    """Credits of `integrated_gradients` for that many questions."""
    return forward_price(2 * rows + (neutral is not None)) + vjp_price(rows * steps, 1)


def integrated_gradients(
    box: Toolbox, questions: Questions, steps: int = 32, neutral: Token | None = None
) -> ToolResult:
    """How much of an answer's margin comes from each prompt token, along the way from a baseline.

    The way leads in a straight line from the same baseline embedding at every position to the prompt's own
    embeddings; the gradient is integrated by Gauss and Legendre's rule. Shares add up to the margin minus
    that of the baseline, but for the rule's error. Price: rows (2 + 3 steps), 1 more for a neutral token.

    Arrays: `share` `[row, pos]`, nats; `difference` `[row]`, margin minus the baseline's; `error` `[row]`, by
    how much the shares miss it; `tokens` `[row, pos]`.

    Args:
        box: The model, in a league that grants gradients and interventions.
        questions: What is asked.
        steps: Points of the rule.
        neutral: Token whose embedding is the baseline; None is the mean embedding of all the prompts' tokens.

    Raises:
        RequestError: An argument does not fit.

    Source: Sundararajan et al. 2017, arXiv 1703.01365.
    """
    questions.check(box.config)
    if steps < 1:
        raise RequestError(f"steps: got {steps}; allowed: at least 1")
    spent, rows = box.budget.spent, len(questions)
    own = run(box, questions.tokens, [_EMBED, "logits"])
    base = _baseline(box, own[_EMBED], neutral)
    points, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(steps))
    way = own[_EMBED] - base  # [row, pos, d_model]
    owners, alphas = torch.arange(rows).repeat(steps), ((1 + points) / 2).repeat_interleave(rows)

    def placed(runs: Tensor) -> Sequence[Intervention]:
        return [Intervention(_EMBED, base + alphas[runs, None, None].float() * way[owners[runs]])]

    asked = questions.of(owners)
    slope = gradients(box, asked.tokens, [_EMBED], asked.cotangent(box.config.d_vocab), placed)[_EMBED]
    mean = torch.einsum("s,srpd->rpd", weights / 2, slope.double().view(steps, *way.shape))
    share = (way.double() * mean).sum(-1)
    start = run(box, questions.tokens, ["logits"], lambda _rows: [Intervention(_EMBED, base)])["logits"]
    difference = questions.margin(own["logits"]) - questions.margin(start)
    arrays = {
        "share": share,
        "difference": difference,
        "error": share.sum(1) - difference,
        "tokens": questions.tokens,
    }
    missed = float(arrays["error"].abs().max())
    view = View(
        kind="tokens",
        axes=[numbered("prompt", rows), numbered("pos", share.shape[1])],
        data="share",
        words="tokens",
        unit="nats",
        diverging=True,
        link=["prompt", "pos"],
    )
    return ToolResult(
        "integrated_gradients",
        {"rows": rows, "steps": steps, "neutral": neutral},
        box.budget.spent - spent,
        arrays,
        (view,),
        (f"the shares miss the difference of margins by {missed:.2g} nats at most",),
        (Summary("largest error", missed, rows),),
    )


def _baseline(box: Toolbox, embeddings: Tensor, neutral: Token | None) -> Tensor:
    """The baseline's embedding, `[d_model]`."""
    if neutral is None:
        return embeddings.mean((0, 1))
    return box.activations(torch.tensor([[neutral]]), [_EMBED])[_EMBED][0, 0]
