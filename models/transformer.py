"""The transformer that is played on, with TransformerLens's names for every weight and hook point.

Row vectors throughout: an activation `x [..., d_model]` is multiplied from the right, so `W_out` is
`[d_mlp, d_model]`. A layer may see only a window of positions, and may have no MLP.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import torch
from einops import einsum
from torch import Tensor, nn
from torch.nn import functional

from models.hooks import HookFunction, HookPoint, NamesFilter, attached, matching_names, named_hook_points
from models.tl_protocol import SharedFields, TransformerLensMethods

Activation = Literal["relu", "gelu"]
Normalization = Literal["LN", "RMS"]


@dataclass(frozen=True)
class TransformerConfig(SharedFields):
    """Shapes of a model; field names are TransformerLens's, plus `window` and `mlp` for each layer.

    Attributes:
        window: For each layer, how many positions attention sees, itself included; None is all.
        mlp: For each layer, whether it has an MLP.
        normalization_type: `LN`, `RMS`, or None for no normalisation.

    Raises:
        ValueError: The numbers do not fit together.
    """

    n_layers: int
    d_model: int
    n_heads: int
    d_head: int
    d_mlp: int
    d_vocab: int
    n_ctx: int
    window: tuple[int | None, ...]
    mlp: tuple[bool, ...]
    act_fn: Activation = "relu"
    normalization_type: Normalization | None = "LN"
    eps: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("n_layers", "d_model", "n_heads", "d_head", "d_mlp", "d_vocab", "n_ctx"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, wanted at least 1")
        for name in ("window", "mlp"):
            count = len(getattr(self, name))
            if count != self.n_layers:
                raise ValueError(
                    f"{name}: got {count} entries, wanted one for each of {self.n_layers} layers"
                )
        if any(window is not None and window < 1 for window in self.window):
            raise ValueError(
                f"window: got {self.window}; each entry is at least 1, or null for all positions"
            )
        if self.act_fn not in ("relu", "gelu"):
            raise ValueError(f'act_fn: got "{self.act_fn}"; allowed: relu, gelu')
        if self.normalization_type not in ("LN", "RMS", None):
            raise ValueError(f'normalization_type: got "{self.normalization_type}"; allowed: LN, RMS, null')

    @property
    def attn_only(self) -> bool:
        """Whether no layer has an MLP."""
        return not any(self.mlp)

    def to_dict(self) -> dict[str, Any]:
        """The config as JSON-ready data."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The config that `to_dict` wrote."""
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }
        return cls(**values)

    def hook_shapes(self, batch: int, pos: int) -> dict[str, tuple[int, ...]]:
        """Every hook point's shape for a batch of `batch` sequences of `pos` tokens."""
        residual = (batch, pos, self.d_model)
        shapes: dict[str, tuple[int, ...]] = {"hook_embed": residual, "hook_pos_embed": residual}
        for layer in range(self.n_layers):
            for name, shape in self._block_hooks(layer, batch, pos).items():
                shapes[f"blocks.{layer}.{name}"] = shape
        return shapes | self._norm_hooks("ln_final", batch, pos)

    def _block_hooks(self, layer: int, batch: int, pos: int) -> dict[str, tuple[int, ...]]:
        residual = (batch, pos, self.d_model)
        square = (batch, self.n_heads, pos, pos)
        heads = dict.fromkeys(
            ("attn.hook_q", "attn.hook_k", "attn.hook_v"), (batch, pos, self.n_heads, self.d_head)
        )
        shapes = {"hook_resid_pre": residual} | self._norm_hooks("ln1", batch, pos) | heads
        shapes |= {"attn.hook_attn_scores": square, "attn.hook_pattern": square}
        shapes |= {"attn.hook_z": heads["attn.hook_q"]}
        shapes |= {"attn.hook_result": (batch, pos, self.n_heads, self.d_model), "hook_attn_out": residual}
        if self.mlp[layer]:
            shapes |= {"hook_resid_mid": residual} | self._norm_hooks("ln2", batch, pos)
            shapes |= dict.fromkeys(("mlp.hook_pre", "mlp.hook_post"), (batch, pos, self.d_mlp))
            shapes |= {"hook_mlp_out": residual}
        return shapes | {"hook_resid_post": residual}

    def _norm_hooks(self, name: str, batch: int, pos: int) -> dict[str, tuple[int, ...]]:
        if self.normalization_type is None:
            return {}
        return {f"{name}.hook_scale": (batch, pos, 1), f"{name}.hook_normalized": (batch, pos, self.d_model)}

    def hook_names(self) -> tuple[str, ...]:
        """Every hook point's name, in the order of the forward pass."""
        return tuple(self.hook_shapes(1, 1))

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Every weight's name and shape, in the order of the forward pass."""
        shapes: dict[str, tuple[int, ...]] = {
            "embed.W_E": (self.d_vocab, self.d_model),
            "pos_embed.W_pos": (self.n_ctx, self.d_model),
        }
        for layer in range(self.n_layers):
            for name, shape in self._block_weights(layer).items():
                shapes[f"blocks.{layer}.{name}"] = shape
        shapes |= self._norm_weights("ln_final")
        return shapes | {"unembed.W_U": (self.d_model, self.d_vocab), "unembed.b_U": (self.d_vocab,)}

    def _block_weights(self, layer: int) -> dict[str, tuple[int, ...]]:
        n_heads, d_head, d_model, d_mlp = self.n_heads, self.d_head, self.d_model, self.d_mlp
        shapes: dict[str, tuple[int, ...]] = self._norm_weights("ln1")
        shapes |= {f"attn.W_{letter}": (n_heads, d_model, d_head) for letter in "QKV"}
        shapes |= {f"attn.b_{letter}": (n_heads, d_head) for letter in "QKV"}
        shapes |= {"attn.W_O": (n_heads, d_head, d_model), "attn.b_O": (d_model,)}
        if self.mlp[layer]:
            shapes |= self._norm_weights("ln2")
            shapes |= {"mlp.W_in": (d_model, d_mlp), "mlp.b_in": (d_mlp,)}
            shapes |= {"mlp.W_out": (d_mlp, d_model), "mlp.b_out": (d_model,)}
        return shapes

    def _norm_weights(self, name: str) -> dict[str, tuple[int, ...]]:
        if self.normalization_type is None:
            return {}
        entries = ("w", "b") if self.normalization_type == "LN" else ("w",)
        return {f"{name}.{entry}": (self.d_model,) for entry in entries}


