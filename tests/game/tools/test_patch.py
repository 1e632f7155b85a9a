from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from game.api import Intervention, RequestError
from game.toolbox.live import ModelToolbox
from game.tools.kit.questions import Contrast
from game.tools.patch import estimate, patch
from models.seeds import named_generator
from models.transformer import Transformer, TransformerConfig

MakeBox = Callable[..., ModelToolbox]
SITES: list[Any] = ["resid", "head", "mlp", "neuron"]


@pytest.fixture
def contrast(tokens: Tensor) -> Contrast:
    corrupt = tokens.clone()
    corrupt[:, 1] = (tokens[:, 1] + 3) % 11
    return Contrast(
        tokens, corrupt, torch.tensor([1, 2, 3]), torch.tensor([4, 5, 6]), torch.tensor([4, 4, 3])
    )


def test_the_last_residual_at_the_answers_position_is_the_clean_run(
    box: ModelToolbox, contrast: Contrast
) -> None:
    arrays = patch(box, contrast).arrays
    last = arrays["metric"][-1]  # [pos, pair]
    for pair, at in enumerate([4, 4, 3]):
        torch.testing.assert_close(last[at, pair], arrays["clean"][pair])
        elsewhere = torch.arange(5) != at
        torch.testing.assert_close(last[elsewhere, pair], arrays["corrupt"][pair].expand(4))


def test_the_embedding_matters_only_where_the_tokens_differ(box: ModelToolbox, contrast: Contrast) -> None:
    arrays = patch(box, contrast).arrays
    torch.testing.assert_close(arrays["metric"][0, 1], arrays["clean"])
    torch.testing.assert_close(
        arrays["recovered"][0], torch.tensor([0.0, 1, 0, 0, 0]).double(), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("site", SITES)
def test_two_equal_runs_recover_nothing(box: ModelToolbox, contrast: Contrast, site: Any) -> None:
    arrays = patch(box, replace(contrast, corrupt=contrast.clean), site).arrays
    assert (arrays["recovered"] == 0).all()
    torch.testing.assert_close(arrays["metric"], arrays["clean"].expand_as(arrays["metric"]))


HOOKS = {
    "resid": "blocks.{}.hook_resid_post",
    "mlp": "blocks.{}.hook_mlp_out",
    "head": "blocks.{}.attn.hook_z",
    "neuron": "blocks.{}.mlp.hook_post",
}


@pytest.mark.parametrize("site", SITES)
def test_the_batched_sweep_equals_a_loop(box: ModelToolbox, contrast: Contrast, site: Any) -> None:
    metric = patch(box, contrast, site).arrays["metric"]
    first = 1 if site == "resid" else 0  # the embedding's row comes before layer 0
    for layer in range(len(metric) - first):
        hook = HOOKS[site].format(layer)
        clean = box.activations(contrast.clean, [hook])[hook]
        for part in range(metric.shape[1]):
            mask = torch.zeros(clean.shape, dtype=torch.bool)
            mask[(slice(None),) * (2 if site in ("head", "neuron") else 1) + (part,)] = True
            logits = box.logits(contrast.corrupt, [Intervention(hook, clean, mask=mask)])
            expected = contrast.metric(logits, torch.arange(3))
            torch.testing.assert_close(metric[layer + first, part], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("site", SITES)
def test_the_estimate_is_the_cost_however_the_sweep_is_cut(
    make_box: MakeBox, contrast: Contrast, site: Any
) -> None:
    whole, cut = patch(make_box(), contrast, site), patch(make_box(max_rows=7), contrast, site)
    torch.testing.assert_close(whole.arrays["metric"], cut.arrays["metric"], atol=1e-5, rtol=0)
    assert whole.cost == cut.cost == estimate(make_box().config, 3, 5, site)


def test_a_contrast_that_does_not_fit_is_refused(box: ModelToolbox, contrast: Contrast) -> None:
    with pytest.raises(
        RequestError, match=r"contrast: clean \[3, 5\], corrupt \[3, 4\]; wanted \[pair, pos\] twice"
    ):
        patch(box, replace(contrast, corrupt=contrast.corrupt[:, :4]))
    with pytest.raises(RequestError, match="contrast: answer is not one number from 0 to 10 for each pair"):
        patch(box, replace(contrast, answer=torch.tensor([1, 2])))
    with pytest.raises(RequestError, match="contrast: at is not one number from 0 to 4 for each pair"):
        patch(box, replace(contrast, at=torch.tensor([1, 2, 5])))
    with pytest.raises(RequestError, match='site: got "value"; allowed: resid, attn, mlp, head,'):
        patch(box, contrast, "value")  # type: ignore[arg-type]


def test_a_model_without_mlps_has_no_such_site(contrast: Contrast, tiny_config: TransformerConfig) -> None:
    config = replace(tiny_config, mlp=(False,) * 3)
    model = Transformer(config, named_generator("attention only"))
    box = ModelToolbox(model, league="whitebox", corpus=lambda *_: pytest.fail("not asked"), total=100)
    with pytest.raises(RequestError, match="site: got mlp, but no layer of this model has an MLP"):
        patch(box, contrast, "mlp")
