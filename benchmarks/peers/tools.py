"""Our tools beside TransformerLens 3's and captum's on the same model and prompts: one JSON object.

    .venv-tl3/bin/python -m benchmarks.peers.tools

`patch_speedup.<site>.<pairs>` is the CPU time of its patching function over that of our `patch`, one thread,
in the shape of facts-small, for so many pairs of prompts; `patch_speedup_tl` is that of all heads by position
for one pair. It runs the model once a cell and we once for all, so with many pairs the two come closer: a
forward pass is then all there is to either. `agreement.<tool>` is the largest difference between the two.
"""

import json
import time
import warnings
from collections.abc import Callable
from importlib import metadata
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers.tl import random_checkpoint
from game.api import Samples
from game.toolbox.live import ModelToolbox
from game.tools.direct_attribution import direct_attribution
from game.tools.integrated_gradients import integrated_gradients
from game.tools.kit.nodes import writers
from game.tools.kit.questions import Contrast
from game.tools.kit.sweep import Site
from game.tools.lens import lens
from game.tools.patch import patch
from models.checkpoints import Checkpoint, checkpoint_of
from models.interop import hooked_transformer
from models.recipe import named_recipe
from models.seeds import named_generator
from models.training import one_thread

LENGTH, REPEATS = 12, 5
PATCHES: dict[Site, tuple[str, slice]] = {  # our site: their function, and those of our rows that it has
    "resid": ("get_act_patch_resid_pre", slice(0, -1)),
    "attn": ("get_act_patch_attn_out", slice(None)),
    "head": ("get_act_patch_attn_head_out_all_pos", slice(None)),
    "head_position": ("get_act_patch_attn_head_out_by_pos", slice(None)),
}


def main() -> None:
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs: 3.9 is deprecated
        found = {"agreement.patch": 0.0, **cached(), **gradients()}
        for pairs in (1, 8):
            for site in PATCHES:
                ratio, difference = patching(site, pairs)
                found[f"patch_speedup.{site}.{pairs}"] = ratio
                found["agreement.patch"] = max(found["agreement.patch"], difference)
        found["patch_speedup_tl"] = found["patch_speedup.head_position.1"]
    print(json.dumps({"peer": f"transformer-lens {metadata.version('transformer-lens')}", **found}))


def subject() -> Checkpoint:
    """Random weights in the shape of facts-small."""
    recipe = named_recipe("facts-small")
    return random_checkpoint(recipe.architecture.config(recipe.task.build(0)))


def contrast(d_vocab: int, pairs: int) -> Contrast:
    clean, corrupt = torch.randint(
        d_vocab, (2, pairs, LENGTH), generator=named_generator("benchmark tools")
    ).unbind(0)
    answer, distractor = torch.arange(pairs), torch.arange(pairs) + pairs
    return Contrast(clean, corrupt, answer, distractor, torch.full((pairs,), LENGTH - 1))


def opened(checkpoint: Checkpoint) -> ModelToolbox:
    """A toolbox that remembers nothing, so that a repeat is work again."""

    def corpus(n: int, seed: int) -> Samples:
        raise NotImplementedError

    return ModelToolbox(
        checkpoint.model().eval(), league="whitebox", corpus=corpus, total=float("inf"), room=0
    )


def patching(site: Site, count: int) -> tuple[float, float]:
    """Their CPU time over ours, and the largest difference of the two maps."""
    from transformer_lens import patching as their_functions

    checkpoint, (function, rows) = subject(), PATCHES[site]
    theirs, box = hooked_transformer(checkpoint), opened(checkpoint)
    pairs, everyone = contrast(checkpoint.config.d_vocab, count), torch.arange(count)

    def metric(logits: Tensor) -> Tensor:
        return pairs.metric(logits, everyone).mean()

    def all_of_theirs() -> Tensor:
        with torch.no_grad():
            cache = theirs.run_with_cache(pairs.clean)[1]
            theirs(pairs.corrupt)
            found: Tensor = getattr(their_functions, function)(theirs, pairs.corrupt, cache, metric)
            return found

    other, other_s = timed(all_of_theirs)
    own, own_s = timed(lambda: patch(box, pairs, site).arrays["metric"])
    return other_s / own_s, float((own.mean(-1)[rows] - other).abs().max())


