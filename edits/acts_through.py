"""Which components carry a changed behaviour: restored one at a time, or changed one at a time.

For a component c, A(c) is the share of the effect that goes away when the edited model runs with c's output
from the reference, and S(c) the share that appears when the reference runs with c's output from the edited
model:

    A(c) = clip(1 - KL(ref || edit, c <- ref) / KL(ref || edit), 0, 1)
    S(c) = clip(1 - KL(edit || ref, c <- edit) / KL(edit || ref), 0, 1)

with each KL averaged over the prompts before dividing. Outputs are restored at all positions. The output of
the unembedding would be the answer itself, so its weights, with the last norm's, are what is exchanged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.components import Component
from models.hooks import HookPoint
from models.tasks.base import Probe
from models.transformer import Transformer, TransformerConfig

PROMPTS = 24  # the most on which the maps are measured
CARRIES = 0.2  # A(c) from which a component counts as one that the edit acts through


@dataclass(frozen=True)
class Carriers:
    """Both maps, component by component.

    Attributes:
        repairs: A(c), in [0, 1].
        suffices: S(c), in [0, 1].
    """

    repairs: Mapping[str, float]
    suffices: Mapping[str, float]

    @property
    def acts_through(self) -> tuple[str, ...]:
        """The components whose restoring takes a fifth or more of the effect away."""
        return tuple(name for name, share in self.repairs.items() if share >= CARRIES)


def carriers(reference: Transformer, edited: Transformer, probe: Probe) -> Carriers:
    """Both maps of an edit, on at most `PROMPTS` of the prompts, evenly spread.

    Args:
        reference: The model before, in the edited one's coordinates.
        edited: The model after.
        probe: Prompts on which the behaviour changed.
    """
    rows = torch.linspace(0, len(probe.tokens) - 1, min(PROMPTS, len(probe.tokens))).round().long()
    tokens, last = probe.tokens[rows], probe.last[rows]
    tokens = tokens[:, : int(last.max()) + 1]
    parts = restorable(reference.cfg)
    repairs = _shares(edited, reference, tokens, last, parts)
    suffices = _shares(reference, edited, tokens, last, parts)
    return Carriers(repairs, suffices)


def restorable(config: TransformerConfig) -> dict[Component, str]:
    """The components that have an output of their own, with the hook it passes; none for the unembedding."""
    parts = {Component("embed"): "hook_embed", Component("pos_embed"): "hook_pos_embed"}
    for layer in range(config.n_layers):
        for head in range(config.n_heads):
            parts[Component("attn", layer, head)] = f"blocks.{layer}.attn.hook_result"
        if config.mlp[layer]:
            parts[Component("mlp", layer)] = f"blocks.{layer}.hook_mlp_out"
    return parts | {Component("unembed"): ""}


def _shares(
    model: Transformer, donor: Transformer, tokens: Tensor, last: Tensor, parts: Mapping[Component, str]
) -> dict[str, float]:
    """How much nearer to the donor each of its components brings the model, `{component: share}`."""
    hooks = sorted({hook for hook in parts.values() if hook})
    with torch.no_grad():
        logits, cache = donor.run_with_cache(tokens, hooks)
        target = _at(logits, last).double().log_softmax(-1)
        final = _at(model.run_with_cache(tokens, _final(model))[1][_final(model)], last)
        whole = _divergence(target, model.logits_of(final))
        after = {Component("unembed"): donor.logits_of(final)}
        after |= _exchanged(model, cache, tokens, last, [part for part, hook in parts.items() if hook], parts)
    return {str(part): _share(_divergence(target, after[part]), whole) for part in parts}


def _exchanged(
    model: Transformer,
    cache: Mapping[str, Tensor],
    tokens: Tensor,
    last: Tensor,
    chosen: Sequence[Component],
    hooks: Mapping[Component, str],
) -> dict[Component, Tensor]:
    """Logits `[prompt, d_vocab]` with each component's output from the cache, all in one pass."""
    count = len(tokens)

    def exchange(value: Tensor, hook: HookPoint) -> Tensor:
        changed = value.clone()
        for place, part in enumerate(chosen):
            if hooks[part] == hook.name:
                rows = slice(place * count, (place + 1) * count)
                where = (rows,) if part.head is None else (rows, slice(None), part.head)
                donated = cache[hook.name]
                changed[where] = donated if part.head is None else donated[:, :, part.head]
        return changed

    many = tokens.repeat(len(chosen), 1)
    functions = [(hook, exchange) for hook in sorted({hooks[part] for part in chosen})]
    logits = _at(model.run_with_hooks(many, functions), last.repeat(len(chosen)))
    return dict(zip(chosen, torch.split(logits, count), strict=True))


def _at(values: Tensor, last: Tensor) -> Tensor:
    """Each row's value at its last token."""
    return values[torch.arange(len(last)), last]


def _final(model: Transformer) -> str:
    return f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"


def _divergence(target: Tensor, logits: Tensor) -> float:
    """Mean KL(target || model), nats."""
    log_probs = logits.double().log_softmax(-1)
    return float((target.exp() * (target - log_probs)).sum(-1).mean())


def _share(left: float, whole: float) -> float:
    if whole <= 0:
        return 0.0
    return round(min(1.0, max(0.0, 1 - left / whole)), 4)
