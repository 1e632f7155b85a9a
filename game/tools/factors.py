"""Factors: activations as sums of a few non-negative parts."""

from typing import Any

import torch
from torch import Tensor

from game.api import RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.tools.kit.arguments import HookName
from game.tools.kit.batches import run
from game.tools.kit.chance import generator, halves
from game.tools.kit.example import Example
from game.tools.kit.readings import checked, checked_hook
from game.tools.kit.result import Axis, Summary, ToolResult, View, numbered

EXAMPLE = Example(
    edit="rome_nocov",
    args="--samples sample:64 --name blocks.0.hook_mlp_out --parts 8",
    found="A part of the MLP's output belongs to two names alone, Bela and Jensen: there the edit bleeds.",
    nothing="No part belongs to these names.",
)

UPDATES = 200  # multiplicative updates of one factorisation
STEPS = (1, 5, 20, 50, UPDATES)  # after how many of them the loss is told
NULLS = 2  # scrambled copies
TOP = 5  # tokens shown of each part


def estimate(config: TransformerConfig, rows: int) -> float:
    """Credits of `factors` for that many sequences."""
    return forward_price(rows)


def factors(box: Toolbox, samples: Samples, name: HookName, parts: int = 16, seed: int = 0) -> ToolResult:
    """The parts that an activation is a sum of: non-negative factors of all its vectors at all tokens.

    Negative values count as coordinates of their own, so any hook that holds vectors will do; for neurons
    after a ReLU there are none. Factors are fitted on the tokens of one half of the samples; the other half's
    tokens are then written as sums of them, and what is explained there is compared with vectors in which
    every coordinate is shuffled over the tokens by itself, fitted likewise: coordinates that never fire
    together have no parts beyond themselves. Price: rows.

    Arrays: `factors` `[part, 2 d]`, unit vectors, the positive coordinates first; `strengths`
    `[sample, pos, part]`, NaN on padding; `share` `[part]`, of the squared strengths, descending order;
    `top_tokens` `[part, 5]` and `top_strengths`, the tokens at which a part is strongest, held-out half;
    `loss` `[step]`, squared error on the fitted half over that of zero, after `steps` updates;
    `explained`, share of the held-out squares; `null_explained` `[copy]`, of scrambled ones.

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
    checked(samples)
    checked_hook(box.config, name)
    width = box.config.hook_shapes(1, 1)[name][2]
    if len(samples.tokens) < 4 or not 1 <= parts <= width:
        raise RequestError(
            f"parts: got {parts} of {len(samples.tokens)} samples; allowed: 1 to {width}, of at least 4"
        )
    spent = box.budget.spent
    x = run(box, samples.tokens, [name])[name].double()  # [sample, pos, d]
    holds = torch.arange(x.shape[1]) < samples.lengths[:, None]
    split = torch.cat([x.clamp(min=0), (-x).clamp(min=0)], -1)
    if not float(split[holds].max()) > 0:
        raise RequestError(f"{name}: every activation is zero; there is nothing to factor")
    form, test = halves(len(x), seed)
    fitted, held_out = (split[rows][holds[rows]] for rows in (form, test))
    model = _model(fitted, parts, UPDATES, seed)
    strengths = torch.full((*x.shape[:2], parts), torch.nan).double()
    strengths[holds] = torch.from_numpy(model.transform(split[holds].numpy())).double()
    arrays = _in_order(torch.from_numpy(model.components_).double(), strengths)
    arrays |= _strongest(arrays["strengths"][test], samples.tokens[test])
    arrays |= {
        "loss": torch.tensor([_loss(fitted, parts, steps, seed) for steps in STEPS]),
        "steps": torch.tensor(STEPS),
        "explained": _explained(model, held_out),
        "null_explained": torch.stack(
            [_scrambled(fitted, held_out, parts, seed + copy) for copy in range(NULLS)]
        ),
    }
    high, reached = float(arrays["null_explained"].max()), float(arrays["explained"])
    return ToolResult(
        "factors",
        {"rows": len(x), "name": name, "parts": parts, "seed": seed},
        box.budget.spent - spent,
        arrays,
        _views(parts, arrays["top_tokens"].shape[1]),
        (
            f"{parts} parts explain {reached:.2f} of {len(held_out)} held-out tokens' squares, "
            f"where coordinates are scrambled at most {high:.2f}",
        ),
        (Summary("explained", reached, len(held_out), (0.0, high)),),
    )


def _model(x: Tensor, parts: int, updates: int, seed: int) -> Any:
    """scikit-learn's factorisation of `[token, 2 d]` after that many updates."""
    from sklearn.decomposition import NMF

    model = NMF(parts, init="nndsvda", solver="mu", tol=0, max_iter=updates, random_state=seed)
    return model.fit(x.numpy())


def _loss(x: Tensor, parts: int, updates: int, seed: int) -> float:
    """Squared error after that many updates, over the squares."""
    return float(_model(x, parts, updates, seed).reconstruction_err_) ** 2 / float(x.square().sum())


def _explained(model: Any, x: Tensor) -> Tensor:
    """Share of the squares of tokens that the model has not seen."""
    rest = x - torch.from_numpy(model.transform(x.numpy()) @ model.components_)
    return 1 - rest.square().sum() / x.square().sum()


def _scrambled(fitted: Tensor, held_out: Tensor, parts: int, seed: int) -> Tensor:
    """The share explained where every coordinate is shuffled over the tokens by itself."""
    source = generator(seed)
    both = torch.cat([fitted, held_out])
    order = torch.rand(both.shape, generator=source).argsort(0)
    both = both.gather(0, order)
    return _explained(_model(both[: len(fitted)], parts, UPDATES, seed), both[len(fitted) :])


def _in_order(components: Tensor, strengths: Tensor) -> dict[str, Tensor]:
    """Factors of unit length and their strengths, the largest share of the squares first."""
    length = components.norm(dim=1)
    strengths = strengths * length
    squares = strengths.nan_to_num().square().sum((0, 1))
    order = squares.argsort(descending=True)
    units = components / length.clamp(min=1e-12)[:, None]
    return {
        "factors": units[order],
        "strengths": strengths[..., order],
        "share": squares[order] / squares.sum().clamp(min=1e-12),
    }


def _strongest(strengths: Tensor, tokens: Tensor) -> dict[str, Tensor]:
    """The tokens at which each part is strongest."""
    flat = strengths.flatten(0, 1).nan_to_num(-1).T  # [part, token]
    best = flat.topk(min(TOP, flat.shape[1]), dim=1)
    return {"top_tokens": tokens.flatten()[best.indices], "top_strengths": best.values}


def _views(parts: int, top: int) -> tuple[View, ...]:
    axes = [numbered("part", parts), numbered("rank", top)]
    return (
        View(kind="heatmap", axes=axes, data="top_strengths", words="top_tokens", title="strongest tokens"),
        View(kind="bars", axes=axes[:1], data="share"),
        View(kind="lines", axes=[Axis(name="update", labels=[str(step) for step in STEPS])], data="loss"),
    )
