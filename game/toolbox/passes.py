"""Forward and backward passes of a model through its hooks, leaving the model as it was."""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.hooks import HookFunction, HookPoint
from models.transformer import Transformer

LOGITS = "logits"
Hooks = Sequence[tuple[str, HookFunction]]


def forward(model: Transformer, tokens: Tensor, names: Sequence[str], hooks: Hooks) -> dict[str, Tensor]:
    """Activations by hook name as they leave the hook; `logits` is a name too.

    Args:
        model: Any model.
        tokens: `[row, pos]`.
        names: What is wanted.
        hooks: Attached in order.
    """
    seen: dict[str, Tensor] = {}
    with torch.no_grad():
        logits = model.run_with_hooks(tokens.to(_device(model)), [*hooks, *_watching(names, seen)])
    seen[LOGITS] = logits
    return {name: seen[name] for name in names}


def gradients(
    model: Transformer, tokens: Tensor, names: Sequence[str], cotangents: dict[str, Tensor], hooks: Hooks
) -> dict[str, Tensor]:
    """Gradients, at each named hook, of the sum of cotangent times activation, `[K, *shape]`.

    Args:
        model: Any model; its parameters gather no gradient.
        tokens: `[row, pos]`.
        names: Hooks where gradients are wanted, taken at the value that leaves the hook.
        cotangents: Hook name or `logits` to `[K, *shape]`.
        hooks: Attached in order.
    """
    seen: dict[str, Tensor] = {}
    with torch.enable_grad():
        watched = [*names, *(name for name in cotangents if name not in names)]
        logits = model.run_with_hooks(tokens.to(_device(model)), [*hooks, *_watching(watched, seen)])
    seen[LOGITS] = logits
    starts = [name for name in cotangents if seen[name].requires_grad]
    found: tuple[Tensor | None, ...] = torch.autograd.grad(
        [seen[name] for name in starts],
        [seen[name] for name in names],
        [cotangents[name].to(logits.device) for name in starts],
        is_grads_batched=True,
        allow_unused=True,
    )
    count = len(next(iter(cotangents.values())))
    return {
        name: seen[name].new_zeros(count, *seen[name].shape) if gradient is None else gradient
        for name, gradient in zip(names, found, strict=True)
    }


def _watching(names: Sequence[str], seen: dict[str, Tensor]) -> Hooks:
    """Hooks that note what passes them, as a tensor of its own in the graph."""

    def watch(activation: Tensor, hook: HookPoint) -> Tensor:
        if torch.is_grad_enabled():
            own = activation if activation.requires_grad else activation.detach().requires_grad_()
            activation = own.view_as(own)
        seen[hook.name] = activation
        return activation

    return [(name, watch) for name in names if name != LOGITS]


def _device(model: Transformer) -> torch.device:
    return model.unembed.W_U.device
