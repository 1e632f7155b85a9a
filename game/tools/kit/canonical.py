"""A model's weights in a form that exact rewritings cannot change, up to a rotation and the order of parts.

Gains and biases of norms are folded into the matrices behind them; what a LayerNorm does not see is taken
out; a head is its products W_Q W_K^T, b_Q W_K^T and W_V W_O, its value bias part of b_O; a ReLU neuron reads
with a vector of length 1; the mean embedding lies with the positions; logits are centred over the vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from game.api import Toolbox, TransformerConfig
from game.tools.kit.norms import centred

_TINY = 1e-30
_BOTH = 1e-3  # what the worse of two fits counts beside the better one
_REFITS, _OUTLIER = 4, 5.0  # rounds of fitting a rotation without rows that miss by so many medians


@dataclass(frozen=True)
class Heads:
    """The heads of a layer: `qk` and `ov` `[head, d_model, d_model]`, `query_bias` `[head, d_model]`."""

    qk: Tensor
    query_bias: Tensor
    ov: Tensor


@dataclass(frozen=True)
class Neurons:
    """The neurons of a layer: `read` and `write` `[neuron, d_model]`, `bias` `[neuron]`."""

    read: Tensor
    bias: Tensor
    write: Tensor


@dataclass(frozen=True)
class Canonical:
    """A model in canonical form, float64.

    Attributes:
        rows: By weight name, vectors of the residual stream in an order that no rewriting changes:
            embeddings, positions, the unembedding's columns, b_O and b_out.
        b_U: `[d_vocab]`.
        heads: One a layer.
        neurons: By layer.
    """

    rows: dict[str, Tensor]
    b_U: Tensor
    heads: tuple[Heads, ...]
    neurons: dict[int, Neurons]

    def rotated(self, rotation: Tensor) -> "Canonical":
        """The same with the residual stream rotated, `[d_model, d_model]`."""
        turned = [
            Heads(
                rotation.T @ each.qk @ rotation, each.query_bias @ rotation, rotation.T @ each.ov @ rotation
            )
            for each in self.heads
        ]
        return replace(
            self,
            rows={name: rows @ rotation for name, rows in self.rows.items()},
            heads=tuple(turned),
            neurons={
                layer: Neurons(each.read @ rotation, each.bias, each.write @ rotation)
                for layer, each in self.neurons.items()
            },
        )

    def aligned(self, other: "Canonical") -> "Canonical":
        """The same in the coordinates, and with heads and neurons in the order, of the other model."""
        turned = self.rotated(_rotation(torch.cat([*self.rows.values()]), torch.cat([*other.rows.values()])))
        heads = tuple(_matched_heads(*pair) for pair in zip(turned.heads, other.heads, strict=True))
        neurons = {
            layer: _matched_neurons(each, other.neurons[layer]) for layer, each in turned.neurons.items()
        }
        return replace(turned, heads=heads, neurons=neurons)

    def parts(self, n_heads: int) -> Iterator[tuple[str, str, Tensor]]:
        """Every part: the component that owns it, its name, and its numbers as a matrix."""
        for name in ("embed.W_E", "pos_embed.W_pos"):
            yield name.split(".")[0], name, self.rows[name]
        yield "unembed", "unembed", torch.cat([self.rows["unembed.W_U"], self.b_U[:, None]], 1)
        for layer, each in enumerate(self.heads):
            attn = f"blocks.{layer}.attn"
            yield f"{attn}.bias", f"{attn}.b_O", self.rows[f"{attn}.b_O"]
            for head in range(n_heads):
                scores = torch.cat([each.qk[head], each.query_bias[head][None]])
                yield f"{attn}.{head}", f"{attn}.{head} QK", scores
                yield f"{attn}.{head}", f"{attn}.{head} OV", each.ov[head]
        for layer, found in self.neurons.items():
            mlp = f"blocks.{layer}.mlp"
            yield mlp, f"{mlp}.W_in", torch.cat([found.read, found.bias[:, None]], 1)
            yield mlp, f"{mlp}.W_out", torch.cat([found.write, self.rows[f"{mlp}.b_out"]])


def read_canonical(box: Toolbox) -> Canonical:
    """The canonical form of a model; the price is that of all its weights."""
    config = box.config
    weights = {name: box.weight(name).double() for name in config.weight_shapes()}
    mean = weights["embed.W_E"].mean(0)
    W_U, b_U = _folded(weights, config, "ln_final", "unembed.W_U", "unembed.b_U")
    b_U = b_U - b_U.mean()
    rows = {
        "embed.W_E": centred(weights["embed.W_E"] - mean, config),
        "pos_embed.W_pos": centred(weights["pos_embed.W_pos"] + mean, config),
        "unembed.W_U": centred((W_U - W_U.mean(1, keepdim=True)).T, config),
    }
    heads, neurons = [], {}
    for layer in range(config.n_layers):
        found, rows[f"blocks.{layer}.attn.b_O"] = _heads(weights, config, f"blocks.{layer}")
        heads.append(found)
        if config.mlp[layer]:
            neurons[layer] = _neurons(weights, config, f"blocks.{layer}")
            rows[f"blocks.{layer}.mlp.b_out"] = centred(weights[f"blocks.{layer}.mlp.b_out"][None], config)
    return Canonical(rows, b_U, tuple(heads), neurons)


def _folded(
    weights: dict[str, Tensor], config: TransformerConfig, norm: str, matrix: str, bias: str
) -> tuple[Tensor, Tensor]:
    """A reader's matrix with the norm's gain and without what the norm takes out, and its whole bias."""
    weight, constant = weights[matrix], weights[bias]
    if f"{norm}.b" in weights:
        constant = constant + weights[f"{norm}.b"] @ weight
    if f"{norm}.w" in weights:
        weight = weights[f"{norm}.w"][:, None] * weight
    return centred(weight.mT, config).mT, constant


def _heads(weights: dict[str, Tensor], config: TransformerConfig, block: str) -> tuple[Heads, Tensor]:
    """The heads of a layer, and its b_O with what the value biases come to, `[1, d_model]`."""
    attn = f"{block}.attn"
    query, key, value = (
        _folded(weights, config, f"{block}.ln1", f"{attn}.W_{letter}", f"{attn}.b_{letter}")
        for letter in "QKV"
    )
    output = centred(weights[f"{attn}.W_O"], config)
    bias = centred(weights[f"{attn}.b_O"], config) + (value[1][:, None] @ output).sum(0)
    query_bias = (query[1][:, None] @ key[0].mT)[:, 0]
    return Heads(query[0] @ key[0].mT, query_bias, value[0] @ output), bias


def _neurons(weights: dict[str, Tensor], config: TransformerConfig, block: str) -> Neurons:
    read, bias = _folded(weights, config, f"{block}.ln2", f"{block}.mlp.W_in", f"{block}.mlp.b_in")
    scale = torch.ones_like(bias)
    if config.act_fn == "relu":
        scale = (read.square().sum(0) + bias.square()).sqrt().clamp(min=_TINY)
    write = centred(weights[f"{block}.mlp.W_out"], config) * scale[:, None]
    return Neurons((read / scale).T, bias / scale, write)


def _rotation(rows: Tensor, wanted: Tensor) -> Tensor:
    """The rotation that takes rows to those wanted, rows that an edit moved left aside.

    Source: Schönemann 1966 (orthogonal Procrustes).
    """
    kept = torch.ones(len(rows), dtype=torch.bool)
    rotation = torch.eye(rows.shape[1], dtype=rows.dtype)
    for _ in range(_REFITS):
        left, _, right = torch.linalg.svd(rows[kept].T @ wanted[kept])
        rotation = left @ right
        missed = (rows @ rotation - wanted).norm(dim=1)
        kept = missed <= _OUTLIER * missed.median() + _TINY
        if kept.sum() < rows.shape[1]:
            break
    return rotation


def _matched_heads(heads: Heads, wanted: Heads) -> Heads:
    order = _assignment(_cost((heads.qk, wanted.qk), (heads.ov, wanted.ov)))
    return Heads(heads.qk[order], heads.query_bias[order], heads.ov[order])


def _matched_neurons(neurons: Neurons, wanted: Neurons) -> Neurons:
    reads = (torch.cat([each.read, each.bias[:, None]], 1) for each in (neurons, wanted))
    order = _assignment(_cost(tuple(reads), (neurons.write, wanted.write)))
    return Neurons(neurons.read[order], neurons.bias[order], neurons.write[order])


def _cost(*halves: tuple[Tensor, ...]) -> Tensor:
    """How badly each of our units fits each wanted one, `[ours, wanted]`.

    A unit reads and writes, and an edit usually leaves one of the two alone: the better fit counts, and the
    other only between equals.
    """
    found = []
    for ours, wanted in halves:
        scale = wanted.flatten(1).square().sum(1).mean().clamp(min=_TINY)
        found.append(torch.cdist(ours.flatten(1), wanted.flatten(1)).square() / scale)
    both = torch.stack(found)
    return both.amin(0) + _BOTH * both.sum(0)


def _assignment(cost: Tensor) -> Tensor:
    """For each wanted part, which of ours is it, so that the cost `[ours, wanted]` is least in sum."""
    rows, columns = linear_sum_assignment(cost.numpy())
    order = torch.empty(len(cost), dtype=torch.long)
    order[torch.from_numpy(columns)] = torch.from_numpy(rows)
    return order
