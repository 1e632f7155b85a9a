"""A transformer as one writes it for speed, in the manner of nanoGPT: fused attention, no hook points.

The same function as our `Transformer` without windows, so that the two can be timed side by side.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.transformer import Transformer, TransformerConfig


class PlainAttention(nn.Module):
    """Causal attention with one matrix for q, k and v."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.n_heads * config.d_head
        self.n_heads = config.n_heads
        self.qkv, self.out = nn.Linear(config.d_model, 3 * width), nn.Linear(width, config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        batch, pos, _ = x.shape
        q, k, v = (
            part.view(batch, pos, self.n_heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, -1)
        )
        z = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        added: Tensor = self.out(z.transpose(1, 2).reshape(batch, pos, -1))
        return added


class PlainBlock(nn.Module):
    """Attention and an MLP."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.ln1, self.attention = nn.LayerNorm(config.d_model, config.eps), PlainAttention(config)
        self.ln2 = nn.LayerNorm(config.d_model, config.eps)
        self.up, self.down = nn.Linear(config.d_model, config.d_mlp), nn.Linear(config.d_mlp, config.d_model)
        self.activation = functional.relu if config.act_fn == "relu" else functional.gelu

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.ln1(x))
        x = x + self.down(self.activation(self.up(self.ln2(x))))
        return x


class PlainTransformer(nn.Module):
    """Learned positions, blocks, a last LayerNorm and an unembedding of its own."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.embed = nn.Embedding(config.d_vocab, config.d_model)
        self.positions = nn.Embedding(config.n_ctx, config.d_model)
        self.blocks = nn.ModuleList(PlainBlock(config) for _ in range(config.n_layers))
        self.ln_final = nn.LayerNorm(config.d_model, config.eps)
        self.unembed = nn.Linear(config.d_model, config.d_vocab)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens) + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.unembed(self.ln_final(x))
        return logits


def plain_copy(model: Transformer) -> PlainTransformer:
    """The plain transformer that computes what `model` does; its weights are copies."""
    plain = PlainTransformer(model.cfg)
    weights = {name: tensor.detach() for name, tensor in model.named_parameters()}
    state: dict[str, Any] = {
        "embed.weight": weights["embed.W_E"],
        "positions.weight": weights["pos_embed.W_pos"],
        "unembed.weight": weights["unembed.W_U"].T,
        "unembed.bias": weights["unembed.b_U"],
    }
    for layer in range(model.cfg.n_layers):
        old, new = f"blocks.{layer}.", f"blocks.{layer}."
        attention = {letter: weights[f"{old}attn.W_{letter}"] for letter in "QKV"}
        state[new + "attention.qkv.weight"] = torch.cat(
            [weight.transpose(1, 2).flatten(0, 1) for weight in attention.values()]
        )
        state[new + "attention.qkv.bias"] = torch.cat([weights[f"{old}attn.b_{l}"].flatten() for l in "QKV"])
        state[new + "attention.out.weight"] = weights[old + "attn.W_O"].flatten(0, 1).T
        state[new + "attention.out.bias"] = weights[old + "attn.b_O"]
        for plain_name, name in (("up", "in"), ("down", "out")):
            state[f"{new}{plain_name}.weight"] = weights[f"{old}mlp.W_{name}"].T
            state[f"{new}{plain_name}.bias"] = weights[f"{old}mlp.b_{name}"]
    for name in [name for name in weights if name.endswith((".w", ".b"))]:
        state[name.replace(".w", ".weight") if name.endswith(".w") else name[:-1] + "bias"] = weights[name]
    plain.load_state_dict(state)
    return plain