class Normalize(nn.Module):
    """LayerNorm, RMSNorm or nothing; `hook_normalized` holds the value before gain and bias."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.kind, self.eps = config.normalization_type, config.eps
        if self.kind is not None:
            self.w = nn.Parameter(torch.ones(config.d_model))
            self.hook_scale, self.hook_normalized = HookPoint(), HookPoint()
        if self.kind == "LN":
            self.b = nn.Parameter(torch.zeros(config.d_model))

    def forward(self, x: Tensor) -> Tensor:
        """The normalised residual stream.

        Args:
            x: `[batch, pos, d_model]`.
        """
        if self.kind is None:
            return x
        if self.hook_scale.idle and self.hook_normalized.idle:
            return self._fused(x)
        if self.kind == "LN":
            x = x - x.mean(-1, keepdim=True)
        scale = self.hook_scale((x.pow(2).mean(-1, keepdim=True) + self.eps).sqrt())  # [batch, pos, 1]
        normalized = self.hook_normalized(x / scale)  # [batch, pos, d_model]
        return torch.addcmul(self.b, normalized, self.w) if self.kind == "LN" else normalized * self.w

    def _fused(self, x: Tensor) -> Tensor:
        if self.kind == "LN":
            return functional.layer_norm(x, x.shape[-1:], self.w, self.b, self.eps)
        return functional.rms_norm(x, x.shape[-1:], self.w, self.eps)


class Attention(nn.Module):
    """Causal multi-head attention, unfused so that scores and pattern can be seen and set.

    At the sizes played here this is also faster than torch's fused attention, backwards above all.
    """

    mask: Tensor

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        n_heads, d_head, d_model = config.n_heads, config.d_head, config.d_model
        self.W_Q, self.W_K, self.W_V = (nn.Parameter(torch.zeros(n_heads, d_model, d_head)) for _ in range(3))
        self.b_Q, self.b_K, self.b_V = (nn.Parameter(torch.zeros(n_heads, d_head)) for _ in range(3))
        self.W_O = nn.Parameter(torch.zeros(n_heads, d_head, d_model))
        self.b_O = nn.Parameter(torch.zeros(d_model))
        self.hook_q, self.hook_k, self.hook_v = HookPoint(), HookPoint(), HookPoint()
        self.hook_attn_scores, self.hook_pattern = HookPoint(), HookPoint()
        self.hook_z, self.hook_result = HookPoint(), HookPoint()
        self.register_buffer("mask", _mask(config.n_ctx, config.window[layer]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """What attention adds to the residual stream.

        Args:
            x: Normalised residual stream, `[batch, pos, d_model]`.
        """
        q, k, v = self._project(x)
        z = self.hook_z(self._mix(self.hook_q(q), self.hook_k(k), self.hook_v(v)))
        if self.hook_result.idle:
            return functional.linear(z.flatten(-2), self.W_O.flatten(0, 1).T, self.b_O)
        result = einsum(z, self.W_O, "batch pos head d_head, head d_head d_model -> batch pos head d_model")
        return self.hook_result(result).sum(2) + self.b_O

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, `x W[h] + b[h]` for each head, `[batch, pos, head, d_head]` each."""
        heads, biases = torch.cat((self.W_Q, self.W_K, self.W_V)), torch.cat((self.b_Q, self.b_K, self.b_V))
        together = functional.linear(x, heads.transpose(0, 1).flatten(1).T, biases.flatten())
        together = together.view(*x.shape[:-1], 3, *self.b_Q.shape)
        return together[:, :, 0], together[:, :, 1], together[:, :, 2]

    def _mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Values averaged over the attention pattern, `[batch, pos, head, d_head]`."""
        batch, pos, head, d_head = q.shape
        q, k, v = (tensor.transpose(1, 2) for tensor in (q, k, v))  # [batch, head, pos, d_head]
        mask = self.mask[:pos, :pos]
        scores = torch.baddbmm(
            mask, q.flatten(0, 1), k.flatten(0, 1).transpose(-1, -2), alpha=d_head**-0.5
        )  # mask + q k / sqrt(d_head), in one go
        scores = self.hook_attn_scores(scores.view(batch, head, pos, pos))
        return (self.hook_pattern(scores.softmax(-1)) @ v).transpose(1, 2)


def _mask(n_ctx: int, window: int | None) -> Tensor:
    """What is added to scores, `[query, key]`: 0 where a key may be seen, minus infinity elsewhere."""
    distance = torch.arange(n_ctx)[:, None] - torch.arange(n_ctx)[None, :]
    visible = (distance >= 0) & (distance < (n_ctx if window is None else window))
    return torch.zeros(n_ctx, n_ctx).masked_fill(~visible, -torch.inf)


class MLP(nn.Module):
    """One hidden layer; `hook_post` holds the keys of the associative memory that ROME writes to."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.W_in = nn.Parameter(torch.zeros(config.d_model, config.d_mlp))
        self.b_in = nn.Parameter(torch.zeros(config.d_mlp))
        self.W_out = nn.Parameter(torch.zeros(config.d_mlp, config.d_model))
        self.b_out = nn.Parameter(torch.zeros(config.d_model))
        self.hook_pre, self.hook_post = HookPoint(), HookPoint()
        self.activation: Callable[[Tensor], Tensor] = (
            functional.relu if config.act_fn == "relu" else functional.gelu
        )

    def forward(self, x: Tensor) -> Tensor:
        """What the MLP adds to the residual stream.

        Args:
            x: Normalised residual stream, `[batch, pos, d_model]`.
        """
        pre = self.hook_pre(functional.linear(x, self.W_in.T, self.b_in))  # [batch, pos, d_mlp]
        post = self.hook_post(self.activation(pre))
        return functional.linear(post, self.W_out.T, self.b_out)


