"""Non-negative factors of vectors at tokens: fitted on one half of the samples, judged on the other."""

from typing import Any

import torch
from torch import Tensor

from game.api import RequestError, Samples
from game.tools.kit.chance import generator, halves
from game.tools.kit.result import Axis, Summary, View, numbered

UPDATES = 200  # multiplicative updates of one factorisation
STEPS = (1, 5, 20, 50, UPDATES)  # after how many of them the loss is told
NULLS = 2  # scrambled copies
TOP = 5  # tokens shown of each part


def check_parts(samples: Samples, parts: int, width: int) -> None:
    """Nothing, if that many factors of vectors of that width can be fitted.

    Raises:
        RequestError: They cannot.
    """
    if len(samples.tokens) < 4 or not 1 <= parts <= width:
        raise RequestError(
            f"parts: got {parts} of {len(samples.tokens)} samples; allowed: 1 to {width}, of at least 4"
        )


def factored(vectors: Tensor, samples: Samples, parts: int, seed: int) -> dict[str, Tensor]:
    """The factors and all that is told of them, as the docstring of `factors` lists it.

    Args:
        vectors: `[sample, pos, d]`, none negative.
        samples: Whose tokens they are at.
        parts: How many factors.
        seed: Of the halves, of the factorisation's start and of the scrambling.
    """
    holds = torch.arange(vectors.shape[1]) < samples.lengths[:, None]
    form, test = halves(len(vectors), seed)
    fitted, held_out = (vectors[rows][holds[rows]] for rows in (form, test))
    model = _model(fitted, parts, UPDATES, seed)
    strengths = torch.full((*vectors.shape[:2], parts), torch.nan).double()
    strengths[holds] = torch.from_numpy(model.transform(vectors[holds].numpy())).double()
    arrays = _in_order(torch.from_numpy(model.components_).double(), strengths)
    arrays |= _strongest(arrays["strengths"][test], samples.tokens[test])
    return arrays | {
        "loss": torch.tensor([_loss(fitted, parts, steps, seed) for steps in STEPS]),
        "steps": torch.tensor(STEPS),
        "explained": _explained(model, held_out),
        "null_explained": torch.stack(
            [_scrambled(fitted, held_out, parts, seed + copy) for copy in range(NULLS)]
        ),
        "held_out_tokens": holds[test].sum(),
    }


def told(arrays: dict[str, Tensor], parts: int) -> tuple[str, Summary]:
    """One sentence, and the figure that stands for it, beside scrambled vectors."""
    n = int(arrays["held_out_tokens"])
    high, reached = float(arrays["null_explained"].max()), float(arrays["explained"])
    note = (
        f"{parts} parts explain {reached:.2f} of {n} held-out tokens' squares, "
        f"where coordinates are scrambled at most {high:.2f}"
    )
    return note, Summary("explained", reached, n, (0.0, high))


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


def factor_views(parts: int, top: int) -> tuple[View, ...]:
    """Where each part is strongest, how large it is, and how the fit went."""
    axes = [numbered("part", parts), numbered("rank", top)]
    return (
        View(kind="heatmap", axes=axes, data="top_strengths", words="top_tokens", title="strongest tokens"),
        View(kind="bars", axes=axes[:1], data="share"),
        View(kind="lines", axes=[Axis(name="update", labels=[str(step) for step in STEPS])], data="loss"),
    )
