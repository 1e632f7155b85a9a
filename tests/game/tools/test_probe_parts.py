"""Attribution on a probe, its causal use, and its reliability."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from game.api import Intervention, RequestError, Samples
from game.toolbox.live import ModelToolbox
from game.tools import probe_attribution as attribution_tool
from game.tools import probe_use as use_tool
from game.tools.probe_attribution import probe_attribution
from game.tools.probe_reliability import probe_reliability
from game.tools.probe_use import probe_use
from models.seeds import named_generator
from models.transformer import Transformer, TransformerConfig
from tests.game.tools.conftest import Subject, close, samples_of

HOOK = "blocks.1.hook_resid_post"


@pytest.fixture
def samples() -> Samples:
    generator = named_generator("probe parts")
    tokens = torch.randint(1, 11, (40, 5), generator=generator)
    return Samples(tokens, torch.randint(2, 6, (40,), generator=generator))


@pytest.fixture
def direction() -> Tensor:
    return torch.randn(8, generator=named_generator("direction"))


@pytest.mark.parametrize("layer", [0, 1, 2])  # the last one has no MLP
def test_the_shares_sum_to_the_probes_logit(
    box: ModelToolbox, samples: Samples, direction: Tensor, layer: int
) -> None:
    arrays = probe_attribution(box, samples, layer, direction, intercept=0.7).arrays
    total = (
        arrays["embed"] + arrays["pos_embed"] + arrays["heads"].sum((1, 2)) + arrays["neurons"].sum((1, 2))
    )
    total = total + arrays["attn_bias"].sum() + arrays["mlp_bias"].sum() + 0.7
    hook = f"blocks.{layer}.hook_resid_post"
    stream = box.activations(samples.tokens, [hook])[hook][torch.arange(40), samples.lengths - 1]
    torch.testing.assert_close(total, (stream @ direction + 0.7).double(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(total, arrays["logit"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(arrays["sources"].sum(-1), arrays["heads"])


def test_the_shares_sum_to_the_logit_in_every_shape_of_model(subject: Subject) -> None:
    box, drawn = subject.box(max_rows=7), samples_of(20, 3)
    direction = torch.randn(subject.config.d_model, generator=named_generator("any shape"))
    last = subject.config.n_layers - 1
    arrays = probe_attribution(box, drawn, last, direction).arrays
    total = (
        arrays["embed"] + arrays["pos_embed"] + arrays["heads"].sum((1, 2)) + arrays["neurons"].sum((1, 2))
    )
    total = total + arrays["attn_bias"].sum() + arrays["mlp_bias"].sum()
    stream = subject.model.run_with_cache(drawn.tokens)[1][f"blocks.{last}.hook_resid_post"]
    close(total, (stream @ direction)[torch.arange(20), drawn.lengths - 1], atol=1e-4)


def test_the_biases_shares_are_the_biases(box: ModelToolbox, samples: Samples, direction: Tensor) -> None:
    arrays = probe_attribution(box, samples, 1, direction).arrays
    for layer in range(2):
        b_O, b_out = box.weight(f"blocks.{layer}.attn.b_O"), box.weight(f"blocks.{layer}.mlp.b_out")
        torch.testing.assert_close(arrays["attn_bias"][layer].float(), b_O @ direction, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(arrays["mlp_bias"][layer].float(), b_out @ direction, atol=1e-5, rtol=1e-4)


def test_the_estimates_are_the_costs(box: ModelToolbox, samples: Samples, direction: Tensor) -> None:
    found = probe_attribution(box, samples, 2, direction)
    assert found.cost == pytest.approx(attribution_tool.estimate(box.config, 40, 2))
    assert (
        probe_use(box, samples, HOOK, direction, placebos=3).cost
        == use_tool.estimate(box.config, 40, 3)
        == 200
    )


def test_what_is_taken_out_is_the_direction_at_the_last_token_alone(
    box: ModelToolbox, samples: Samples, direction: Tensor
) -> None:
    arrays = probe_use(box, samples, HOOK, direction, placebos=1).arrays
    stream = box.activations(samples.tokens, [HOOK])[HOOK]
    rows, last = torch.arange(40), samples.lengths - 1
    unit = direction / direction.norm()
    at_last = stream[rows, last] @ unit
    stream[rows, last] -= torch.outer(at_last - at_last.mean(), unit)
    logits = box.logits(samples.tokens, [Intervention(HOOK, stream)])[rows, last].double().log_softmax(-1)
    before = box.logits(samples.tokens)[rows, last].double().log_softmax(-1)
    expected = (before.exp() * (before - logits)).sum(-1)
    torch.testing.assert_close(arrays["kl"], expected, atol=1e-6, rtol=1e-3)


def test_a_direction_that_nothing_reads_is_not_used(box: ModelToolbox, samples: Samples) -> None:
    ones = torch.ones(8)  # what LayerNorm takes away
    found = probe_use(box, samples, HOOK, ones)
    assert found.arrays["effect"][0] < 1e-10
    assert not found.summary[0].stands_out


def test_the_only_direction_that_the_unembedding_reads_is_used(
    tiny_config: TransformerConfig, samples: Samples
) -> None:
    config = replace(tiny_config, d_model=32, normalization_type=None)
    model = Transformer(config, named_generator("reads one direction"))
    with torch.no_grad():
        model.unembed.W_U.copy_(torch.outer(model.unembed.W_U[:, 0], 3 * model.unembed.W_U[0]))
    box = ModelToolbox(model, league="whitebox", corpus=lambda *_: samples, total=2000)
    read = model.unembed.W_U.detach().sum(1)
    found = probe_use(box, samples, "blocks.2.hook_resid_post", read)
    assert found.summary[0].stands_out
    assert found.arrays["effect"][0] > 3 * found.arrays["placebo_kl"].mean()


def test_a_probe_that_reads_one_groups_words_fails_in_the_other(box: ModelToolbox, samples: Samples) -> None:
    tokens = torch.randint(1, 11, (200, 1), generator=named_generator("words"))
    one_token = Samples(tokens, torch.ones(200, dtype=torch.int64))
    high = tokens[:, 0] > 5
    phrasing = torch.arange(200) % 2
    good = probe_reliability(box, one_token, high, phrasing, "hook_embed")
    bad = probe_reliability(box, one_token, high ^ (phrasing == 1), phrasing, "hook_embed")
    assert good.summary[0].stands_out
    assert good.arrays["accuracy"].min() > 0.8
    assert bad.arrays["accuracy"].max() < 0.2
    assert (good.arrays["low"] < good.arrays["accuracy"]).all()
    assert good.arrays["n"].tolist() == [100, 100]


def test_what_does_not_fit_is_refused_for_nothing(
    box: ModelToolbox, samples: Samples, direction: Tensor
) -> None:
    labels, groups = torch.arange(40) % 2, torch.arange(40) // 20
    with pytest.raises(RequestError, match="layer: got 3; allowed: 0 to 2"):
        probe_attribution(box, samples, 3, direction)
    with pytest.raises(RequestError, match=r"direction: got shape \[7\]; wanted \[8\], finite"):
        probe_attribution(box, samples, 1, direction[:7])
    with pytest.raises(RequestError, match=r"direction: got length 7; blocks.1.hook_resid_post holds 8"):
        probe_use(box, samples, HOOK, direction[:7])
    with pytest.raises(RequestError, match=r'hook: got "blocks.9.mlp"; allowed: hook_embed'):
        probe_use(box, samples, "blocks.9.mlp", direction)
    with pytest.raises(RequestError, match=r"direction: got shape .* wanted a vector that is not zero"):
        probe_use(box, samples, HOOK, 0 * direction)
    with pytest.raises(RequestError, match="placebos: got 0 on 40 sequences"):
        probe_use(box, samples, HOOK, direction, placebos=0)
    with pytest.raises(RequestError, match=r"groups: got shape \[40\] with 1 different numbers"):
        probe_reliability(box, samples, labels, 0 * groups, HOOK)
    with pytest.raises(RequestError, match="groups: without group 0 only one class is left; wanted both"):
        probe_reliability(box, samples, groups, groups, HOOK)
    assert box.budget.spent == 0
