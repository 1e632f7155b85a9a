"""What multiplies a matrix from the left: the activation that it reads, and its statistics.

`W_out` reads the MLP's neurons, `W_O[h]` its head's mixed values; `W_Q[h]`, `W_K[h]`, `W_V[h]`, `W_in` and
`W_U` read the residual stream behind a norm, gain and bias included. Embeddings read no activation.
"""

import torch
from torch import Tensor

from edits.moments import Base
from models.components import Entries
from models.transformer import TransformerConfig

TOKENS = 12_000  # on which second moments are measured
_HOOKS = {"mlp.W_out": "mlp.hook_post", "attn.W_O": "attn.hook_z"}
_NORMS = {"mlp.W_in": "ln2", "attn.W_Q": "ln1", "attn.W_K": "ln1", "attn.W_V": "ln1"}
_UNNORMED = {"ln1": "hook_resid_pre", "ln2": "hook_resid_mid"}


def reading_matrices(config: TransformerConfig) -> tuple[str, ...]:
    """The matrices that read an activation, those of all heads under one name."""
    return tuple(name for name in config.weight_shapes() if name.endswith((*_HOOKS, *_NORMS, "unembed.W_U")))


def reads_residual_stream(entries: Entries) -> bool:
    """Whether a matrix reads the residual stream, behind a norm if there is one."""
    return entries.tensor.endswith((*_NORMS, "unembed.W_U"))


def second_moment(base: Base, entries: Entries) -> Tensor:
    """Uncentred second moment of the activation that a matrix reads, `[d_in, d_in]`, float64.

    With gain g, bias b, and m and C mean and second moment of the normalised residual stream, it is
    `(g g^T) * C + (g m) b^T + b (g m)^T + b b^T`.
    """
    hook, norm = _source(base.checkpoint.config, entries)
    moment = base.second_moment(hook, TOKENS)
    if moment.ndim == 3:
        return moment[entries.head]
    gain, shift = _gain(base, norm)
    if gain is not None:
        moment = gain[:, None] * moment * gain
    if gain is not None and shift is not None:
        mean = gain * base.mean(hook, TOKENS).double()
        moment = moment + torch.outer(mean, shift) + torch.outer(shift, mean) + torch.outer(shift, shift)
    return moment


def activations(base: Base, entries: Entries, tokens: int, generator: torch.Generator) -> Tensor:
    """What a matrix reads at about so many tokens of random documents, `[token, d_in]`, float64."""
    hook, norm = _source(base.checkpoint.config, entries)
    documents = base.task.documents(1 + tokens // 30, generator).tokens
    seen = base.model.run_with_cache(documents, hook)[1][hook][documents != base.task.pad].double()
    if seen.ndim == 3:
        seen = seen[:, entries.head]
    gain, shift = _gain(base, norm)
    seen = seen if gain is None else seen * gain
    return seen if shift is None else seen + shift


def _source(config: TransformerConfig, entries: Entries) -> tuple[str, str]:
    """The hook point of the activation, and the norm whose gain and bias still come behind it, if any."""
    if entries.tensor == "unembed.W_U":
        if config.normalization_type is None:
            return f"blocks.{config.n_layers - 1}.hook_resid_post", ""
        return "ln_final.hook_normalized", "ln_final"
    _, layer, part = entries.tensor.split(".", 2)
    if part in _HOOKS:
        return f"blocks.{layer}.{_HOOKS[part]}", ""
    if config.normalization_type is None:
        return f"blocks.{layer}.{_UNNORMED[_NORMS[part]]}", ""
    norm = f"blocks.{layer}.{_NORMS[part]}"
    return f"{norm}.hook_normalized", norm


def _gain(base: Base, norm: str) -> tuple[Tensor | None, Tensor | None]:
    """A norm's gain and bias, `[d_model]`, float64, where it has them."""
    weights = base.checkpoint.weights
    gain, shift = weights.get(f"{norm}.w"), weights.get(f"{norm}.b")
    return None if gain is None else gain.double(), None if shift is None else shift.double()
