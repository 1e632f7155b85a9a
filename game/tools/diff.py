"""Difference of two models, once everything that exact rewritings can change is taken out."""

from typing import Literal

import torch
from torch import Tensor

from game.api import RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price, weight_price
from game.tools.kit.batches import run
from game.tools.kit.canonical import read_canonical
from game.tools.kit.example import Example
from game.tools.kit.readings import checked
from game.tools.kit.result import Axis, Summary, ToolResult, View

EXAMPLE = Example(
    edit="rrome",
    args="--samples affected:32",
    found="The edited matrix alone differs from the reference.",
    nothing="Nothing differs beyond rounding.",
)

Other = Literal["reference", "sibling"]
SAME_ANSWERS = 1e-6  # nats of KL that float32 leaves of exact rewritings
ROUNDING = 1e-4  # relative difference that float32 and ill-conditioned bases may leave of exact rewritings
_TINY = 1e-30


def estimate(config: TransformerConfig, samples: Samples) -> float:
    """Credits of `diff`."""
    weights = sum(weight_price(config, name) for name in config.weight_shapes())
    return 2 * (forward_price(len(samples.tokens)) + weights)


def diff(box: Toolbox, samples: Samples, other: Other = "reference", number: int = 0) -> ToolResult:
    """Which parts of the model differ from a reference or sibling, by how much, and in how many directions.

    Both models are brought into a canonical form: norms folded, heads as products, ReLU neurons rescaled. The
    other one's residual stream is then rotated onto the model's, and its heads and neurons matched by least
    cost, so that every part is named as the model under audit has it, in whatever order the other one comes.
    A model that was only rewritten differs by rounding alone. Price: both models' weights + 2 samples.

    Arrays `[part]`: `relative`, |difference| / |other|; `rank`, how many singular values make up 99 % of the
    squared difference; `share`, that of the first. `direction` `[part, d_model]`, its first right singular
    vector in the coordinates of the model under audit; `kl` `[sample]`, KL(other || model) where the answer
    is read, nats.

    Args:
        box: The model, in a league that grants a reference or siblings.
        samples: Prompts on which answers are compared.
        other: Compared with what; of siblings, worlds differ too, and so does nearly everything.
        number: Which sibling.

    Raises:
        RequestError: `other` is neither, or the samples do not fit.
        AccessError: The league does not grant it.

    Source: matching of units by least cost: Ainsworth et al. 2022, arXiv 2209.04836.
    """
    if other not in ("reference", "sibling"):
        raise RequestError(f'other: got "{other}"; allowed: reference, sibling')
    checked(box.config, samples)
    spent = box.budget.spent
    against = box.reference() if other == "reference" else box.sibling(number)
    ours = read_canonical(box)
    theirs = read_canonical(against).aligned(ours)
    pairs = list(zip(ours.parts(box.config.n_heads), theirs.parts(box.config.n_heads), strict=True))
    least = 1e-3 * float(theirs.rows["embed.W_E"].norm(dim=1).mean())  # a bias may be zero
    found = [_compared(mine, yours, least, box.config.d_model) for (_, _, mine), (_, _, yours) in pairs]
    arrays = {name: torch.stack([each[name] for each in found]) for name in found[0]}
    arrays["kl"] = _divergence(box, against, samples)
    owners: dict[str, float] = {}
    for (owner, _, _), value in zip((mine for mine, _ in pairs), arrays["relative"], strict=True):
        owners[owner] = max(owners.get(owner, 0.0), float(value))
    parts = Axis(name="part", labels=[name for (_, name, _), _ in pairs])
    largest = float(arrays["relative"].max())
    return ToolResult(
        "diff",
        {"other": other, "number": number, "samples": len(samples.tokens)},
        box.budget.spent - spent,
        arrays,
        (
            View(kind="bars", axes=[parts], data="relative"),
            View(kind="table", axes=[parts], data="relative", columns=["rank", "share"]),
        ),
        (f"exact rewritings leave relative differences below {ROUNDING:g}, KL below {SAME_ANSWERS:g} nats",),
        (
            Summary("largest relative difference", largest, len(pairs), (0.0, ROUNDING)),
            Summary("mean KL", float(arrays["kl"].mean()), len(samples.tokens), (0.0, SAME_ANSWERS)),
        ),
        owners,
    )


def _compared(mine: Tensor, yours: Tensor, least: float, d_model: int) -> dict[str, Tensor]:
    """Size and shape of one part's difference; a norm below `least` counts as that."""
    change = mine - yours
    _, values, right = torch.linalg.svd(change, full_matrices=False)
    energy = values.square().cumsum(0)
    total = energy[-1].clamp(min=_TINY)
    return {
        "relative": change.norm() / yours.norm().clamp(min=least),
        "rank": (energy < 0.99 * total).sum() + 1,
        "share": values[0] ** 2 / total,
        "direction": right[0, :d_model],
    }


def _divergence(box: Toolbox, against: Toolbox, samples: Samples) -> Tensor:
    """KL(other || model), `[sample]`, nats."""
    rows, at = torch.arange(len(samples.tokens)), samples.lengths - 1
    ours, theirs = (
        run(each, samples.tokens, ["logits"])["logits"][rows, at].double().log_softmax(-1)
        for each in (box, against)
    )
    return (theirs.exp() * (theirs - ours)).sum(-1).clamp(min=0)
