"""What TransformerLens's own functions ask of a model, beyond the hooks and weights that it has anyway.

With these, our models are its structural `TransformerLensModel` and `TransformerLensModelWithWeights`: its
`ActivationCache` and its patching functions take them as they are. What those take for granted still holds:
a layer without an MLP has no MLP to decompose.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class SharedFields:
    """Fields of TransformerLens's config that say the same of every model here.

    Attributes:
        device: Where TransformerLens gathers its results; models may live elsewhere.
    """

    device: ClassVar[str] = "cpu"
    dtype: ClassVar[torch.dtype] = torch.float32
    default_prepend_bos: ClassVar[bool] = False  # a task's documents bring their own
    parallel_attn_mlp: ClassVar[bool] = False
    gated_mlp: ClassVar[bool] = False
    final_rms: ClassVar[bool] = False
    n_key_value_heads: ClassVar[None] = None
    ungroup_grouped_query_attention: ClassVar[bool] = False
    use_attn_result: ClassVar[bool] = False  # `hook_result` is there on demand all the same
    use_attn_in: ClassVar[bool] = False
    use_split_qkv_input: ClassVar[bool] = False
    use_hook_mlp_in: ClassVar[bool] = False


class TransformerLensMethods(nn.Module):
    """Methods that TransformerLens calls on a model; tokens are ids, as models here have no tokenizer."""

    cfg: Any
    blocks: nn.ModuleList

    @property
    def W_U(self) -> Tensor:
        """`[d_model, d_vocab]`."""
        return self.get_parameter("unembed.W_U")

    @property
    def b_U(self) -> Tensor:
        """`[d_vocab]`."""
        return self.get_parameter("unembed.b_U")

    def to_tokens(self, tokens: Tensor | Sequence[int] | Sequence[Sequence[int]]) -> Tensor:
        """Token ids as `[batch, pos]`; a single sequence becomes a batch of one.

        Raises:
            TypeError: Text, which no tokenizer here can read, or numbers that are no ids.
            ValueError: An id that the vocabulary lacks, or too many axes.
        """
        ids = tokens if isinstance(tokens, Tensor) else _tensor(tokens)
        if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
            raise TypeError(f"tokens: got {ids.dtype}, wanted integer ids")
        if ids.ndim not in (1, 2):
            raise ValueError(f"tokens: got shape {list(ids.shape)}, wanted [pos] or [batch, pos]")
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < self.cfg.d_vocab:
            raise ValueError(f"tokens: ids lie in 0..{self.cfg.d_vocab - 1}")
        return (ids[None] if ids.ndim == 1 else ids).long()

    def to_single_token(self, token: int) -> int:
        """The id itself.

        Raises:
            TypeError: Text.
            ValueError: The vocabulary has no such id.
        """
        return int(self.to_tokens([token]))

    def tokens_to_residual_directions(self, tokens: int | Tensor) -> Tensor:
        """Columns of `W_U`, what each token's logit reads from the normalised stream: `[..., d_model]`.

        Raises:
            TypeError: Text.
        """
        ids = tokens if isinstance(tokens, Tensor) else torch.tensor(self.to_single_token(tokens))
        return self.W_U.T[ids.squeeze() if ids.numel() == 1 else ids]

    def accumulated_bias(
        self, layer: int, mlp_input: bool = False, include_mlp_biases: bool = True
    ) -> Tensor:
        """Sum of the biases written to the residual stream before layer `layer`, `[d_model]`.

        Args:
            layer: 0 is before everything, `n_layers` after everything.
            mlp_input: Up to this layer's MLP, so with the bias of its attention.
            include_mlp_biases: Whether MLPs count, or attention alone.

        Raises:
            ValueError: There is no such layer.
        """
        if not 0 <= layer <= self.cfg.n_layers - mlp_input:
            raise ValueError(f"layer: got {layer}, wanted 0..{self.cfg.n_layers - mlp_input}")
        kinds = ("attn.b_O", "mlp.b_out") if include_mlp_biases else ("attn.b_O",)
        names = [f"{index}.{kind}" for index in range(layer) for kind in kinds]
        names += [f"{layer}.attn.b_O"] if mlp_input else []
        biases = dict(self.blocks.named_parameters())
        total = torch.zeros_like(biases["0.attn.b_O"])
        return total + sum(biases[name] for name in names if name in biases)


def _tensor(tokens: Any) -> Tensor:
    if isinstance(tokens, str) or any(isinstance(token, str) for token in tokens):
        raise TypeError("tokens: got text, but these models have no tokenizer; give token ids")
    return torch.tensor(tokens)
