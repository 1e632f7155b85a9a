"""Our tools beside the same ones of TransformerLens 3, on the model exported there."""

from typing import Any

import pytest
import torch
from torch import Tensor

from game.api import Samples
from game.toolbox.live import ModelToolbox
from game.tools.direct_attribution import direct_attribution
from game.tools.integrated_gradients import integrated_gradients
from game.tools.kit.nodes import writers
from game.tools.kit.questions import Contrast, Questions
from game.tools.lens import lens
from game.tools.patch import patch
from models.checkpoints import Checkpoint, checkpoint_of
from models.interop import hooked_transformer
from tests.interop.peers import peer, random_checkpoint, some_tokens

transformer_lens = peer("transformer_lens", "transformer-lens", "3.")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs: this whole version is deprecated

ANSWER, DISTRACTOR = torch.tensor([1, 2, 3, 4]), torch.tensor([5, 6, 7, 8])
NORMS = ["LN", "RMS", None]


def box_of(checkpoint: Checkpoint) -> ModelToolbox:
    def corpus(n: int, _seed: int) -> Samples:
        return Samples(some_tokens()[:n], torch.full((n,), 9))

    return ModelToolbox(checkpoint.model().eval(), league="whitebox", corpus=corpus, total=1e6)


def margin(logits: Tensor) -> Tensor:
    rows = torch.arange(4)
    return (logits[rows, -1, ANSWER] - logits[rows, -1, DISTRACTOR]).mean()


def contrast() -> Contrast:
    return Contrast(some_tokens("clean"), some_tokens("corrupt"), ANSWER, DISTRACTOR, torch.full((4,), 8))


# our site          their function, and the first of our rows that it has
PATCHES: dict[Any, tuple[str, slice]] = {
    "resid": ("get_act_patch_resid_pre", slice(0, -1)),
    "attn": ("get_act_patch_attn_out", slice(None)),
    "mlp": ("get_act_patch_mlp_out", slice(None)),
    "head": ("get_act_patch_attn_head_out_all_pos", slice(None)),
    "head_position": ("get_act_patch_attn_head_out_by_pos", slice(None)),
}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("site", PATCHES)
def test_patching_agrees(site: Any, norm: str | None) -> None:
    checkpoint, (function, rows) = random_checkpoint(normalization_type=norm), PATCHES[site]
    theirs = hooked_transformer(checkpoint)
    pairs = contrast()
    with torch.no_grad():
        cache = theirs.run_with_cache(pairs.clean)[1]
        expected = getattr(transformer_lens.patching, function)(theirs, pairs.corrupt, cache, margin)
    found = patch(box_of(checkpoint), pairs, site).arrays["metric"].mean(-1)[rows]
    assert expected.std() > 1e-3
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("norm", ["LN", "RMS"])
def test_direct_attribution_agrees_with_its_cache(norm: str) -> None:
    model, tokens = random_checkpoint(normalization_type=norm).model(), some_tokens()
    for name, weight in model.named_parameters():
        if name.endswith(("attn.b_V", "ln1.b")):
            weight.detach().zero_()  # they fold a norm only together with what the value biases say
    checkpoint = checkpoint_of(model)
    theirs = hooked_transformer(checkpoint)
    theirs.process_weights_(fold_ln=True, center_writing_weights=False, center_unembed=False)
    with torch.no_grad():
        cache = theirs.run_with_cache(tokens)[1]
        stack, labels = cache.get_full_resid_decomposition(
            layer=-1, mlp_input=False, expand_neurons=False, apply_ln=False, pos_slice=-1, return_labels=True
        )
        expected = cache.logit_attrs(stack, tokens=ANSWER, incorrect_tokens=DISTRACTOR, pos_slice=-1)
    questions = Questions(tokens, torch.full((4,), 8), ANSWER, DISTRACTOR)
    share = direct_attribution(box_of(checkpoint), questions).arrays["share"]
    compared = 0
    for index, node in enumerate(writers(checkpoint.config)):
        label = node.name
        if node.layer is not None:
            label = f"{node.layer}_mlp_out" if node.head is None else f"L{node.layer}H{node.head}"
        if label in labels and not node.name.endswith("bias"):
            torch.testing.assert_close(share[index].float(), expected[labels.index(label)], rtol=0, atol=1e-4)
            compared += 1
    assert compared == 2 + 3 * (2 + 1)


def test_the_logit_lens_is_its_accumulated_residual_unembedded() -> None:
    checkpoint, tokens = random_checkpoint(), some_tokens()
    theirs = hooked_transformer(checkpoint)
    with torch.no_grad():
        cache = theirs.run_with_cache(tokens)[1]
        streams = cache.accumulated_resid(layer=None, incl_mid=False)  # [site, row, pos, d_model]
        expected = theirs.unembed(theirs.ln_final(streams.flatten(0, 1))).log_softmax(-1)
    found = lens(box_of(checkpoint), tokens, top=13).arrays
    ours = torch.empty(4, 4, 9, 13).scatter(-1, found["top_tokens"], found["top_log_probs"].float())
    torch.testing.assert_close(ours.flatten(0, 1), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("norm", NORMS)
def test_integrated_gradients_agree_with_captum(norm: str | None) -> None:
    captum = peer("captum.attr", "captum")
    checkpoint, tokens = random_checkpoint(normalization_type=norm, act_fn="gelu"), some_tokens()
    model = checkpoint.model().eval()
    embedded = model.embed(tokens).detach()
    base = embedded.mean((0, 1)).expand_as(embedded)

    def asked(given: Tensor) -> Tensor:
        stream = given + model.pos_embed(tokens[:1])
        logits = model.logits_of(model.through_blocks(stream))[:, -1]
        rows = torch.arange(len(logits)) % 4
        return (
            logits[torch.arange(len(logits)), ANSWER[rows]]
            - logits[torch.arange(len(logits)), DISTRACTOR[rows]]
        )

    expected = captum.IntegratedGradients(asked).attribute(embedded, base, n_steps=32, method="gausslegendre")
    questions = Questions(tokens, torch.full((4,), 8), ANSWER, DISTRACTOR)
    found = integrated_gradients(box_of(checkpoint), questions, steps=32).arrays["share"]
    torch.testing.assert_close(found.float(), expected.sum(-1).float(), rtol=0, atol=1e-4)
