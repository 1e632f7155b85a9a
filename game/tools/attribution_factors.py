"""Attribution factors: what an activation does for the answers, as sums of a few non-negative parts."""

import torch
from torch import Tensor
from torch.nn import functional

from game.api import RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price, vjp_price
from game.tools.kit.arguments import HookName
from game.tools.kit.batches import gradients, run
from game.tools.kit.example import Example
from game.tools.kit.factorisation import check_parts, factor_views, factored, told
from game.tools.kit.readings import checked, checked_hook
from game.tools.kit.result import ToolResult

EXAMPLE = Example(
    edit="rrome",
    args="--samples sample:256 --name blocks.0.mlp.hook_post --parts 6",
    found="Each part goes with a few names, as before: an edit of single facts is no part of its own.",
    nothing="Each part goes with a few names.",
)


def estimate(config: TransformerConfig, rows: int) -> float:
    """Credits of `attribution_factors` for that many sequences."""
    return forward_price(rows) + vjp_price(rows, 1)


def attribution_factors(
    box: Toolbox, samples: Samples, name: HookName, parts: int = 16, seed: int = 0
) -> ToolResult:
    """The parts that an activation's use is a sum of: non-negative factors of |activation x gradient|.

    The gradient is that of log P(own answer) after the last token, so a coordinate counts at a token as much
    as the answer would lose without it, to first order; what is active and never used has no part here, other
    than in `factors`. Fitted and judged as there, on two halves of the samples and beside scrambled ones.
    Price: 4 rows.

    Arrays: those of `factors`; `factors` itself is `[part, d]`, as nothing is negative.

    Args:
        box: The model, in a league that grants activations and gradients.
        samples: Sequences that end where an answer follows.
        name: Hook point.
        parts: How many factors.
        seed: Of the halves, of the factorisation's start and of the scrambling.

    Raises:
        RequestError: Unknown hook, too few samples, more parts than coordinates, or nothing is used.

    Source: factors of attributions: Hilton et al. 2020, "Understanding RL Vision".
    """
    checked(box.config, samples)
    checked_hook(box.config, name)
    check_parts(samples, parts, box.config.hook_shapes(1, 1)[name][2])
    spent = box.budget.spent
    used = _used(box, samples, name)
    if not float(used.max()) > 0:
        raise RequestError(f"{name}: no answer depends on it; there is nothing to factor")
    arrays = factored(used, samples, parts, seed)
    note, explained = told(arrays, parts)
    return ToolResult(
        "attribution_factors",
        {"rows": len(used), "name": name, "parts": parts, "seed": seed},
        box.budget.spent - spent,
        arrays,
        factor_views(parts, arrays["top_tokens"].shape[1]),
        (note,),
        (explained,),
    )


def _used(box: Toolbox, samples: Samples, name: str) -> Tensor:
    """|activation x gradient| of log P(own answer), `[sample, pos, d]`, nats."""
    rows, last = torch.arange(len(samples.tokens)), samples.lengths - 1
    found = run(box, samples.tokens, [name, "logits"])
    answers = found["logits"][rows, last]
    slope = functional.one_hot(answers.argmax(-1), answers.shape[-1]) - answers.softmax(-1)
    cotangent = torch.zeros_like(found["logits"]).index_put((rows, last), slope)
    slopes = gradients(box, samples.tokens, [name], cotangent)
    return (found[name] * slopes[name]).double().abs()
