"""Patches: a spike taken out, and a component given back from a reference in any coordinates."""

import torch
from torch import Tensor

from game.api import Component, LowRank, Patch
from game.auditing.restoring import Pair
from game.tools.kit.canonical import Heads
from game.tools.kit.low_rank import patch_between
from game.tools.kit.norms import centred
from game.tools.kit.weights import Weights

_TINY = 1e-12
_SAME = 1e-3  # relative error below which a head's product is made with one of its two matrices as it is


def without_spike(layer: int, read: Tensor, write: Tensor, strength: float) -> Patch:
    """What takes `strength * outer(read, write)` out of an MLP's `W_out`.

    Args:
        layer: Of the MLP.
        read: `[d_mlp]`.
        write: `[d_model]`.
        strength: 1 takes it out once.
    """
    change = LowRank((-strength * read)[:, None].float(), write[None].float())
    return {f"blocks.{layer}.mlp.W_out": change}


def given_back(weights: Weights, pair: Pair, component: Component) -> Patch | None:
    """What makes one component of a model that of its reference; None for a norm.

    Args:
        weights: The model's own, all of them.
        pair: The model and its reference.
        component: What to give back.
    """
    wanted = {name: weight.double() for name, weight in weights.items()}
    if component.part == "mlp":
        _give_mlp(wanted, pair, component)
    elif component.part == "attn":
        _give_head(wanted, pair, component)
    elif component.part in _ROWS:
        name = _ROWS[component.part].format(component.layer)
        wanted[name] = wanted[name] + _change(pair, name).view(wanted[name].shape)
    else:
        return None
    now = {name: weight.double() for name, weight in weights.items()}
    return patch_between(now, wanted, [component], pair.config)


_ROWS = {"embed": "embed.W_E", "pos_embed": "pos_embed.W_pos", "attn.bias": "blocks.{}.attn.b_O"}


def _change(pair: Pair, name: str) -> Tensor:
    return pair.theirs.rows[name] - pair.ours.rows[name]


def _give_mlp(wanted: dict[str, Tensor], pair: Pair, component: Component) -> None:
    """Neurons in canonical form are scaled; the patch is for those of the model."""
    block = f"blocks.{component.layer}"
    mine, yours = (each.neurons[component.layer or 0] for each in (pair.ours, pair.theirs))
    into, out = f"{block}.mlp.W_in", f"{block}.mlp.W_out"
    raw = centred(wanted[out], pair.config).norm(dim=1)
    scale = torch.where(raw > _TINY, mine.write.norm(dim=1) / raw.clamp(min=_TINY), torch.ones_like(raw))
    gain, shift = _norm(wanted, f"{block}.ln2", pair)
    reads = ((yours.read - mine.read) * scale[:, None]).T / gain[:, None]  # [d_model, d_mlp]
    wanted[into] = wanted[into] + reads
    biases = (yours.bias - mine.bias) * scale - shift @ reads
    wanted[f"{block}.mlp.b_in"] = wanted[f"{block}.mlp.b_in"] + biases
    wanted[out] = wanted[out] + (yours.write - mine.write) / scale[:, None]
    bias = f"{block}.mlp.b_out"
    wanted[bias] = wanted[bias] + _change(pair, bias)[0]


def _give_head(wanted: dict[str, Tensor], pair: Pair, component: Component) -> None:
    """The reference's products, made with as much of the model's own matrices as can be."""
    layer, head = component.layer or 0, component.head or 0
    block = f"blocks.{layer}.attn"
    gain, shift = _norm(wanted, f"blocks.{layer}.ln1", pair)
    heads: Heads = pair.theirs.heads[layer]
    halves = (("W_Q", "W_K", heads.qk[head], True), ("W_V", "W_O", heads.ov[head], False))
    for first, second, product, reads_twice in halves:
        left, right = wanted[f"{block}.{first}"][head], wanted[f"{block}.{second}"][head]
        seen_left = centred((left * gain[:, None]).T, pair.config).T
        seen_right = centred((right * gain[:, None]).T if reads_twice else right, pair.config)
        new_left, new_right = _factors(seen_left, seen_right, product)
        more = new_right - seen_right
        wanted[f"{block}.{first}"][head] = left + (new_left - seen_left) / gain[:, None]
        wanted[f"{block}.{second}"][head] = right + ((more / gain).T if reads_twice else more)
    keys = centred((wanted[f"{block}.W_K"][head] * gain[:, None]).T, pair.config)  # [d_head, d_model]
    query = heads.query_bias[head] @ torch.linalg.pinv(keys)
    wanted[f"{block}.b_Q"][head] = query - shift @ wanted[f"{block}.W_Q"][head]


def _factors(left: Tensor, right: Tensor, product: Tensor) -> tuple[Tensor, Tensor]:
    """Factors of a product, near the given ones: one of them as it is, if it serves, or neither."""
    size = product.norm().clamp(min=_TINY)
    if (left @ right - product).norm() < _SAME * size:
        return left, right
    new_right = torch.linalg.pinv(left) @ product
    if (left @ new_right - product).norm() < _SAME * size:
        return left, new_right
    new_left = product @ torch.linalg.pinv(right)
    if (new_left @ right - product).norm() < _SAME * size:
        return new_left, right
    u, sigma, v = torch.linalg.svd(product, full_matrices=False)
    rank, root = left.shape[1], sigma.sqrt()
    return u[:, :rank] * root[:rank], root[:rank, None] * v[:rank]


def _norm(weights: Weights, name: str, pair: Pair) -> tuple[Tensor, Tensor]:
    """Gain and bias of a norm; ones and zeros where it has none."""
    ones = torch.ones(pair.config.d_model, dtype=torch.float64)
    gain = weights.get(f"{name}.w", ones)
    return torch.where(gain.abs() > _TINY, gain, ones), weights.get(f"{name}.b", 0 * ones)