class Block(nn.Module):
    """One layer: attention, then an MLP where the config has one."""

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        self.has_mlp = config.mlp[layer]
        self.ln1, self.attn = Normalize(config), Attention(config, layer)
        self.hook_resid_pre, self.hook_attn_out, self.hook_resid_post = HookPoint(), HookPoint(), HookPoint()
        if self.has_mlp:
            self.ln2, self.mlp = Normalize(config), MLP(config)
            self.hook_resid_mid, self.hook_mlp_out = HookPoint(), HookPoint()

    def forward(self, resid: Tensor) -> Tensor:
        """The residual stream after this layer.

        Args:
            resid: `[batch, pos, d_model]`.
        """
        resid = self.hook_resid_pre(resid)
        resid = resid + self.hook_attn_out(self.attn(self.ln1(resid)))
        if self.has_mlp:
            resid = self.hook_resid_mid(resid)
            resid = resid + self.hook_mlp_out(self.mlp(self.ln2(resid)))
        return self.hook_resid_post(resid)


class Embed(nn.Module):
    """Token embedding, not tied to the unembedding."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.W_E = nn.Parameter(torch.zeros(config.d_vocab, config.d_model))

    def forward(self, tokens: Tensor) -> Tensor:
        return functional.embedding(tokens, self.W_E)


class PosEmbed(nn.Module):
    """Learned absolute positions."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.W_pos = nn.Parameter(torch.zeros(config.n_ctx, config.d_model))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.W_pos[: tokens.shape[1]].repeat(len(tokens), 1, 1)  # a copy, as hooks may write to it


