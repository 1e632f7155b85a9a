"""Rank-one spikes in the MLP output matrices, seen in the basis where a fact edit is loudest."""

import math
from collections.abc import Iterator

import torch
from einops import einsum
from torch import Tensor

from game.api import RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price, weight_price
from game.tools.kit.example import Example
from game.tools.kit.readings import checked
from game.tools.kit.result import Axis, Summary, ToolResult, View, numbered

EXAMPLE = Example(
    edit="rrome",
    args="--samples sample:400",
    found="In the edited layer the first share stands far apart from the second, outside the band.",
    nothing="In every layer the gap is within the band.",
)

ROWS = 256  # sequences in one call: the fastest batch on a CPU
GAPS = 8  # singular values behind the first one that serve as its null
_THRESHOLD = 3.0  # how many times its chance share of a row's energy a direction needs to count as signal
_TINY = 1e-12


def estimate(config: TransformerConfig, rows: int) -> float:
    """Credits of `spike` for that many sequences."""
    return forward_price(rows) + sum(weight_price(config, _weight(layer)) for layer in mlp_layers(config))


def spike(box: Toolbox, samples: Samples) -> ToolResult:
    """For each MLP, the likeliest rank-one addition to `W_out`, and how far it stands out.

    A fact edit adds `outer(u, v)` with `u = C^-1 k`: it reads where the keys' second moment C is small, for
    there it disturbs least. Training leaves hardly more there than the initial noise. So the rows of `W_out`
    in the eigenbasis of C, each scaled to length 1, all lean towards one v if there was an edit, however
    small its norm. An inert rank-one addition stands out as well: try the result with `excise`.
    Price: rows + the matrices' scalars.

    Arrays, the first axis running over the layers with an MLP: `energy` [layer, index], shares of the squared
    singular values of those scaled rows; `log_gap` [layer], log of the first share over the second, and
    `null_gap`, one number, what it would be on average without a spike, from the gaps behind the first;
    `null_most`, what the largest gap stays below in 19 of 20 models without one, by Wigner's surmise, and
    `no_gap`, 0;
    `write` [layer, d_model], the unit vector v; `read` [layer, d_mlp], the estimate of u, so that
    `outer(read, write)` is the addition.

    Args:
        box: The model, in a league that grants activations and weights.
        samples: Sequences on which C is measured; a thousand are enough for 256 neurons.

    Raises:
        RequestError: The model has no MLP, or the samples do not fit.

    Source: Meng et al. 2022, arXiv 2202.05262, equation 2 (the edit); spacing of singular values at the edge
    of noise, which shrinks as index^(-1/3): Tracy and Widom 1994; the positive-part rule of James and Stein
    1961 for `read`.
    """
    spent, layers = box.budget.spent, mlp_layers(box.config)
    if not layers:
        raise RequestError("model: no layer has an MLP, so there is no W_out to look at")
    checked(box.config, samples)
    moments = _moments(box, samples, layers)
    parts = [_analysed(box.weight(_weight(layer)).double(), moments[layer]) for layer in layers]
    energy, write, read = (torch.stack(part) for part in zip(*parts, strict=True))
    gaps = (energy[:, :-1].clamp(min=_TINY) / energy[:, 1:].clamp(min=_TINY)).log()[:, : GAPS + 1]
    index = torch.arange(1, gaps.shape[1] + 1)
    null = (gaps * index ** (1 / 3))[:, 1:].mean()
    arrays = {"energy": energy, "log_gap": gaps[:, 0], "null_gap": null, "write": write, "read": read}
    most = _most_without_spike(float(null), len(layers))
    arrays |= {"no_gap": torch.tensor(0.0), "null_most": torch.tensor(most)}
    axes = [
        Axis(name="layer", labels=[str(layer) for layer in layers]),
        numbered("index", energy.shape[1]),
    ]
    views = (
        View(kind="lines", axes=axes, data="energy", link=["layer"]),
        View(kind="bars", axes=axes[:1], data="log_gap", null=("no_gap", "null_most"), link=["layer"]),
    )
    notes = (f"without a spike, log_gap is about {float(null):.3f}",)
    args = {"rows": len(samples.tokens), "layers": layers}
    largest = Summary("largest log_gap", float(gaps[:, 0].max()), len(layers), (0.0, most))
    suspects = {f"blocks.{layer}.mlp": float(gap) for layer, gap in zip(layers, gaps[:, 0], strict=True)}
    return ToolResult("spike", args, box.budget.spent - spent, arrays, views, notes, (largest,), suspects)


def _most_without_spike(mean: float, layers: int) -> float:
    """What the largest of so many gaps stays below in 19 of 20 models without a spike.

    Neighbouring singular values repel each other, so a gap of that mean follows Wigner's surmise.
    """
    alone = 0.95 ** (1 / layers)
    return mean * math.sqrt(-4 / math.pi * math.log(1 - alone))


def mlp_layers(config: TransformerConfig) -> tuple[int, ...]:
    """The layers that have an MLP."""
    return tuple(layer for layer, has_mlp in enumerate(config.mlp) if has_mlp)


def keys_and_logits(box: Toolbox, samples: Samples) -> Iterator[tuple[slice, dict[str, Tensor]]]:
    """Batches of `hook_post` of every MLP and `logits`, by name, with the sequences that they belong to.

    Every tool that needs them asks in these words, so that only the first one pays.
    """
    names = [*(_post(layer) for layer in mlp_layers(box.config)), "logits"]
    rows = min(ROWS, box.budget.max_rows)
    for start in range(0, len(samples.tokens), rows):
        batch = slice(start, start + rows)
        yield batch, box.activations(samples.tokens[batch], names)


def seen(samples: Samples) -> Tensor:
    """Which positions hold a token and not padding, `[sample, pos]`."""
    return torch.arange(samples.tokens.shape[1]) < samples.lengths[:, None]


def _weight(layer: int) -> str:
    return f"blocks.{layer}.mlp.W_out"


def _post(layer: int) -> str:
    return f"blocks.{layer}.mlp.hook_post"


def _moments(box: Toolbox, samples: Samples, layers: tuple[int, ...]) -> dict[int, Tensor]:
    """Sum over all positions of each MLP's `outer(key, key)`, float64; its scale does not matter."""
    moments = {layer: torch.zeros(box.config.d_mlp, box.config.d_mlp).double() for layer in layers}
    holds = seen(samples)
    for batch, found in keys_and_logits(box, samples):
        for layer in layers:
            keys = found[_post(layer)][holds[batch]].double()
            moments[layer] += keys.T @ keys
    return moments


def _analysed(weight: Tensor, moment: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Energy shares, `write` and `read` of one `W_out` `[d_mlp, d_model]`."""
    basis = torch.linalg.eigh(moment).eigenvectors  # [d_mlp, direction]
    rows = basis.T @ weight
    scaled = rows / rows.norm(dim=1, keepdim=True).clamp(min=_TINY)
    _, values, right = torch.linalg.svd(scaled, full_matrices=False)
    write = right[0]
    share = (scaled @ write).square() * weight.shape[1]  # of a row's energy, in units of chance
    signal = (1 - _THRESHOLD / share.clamp(min=_TINY)).clamp(min=0)
    read = einsum(basis, signal * (rows @ write), "mlp direction, direction -> mlp")
    return values.square() / values.square().sum(), write, read
