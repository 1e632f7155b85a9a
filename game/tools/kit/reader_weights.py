"""What every head and MLP applies to the residual stream that it reads, with the norm's gain folded in."""

from dataclasses import dataclass

import torch
from torch import Tensor

from game.api import Toolbox, TransformerConfig
from game.toolbox.prices import weight_price
from game.tools.kit.nodes import Node

LETTERS = "qkv"


@dataclass(frozen=True)
class ReaderWeights:
    """Matrices from the normalised stream, before the gain, to what enters a head or an MLP; float64.

    Attributes:
        heads: For each layer `[letter, head, d_model, d_head]`, letters in the order q, k, v.
        mlps: For each layer with an MLP `[d_model, d_mlp]`.
    """

    heads: dict[int, Tensor]
    mlps: dict[int, Tensor]

    def of(self, node: Node) -> Tensor:
        """One reader's matrix, `[d_model, out]`."""
        assert node.layer is not None  # the logits have the readout
        if node.letter is None:
            return self.mlps[node.layer]
        return self.heads[node.layer][LETTERS.index(node.letter), node.head]


def read_weights(box: Toolbox, nodes: tuple[Node, ...]) -> ReaderWeights:
    """The matrices of all readers in the layers of these; the price is `reader_price`."""
    heads = {
        layer: torch.stack([_folded(box, f"blocks.{layer}.attn.W_{letter}", "ln1") for letter in "QKV"])
        for layer in _layers(nodes, of_heads=True)
    }
    mlps = {
        layer: _folded(box, f"blocks.{layer}.mlp.W_in", "ln2") for layer in _layers(nodes, of_heads=False)
    }
    return ReaderWeights(heads, mlps)


def reader_price(config: TransformerConfig, nodes: tuple[Node, ...]) -> float:
    """Credits of `read_weights`."""
    names = [
        f"blocks.{layer}.{name}"
        for layer in _layers(nodes, of_heads=True)
        for name in ("attn.W_Q", "attn.W_K", "attn.W_V", "ln1.w")
    ]
    names += [
        f"blocks.{layer}.{name}" for layer in _layers(nodes, of_heads=False) for name in ("mlp.W_in", "ln2.w")
    ]
    return sum(weight_price(config, name) for name in names if name in config.weight_shapes())


def entry_hook(node: Node) -> str:
    """The hook at which a reader's input can be changed for it alone."""
    if node.letter is None:
        return f"blocks.{node.layer}.mlp.hook_pre"
    return f"blocks.{node.layer}.attn.hook_{node.letter}"


def stream_hook(config: TransformerConfig, node: Node) -> str:
    """The hook of the residual stream that a reader reads."""
    if node.layer is None:
        return f"blocks.{config.n_layers - 1}.hook_resid_post"
    return f"blocks.{node.layer}.hook_resid_{'mid' if node.letter is None else 'pre'}"


def _layers(nodes: tuple[Node, ...], *, of_heads: bool) -> list[int]:
    """The layers of those nodes that are heads, or MLPs."""
    return sorted(
        {node.layer for node in nodes if node.layer is not None and (node.letter is not None) == of_heads}
    )


def _folded(box: Toolbox, name: str, norm: str) -> Tensor:
    """A matrix `[..., d_model, out]` times the gain of the norm before it."""
    gain = f"{name.split('.attn')[0].split('.mlp')[0]}.{norm}.w"
    weight = box.weight(name).double()
    return weight * box.weight(gain).double()[:, None] if gain in box.config.weight_shapes() else weight
