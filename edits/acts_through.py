"""Which components carry a changed behaviour: restored one at a time, or changed one at a time.

For a component c, A(c) is the share of the effect that goes away when the edited model runs with c's output
from the reference, and S(c) the share that appears when the reference runs with c's output from the edited
model:

    A(c) = clip(1 - KL(ref || edit, c <- ref) / KL(ref || edit), 0, 1)
    S(c) = clip(1 - KL(edit || ref, c <- edit) / KL(edit || ref), 0, 1)

with each KL averaged over the prompts before dividing. Outputs are restored at all positions. The output of
the unembedding would be the answer itself, so its weights, with the last norm's, are what is exchanged.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from models.components import Component
from models.hooks import HookFunction, HookPoint
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
    with torch.no_grad():
        hooks = sorted({hook for hook in parts.values() if hook})
        logits, cache = donor.run_with_cache(tokens, hooks)
        index = torch.arange(len(tokens))
        target = logits[index, last].double().log_softmax(-1)
        _, own = model.run_with_cache(tokens, _final(model))
        final = own[_final(model)][index, last]
        whole = _divergence(target, model.logits_of(final))
        shares = {}
        for part, hook in parts.items():
            if not hook:
                after = donor.logits_of(final)
            else:
                out = model.run_with_hooks(tokens, [(hook, _exchange(cache[hook], part))])
                after = out[index, last]
            shares[str(part)] = _share(_divergence(target, after), whole)
    return shares


def _final(model: Transformer) -> str:
    return f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"


def _exchange(donated: Tensor, part: Component) -> HookFunction:
    def exchange(value: Tensor, hook: HookPoint) -> Tensor:
        if part.head is None:
            return donated
        changed = value.clone()
        changed[:, :, part.head] = donated[:, :, part.head]
        return changed

    return exchange


def _divergence(target: Tensor, logits: Tensor) -> float:
    """Mean KL(target || model), nats."""
    log_probs = logits.double().log_softmax(-1)
    return float((target.exp() * (target - log_probs)).sum(-1).mean())


def _share(left: float, whole: float) -> float:
    if whole <= 0:
        return 0.0
    return round(min(1.0, max(0.0, 1 - left / whole)), 4)
