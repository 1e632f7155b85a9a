"""What is left of a model's weights once everything is taken away that no answer depends on.

A transformer's function stays when its heads or neurons change places, when queries and keys, or values and
outputs, get another basis, when the residual stream is rotated, when a norm's gain moves into what reads
behind it, or a bias to where it does the same. The numbers here stay too, up to rounding.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from game.api import Component, TransformerConfig
from game.tools.weights import Weights

_TINY = 1e-30  # stands in for a norm of zero: an ablated head's matrices hold nothing else


@dataclass(frozen=True)
class Invariants:
    """Numbers of one component.

    Attributes:
        spectra: Singular values, falling, of what the component computes with: by name a matrix or a product.
        rest: Further numbers in the same unit, such as norms of biases, in an order that means something.
    """

    spectra: Mapping[str, Tensor]
    rest: Tensor

    @property
    def vector(self) -> Tensor:
        """All numbers in one row."""
        return torch.cat([*self.spectra.values(), self.rest])


def invariants(weights: Weights, config: TransformerConfig) -> dict[Component, Invariants]:
    """The invariants of every component but norms, whose gains and biases count where they are read.

    Heads are in the model's own order, which means nothing. A head's value biases count in `attn.bias`.
    """
    held = {name: weight.double() for name, weight in weights.items()}
    found = {
        Component("embed"): _of_rows(_centred(held["embed.W_E"], config)),
        Component("pos_embed"): _of_rows(_centred(held["pos_embed.W_pos"], config)),
        Component("unembed"): _of_unembed(held, config),
    }
    for layer in range(config.n_layers):
        found |= _of_attention(held, config, layer)
        if config.mlp[layer]:
            found[Component("mlp", layer)] = _of_mlp(held, config, layer)
    return found


def _of_rows(matrix: Tensor) -> Invariants:
    """Of embeddings, whose rows have names: what one row is to another, up to what all have in common."""
    free = matrix - matrix.mean(0)
    values = torch.linalg.svdvals(free)
    return Invariants({"rows": values}, (free @ free.T).flatten() / values[0].clamp_min(_TINY))


def _of_unembed(held: Weights, config: TransformerConfig) -> Invariants:
    matrix, bias = _read(held, config, "ln_final", held["unembed.W_U"], held["unembed.b_U"])
    rows, bias = (matrix - matrix.mean(1, keepdim=True)).T, bias - bias.mean()
    found = _of_rows(rows)
    return Invariants(found.spectra, torch.cat([found.rest, bias]))


def _of_attention(held: Weights, config: TransformerConfig, layer: int) -> dict[Component, Invariants]:
    attn, norm = f"blocks.{layer}.attn", f"blocks.{layer}.ln1"
    found, constant = {}, held[f"{attn}.b_O"].clone()
    for head in range(config.n_heads):
        pairs = ((held[f"{attn}.W_{each}"][head], held[f"{attn}.b_{each}"][head]) for each in "QKV")
        (query, query_bias), (key, _), (value, value_bias) = (
            _read(held, config, norm, *pair) for pair in pairs
        )
        output = held[f"{attn}.W_O"][head]
        constant += value_bias @ output  # every pattern sums to 1
        output = _centred(output, config)
        scores = torch.cat([query, query_bias[None]])  # a key's bias moves all scores of a query alike
        spectra = {"qk": _product_values(scores, key), "ov": _product_values(value, output.T)}
        turned = zip((key.T @ query, output @ value), spectra.values(), strict=True)
        traces = torch.stack([each for pair in turned for each in _traces(*pair)])
        found[Component("attn", layer, head)] = Invariants(spectra, traces)
    bias = _centred(constant, config)
    found[Component("attn.bias", layer)] = Invariants({}, bias.norm()[None])
    return found


def _of_mlp(held: Weights, config: TransformerConfig, layer: int) -> Invariants:
    mlp = f"blocks.{layer}.mlp"
    read, bias = _read(held, config, f"blocks.{layer}.ln2", held[f"{mlp}.W_in"], held[f"{mlp}.b_in"])
    write = _centred(held[f"{mlp}.W_out"], config)
    size, loudness = read.norm(dim=0), write.norm(dim=1)
    # Under ReLU a neuron may read louder and write softer: both sides are made equally loud.
    even = torch.where((size > 0) & (loudness > 0), (loudness / size.clamp_min(_TINY)).sqrt(), 1.0)
    read, bias, write = read * even, bias * even, write / even[:, None]
    neurons = [(read.T * write).sum(1), bias, (size * loudness).sqrt()]
    offset = _centred(held[f"{mlp}.b_out"], config).norm()
    spectra = {"in": torch.linalg.svdvals(read), "out": torch.linalg.svdvals(write)}
    return Invariants(spectra, torch.cat([*(each.sort().values for each in neurons), offset[None]]))


def _read(
    held: Weights, config: TransformerConfig, norm: str, matrix: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """A matrix that reads behind a norm, and its bias, with the norm's gain and bias folded in."""
    if config.normalization_type is None:
        return matrix, bias
    gain = held[f"{norm}.w"]
    if config.normalization_type != "LN":
        return gain[:, None] * matrix, bias
    folded = gain[:, None] * matrix
    return folded - folded.mean(0), bias + held[f"{norm}.b"] @ matrix  # what LayerNorm shows has mean 0


def _centred(writer: Tensor, config: TransformerConfig) -> Tensor:
    """What writes to the residual stream, without the mean that LayerNorm takes away at every reader."""
    return writer - writer.mean(-1, keepdim=True) if config.normalization_type == "LN" else writer


def _product_values(left: Tensor, right: Tensor) -> Tensor:
    """Singular values of `left @ right.T` for thin matrices, as many as they have columns."""
    values: Tensor = torch.linalg.svdvals(torch.linalg.qr(left).R @ torch.linalg.qr(right).R.T)
    return values


def _traces(turned: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Traces of a product and, in its unit, of its square: they have the signs that singular values lack.

    Args:
        turned: The product's factors the other way round, which has the same traces and is small.
        values: The product's singular values.
    """
    return turned.trace(), (turned @ turned).trace() / values.norm().clamp_min(_TINY)
