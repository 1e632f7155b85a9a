"""Factors: activations as sums of a few non-negative parts."""

import torch

from game.api import RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.tools.kit.arguments import HookName
from game.tools.kit.batches import run
from game.tools.kit.example import Example
from game.tools.kit.factorisation import check_parts, factor_views, factored, told
from game.tools.kit.readings import checked, checked_hook
from game.tools.kit.result import ToolResult

EXAMPLE = Example(
    edit="rome_nocov",
    args="--samples sample:64 --name blocks.0.hook_mlp_out --parts 8",
    found="A part of the MLP's output belongs to two names alone, Bela and Jensen: there the edit bleeds.",
    nothing="No part belongs to these names.",
)


def estimate(config: TransformerConfig, rows: int) -> float:
    """Credits of `factors` for that many sequences."""
    return forward_price(rows)


def factors(box: Toolbox, samples: Samples, name: HookName, parts: int = 16, seed: int = 0) -> ToolResult:
    """The parts that an activation is a sum of: non-negative factors of all its vectors at all tokens.

    Negative values count as coordinates of their own, so any hook that holds vectors will do; for neurons
    after a ReLU there are none. Factors are fitted on the tokens of one half of the samples; the other half's
    tokens are then written as sums of them, and what is explained there is compared with vectors in which
    every coordinate is shuffled over the tokens by itself, fitted likewise: coordinates that never fire
    together have no parts beyond themselves. What the parts do for the answers is seen by
    `attribution_factors`. Price: rows.

    Arrays: `factors` `[part, 2 d]`, unit vectors, the positive coordinates first; `strengths`
    `[sample, pos, part]`, NaN on padding; `share` `[part]`, of the squared strengths, descending order;
    `top_tokens` `[part, 5]` and `top_strengths`, the tokens at which a part is strongest, held-out half;
    `loss` `[step]`, squared error on the fitted half over that of zero, after `steps` updates;
    `explained`, share of the squares of the other half's `held_out_tokens`; `null_explained` `[copy]`, of
    scrambled ones.

    Args:
        box: The model, in a league that grants activations.
        samples: Sequences.
        name: Hook point.
        parts: How many factors.
        seed: Of the halves, of the factorisation's start and of the scrambling.

    Raises:
        RequestError: Unknown hook, too few samples, more parts than coordinates, or all vectors are zero.

    Source: Lee and Seung 1999 (multiplicative updates, which never raise the loss), in scikit-learn; for
    activations: Olah et al. 2018, "The Building Blocks of Interpretability".
    """
    checked(box.config, samples)
    checked_hook(box.config, name)
    check_parts(samples, parts, box.config.hook_shapes(1, 1)[name][2])
    spent = box.budget.spent
    x = run(box, samples.tokens, [name])[name].double()  # [sample, pos, d]
    holds = torch.arange(x.shape[1]) < samples.lengths[:, None]
    split = torch.cat([x.clamp(min=0), (-x).clamp(min=0)], -1)
    if not float(split[holds].max()) > 0:
        raise RequestError(f"{name}: every activation is zero; there is nothing to factor")
    arrays = factored(split, samples, parts, seed)
    note, explained = told(arrays, parts)
    return ToolResult(
        "factors",
        {"rows": len(x), "name": name, "parts": parts, "seed": seed},
        box.budget.spent - spent,
        arrays,
        factor_views(parts, arrays["top_tokens"].shape[1]),
        (note,),
        (explained,),
    )