class Unembed(nn.Module):
    """Residual stream to logits."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.W_U = nn.Parameter(torch.zeros(config.d_model, config.d_vocab))
        self.b_U = nn.Parameter(torch.zeros(config.d_vocab))

    def forward(self, resid: Tensor) -> Tensor:
        return functional.linear(resid, self.W_U.T, self.b_U)


class Transformer(TransformerLensMethods):
    """A decoder-only transformer whose every activation passes a named hook point.

    Args:
        config: Its shapes.
        generator: Draws the initial weights; without one all weights stay at zero (or one, for gains), to be
            loaded.
    """

    cfg: TransformerConfig

    def __init__(self, config: TransformerConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.cfg = config
        self.embed, self.pos_embed = Embed(config), PosEmbed(config)
        self.hook_embed, self.hook_pos_embed = HookPoint(), HookPoint()
        self.blocks = nn.ModuleList([Block(config, layer) for layer in range(config.n_layers)])
        self.ln_final, self.unembed = Normalize(config), Unembed(config)
        self.hook_dict = named_hook_points(self)
        if generator is not None:
            self._initialize(generator)

    @torch.no_grad()
    def _initialize(self, generator: torch.Generator) -> None:
        """Gaussian matrices of variance 1/fan-in; residual writers shrink with depth; biases stay zero."""
        depth = (2 * self.cfg.n_layers) ** 0.5
        for name, parameter in self.named_parameters():
            if name.endswith(("W_E", "W_pos")):
                std = self.cfg.d_model**-0.5
            elif name.endswith("W_O"):
                std = (self.cfg.n_heads * self.cfg.d_head) ** -0.5 / depth
            elif name.endswith("W_out"):
                std = self.cfg.d_mlp**-0.5 / depth
            elif ".W_" in name:
                std = self.cfg.d_model**-0.5
            else:
                continue
            parameter.normal_(0.0, std, generator=generator)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits, `[batch, pos, d_vocab]`.

        Args:
            tokens: Token ids, `[batch, pos]`, padded on the right if at all.
        """
        return self.logits_of(self.through_blocks(self.embedded(tokens)))

    def embedded(self, tokens: Tensor) -> Tensor:
        """The residual stream before the first layer, `[batch, pos, d_model]`."""
        return self.hook_embed(self.embed(tokens)) + self.hook_pos_embed(self.pos_embed(tokens))

    def through_blocks(self, resid: Tensor, start: int = 0) -> Tensor:
        """The residual stream after the last layer, given the one before layer `start`."""
        for block in self.blocks[start:]:
            resid = block(resid)
        return resid

    def logits_of(self, resid: Tensor) -> Tensor:
        """Logits of a final residual stream, `[..., d_vocab]`."""
        return self.unembed(self.ln_final(resid))

    def run_with_hooks(
        self, tokens: Tensor, fwd_hooks: Sequence[tuple[str | Callable[[str], bool], HookFunction]] = ()
    ) -> Tensor:
        """Logits of a run in which each function `fn(tensor, hook)` may replace what passes its hook point.

        Raises:
            KeyError: A hook name does not exist.
        """
        with attached(self.hook_dict, fwd_hooks):
            return self.forward(tokens)

    def run_with_cache(
        self, tokens: Tensor, names_filter: NamesFilter = None, remove_batch_dim: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits, and the detached activations of the selected hook points by name.

        Raises:
            KeyError: A hook name does not exist.
            ValueError: `remove_batch_dim` with more than one sequence.
        """
        if remove_batch_dim and tokens.shape[0] != 1:
            raise ValueError(f"remove_batch_dim: got {tokens.shape[0]} sequences, wanted 1")
        cache: dict[str, Tensor] = {}

        def keep(tensor: Tensor, hook: HookPoint) -> None:
            cache[hook.name] = tensor.detach()[0] if remove_batch_dim else tensor.detach()

        names = matching_names(names_filter, self.hook_dict)
        return self.run_with_hooks(tokens, [(name, keep) for name in names]), cache
