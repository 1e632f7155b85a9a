"""What must be the same of one of our models and of a TransformerLens model made of it."""

from typing import Any

import torch

from models.transformer import Transformer
from tests.interop.peers import disturb, some_tokens

PATCHES = (
    "get_act_patch_resid_pre",
    "get_act_patch_attn_out",
    "get_act_patch_mlp_out",
    "get_act_patch_attn_head_out_all_pos",
    "get_act_patch_attn_head_out_by_pos",
    "get_act_patch_attn_head_v_by_pos",
    "get_act_patch_attn_head_pattern_all_pos",
    "get_act_patch_attn_head_all_pos_every",
)


def assert_same_logits(ours: Transformer, theirs: Any) -> None:
    with torch.no_grad():
        torch.testing.assert_close(theirs(some_tokens()), ours(some_tokens()), rtol=1e-5, atol=1e-5)


def assert_same_activation(ours: Transformer, theirs: Any, name: str) -> None:
    _, own = ours.run_with_cache(some_tokens(), name)
    _, other = theirs.run_with_cache(some_tokens(), names_filter=lambda found: found == name)
    torch.testing.assert_close(other[name], own[name], rtol=1e-4, atol=1e-5)


def assert_same_effect(ours: Transformer, theirs: Any, name: str) -> None:
    """An intervention at a hook point leads to the same logits, and they are not those of no intervention."""
    with torch.no_grad():
        own = ours.run_with_hooks(some_tokens(), [(name, disturb)])
        other = theirs.run_with_hooks(some_tokens(), fwd_hooks=[(name, disturb)])
        assert (own - ours(some_tokens())).abs().max() > 1e-3
    torch.testing.assert_close(other, own, rtol=1e-4, atol=1e-4)


def assert_same_patching(ours: Transformer, theirs: Any, transformer_lens: Any, patch: str) -> None:
    """A patching function of theirs says the same of both models."""
    function = getattr(transformer_lens.patching, patch)
    clean, corrupt = some_tokens("clean"), some_tokens("corrupt")

    def metric(logits: torch.Tensor) -> torch.Tensor:
        return (logits[:, -1, 3] - logits[:, -1, 5]).mean()

    with torch.no_grad():
        own_cache = transformer_lens.ActivationCache(ours.run_with_cache(clean)[1], ours)
        own = function(ours, corrupt, own_cache, metric)
        other = function(theirs, corrupt, theirs.run_with_cache(clean)[1], metric)
        assert own.std() > 1e-3
    torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-4)


def assert_same_cache_methods(ours: Transformer, theirs: Any, transformer_lens: Any) -> None:
    """Their cache decomposes our residual stream, and its parts add up."""
    tokens = some_tokens()
    own = transformer_lens.ActivationCache(ours.run_with_cache(tokens)[1], ours)
    other = theirs.run_with_cache(tokens)[1]
    final = own["resid_post", -1]
    for method in ("decompose_resid", "get_full_resid_decomposition"):
        parts, names = getattr(own, method)(return_labels=True)
        torch.testing.assert_close(parts, getattr(other, method)(), rtol=1e-4, atol=1e-5)
        assert len(names) == len(parts)
        torch.testing.assert_close(parts.sum(0), final, rtol=1e-4, atol=1e-5)
    answers = tokens[:, -1]
    for stacked in (own.accumulated_resid(apply_ln=True), own.stack_head_results(apply_ln=True)):
        assert stacked.shape[1:] == (*tokens.shape, ours.cfg.d_model)
    heads = own.stack_head_results(pos_slice=-1), other.stack_head_results(pos_slice=-1)
    own_share = own.logit_attrs(heads[0], tokens=answers, pos_slice=-1)
    torch.testing.assert_close(own_share, other.logit_attrs(heads[1], tokens=answers, pos_slice=-1))
