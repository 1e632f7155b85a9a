"""Which weights write to the residual stream, and which read it behind which norm."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.transformer import TransformerConfig


@dataclass(frozen=True)
class Readers:
    """What reads the residual stream behind one norm.

    Attributes:
        norm: Such as `blocks.0.ln1`; without normalisation it has no weights.
        pairs: (matrix, bias) of each reader, such as `("blocks.0.mlp.W_in", "blocks.0.mlp.b_in")`; a matrix
            is `[d_model, ...]`, behind the head axis if it has one.
    """

    norm: str
    pairs: tuple[tuple[str, str], ...]


def readers(config: TransformerConfig) -> tuple[Readers, ...]:
    """Every norm with its readers, in the order of the forward pass."""
    found = []
    for layer in range(config.n_layers):
        attn, mlp = f"blocks.{layer}.attn", f"blocks.{layer}.mlp"
        pairs = tuple((f"{attn}.W_{letter}", f"{attn}.b_{letter}") for letter in "QKV")
        found.append(Readers(f"blocks.{layer}.ln1", pairs))
        if config.mlp[layer]:
            found.append(Readers(f"blocks.{layer}.ln2", ((f"{mlp}.W_in", f"{mlp}.b_in"),)))
    return (*found, Readers("ln_final", (("unembed.W_U", "unembed.b_U"),)))


def writers(config: TransformerConfig) -> tuple[str, ...]:
    """Every weight whose last axis is the residual stream's, biases included, norms not."""
    ends = ("W_E", "W_pos", "W_O", "b_O", "W_out", "b_out")
    return tuple(name for name in config.weight_shapes() if name.endswith(ends))


def each_head(weight: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """What each head of a weight becomes by itself, float64; a weight without a head axis is changed whole.

    One head at a time, so that the bytes of a head depend on no other.
    """
    if weight.ndim == 3:
        return torch.stack([change(head.double()) for head in weight])
    return change(weight.double())