def timed(run: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """What it returns, and the least CPU seconds of a few repeats."""
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        found = run()
        seconds.append(time.process_time() - start)
    return found, min(seconds)


def cached() -> dict[str, float]:
    """Direct attribution and the logit lens beside what its `ActivationCache` makes of them."""
    checkpoint, pairs = subject(), contrast(subject().config.d_vocab, 8)
    asked = pairs.asked(pairs.clean)
    theirs = hooked_transformer(checkpoint)
    with torch.no_grad():
        cache = theirs.run_with_cache(asked.tokens)[1]
        streams = cache.accumulated_resid(layer=None, incl_mid=False)  # [site, row, pos, d_model]
        expected = theirs.unembed(theirs.ln_final(streams.flatten(0, 1))).log_softmax(-1)
    width = checkpoint.config.d_vocab
    told = lens(opened(checkpoint), asked.tokens, top=width - 1).arrays
    order = told["top_tokens"].flatten(0, 1)
    apart = told["top_log_probs"].flatten(0, 1) - expected.gather(-1, order)
    return {"agreement.lens": float(apart.abs().max()), "agreement.direct_attribution": _attributed()}


def _attributed() -> float:
    """Largest difference of a part's share of the margin."""
    model = subject().model()
    for name, weight in model.named_parameters():
        if name.endswith(("attn.b_V", "ln1.b")):
            weight.detach().zero_()  # they fold a norm only together with what the value biases say
    checkpoint = checkpoint_of(model)
    theirs, asked = hooked_transformer(checkpoint), contrast(model.cfg.d_vocab, 8)
    theirs.process_weights_(fold_ln=True, center_writing_weights=False, center_unembed=False)
    with torch.no_grad():
        cache = theirs.run_with_cache(asked.clean)[1]
        stack, labels = cache.get_full_resid_decomposition(
            layer=-1, mlp_input=False, expand_neurons=False, apply_ln=False, pos_slice=-1, return_labels=True
        )
        expected = cache.logit_attrs(
            stack, tokens=asked.answer, incorrect_tokens=asked.distractor, pos_slice=-1
        )
    share = direct_attribution(opened(checkpoint), asked.asked(asked.clean)).arrays["share"]
    apart = []
    for ours, node in zip(share.float(), writers(checkpoint.config), strict=True):
        label = f"{node.layer}_mlp_out" if node.head is None else f"L{node.layer}H{node.head}"
        if label in labels and not node.name.endswith("bias"):
            apart.append(float((ours - expected[labels.index(label)]).abs().max()))
    assert len(apart) > checkpoint.config.n_layers
    return max(apart)


def gradients() -> dict[str, float]:
    """Integrated gradients beside captum's."""
    try:
        from captum.attr import IntegratedGradients
    except ImportError:
        return {}
    checkpoint = subject()
    model, pairs = checkpoint.model().eval(), contrast(checkpoint.config.d_vocab, 8)
    embedded = model.embed(pairs.clean).detach()

    def asked(given: Tensor) -> Any:
        stream = given + model.pos_embed(pairs.clean[:1])
        return pairs.metric(
            model.logits_of(model.through_blocks(stream)), torch.arange(len(given)) % len(pairs)
        ).float()

    expected = IntegratedGradients(asked).attribute(
        embedded, embedded.mean((0, 1)).expand_as(embedded), n_steps=32, method="gausslegendre"
    )
    found = integrated_gradients(opened(checkpoint), pairs.asked(pairs.clean), steps=32).arrays["share"]
    return {"agreement.integrated_gradients": float((found - expected.sum(-1)).abs().max())}


if __name__ == "__main__":
    main()
