from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from game.api import RequestError
from game.toolbox.live import ModelToolbox
from game.tools.lens import estimate, lens
from models.transformer import Transformer

MakeBox = Callable[..., ModelToolbox]


def test_the_last_row_is_what_the_model_answers(box: ModelToolbox, tokens: Tensor) -> None:
    arrays = lens(box, tokens, top=11).arrays
    answers = box.logits(tokens).double().log_softmax(-1).topk(11)
    assert torch.equal(arrays["top_tokens"][-1], answers.indices)
    torch.testing.assert_close(arrays["top_log_probs"][-1], answers.values)
    assert arrays["kl"][-1].max() == 0
    assert arrays["target_rank"][-1].max() == 0


def test_every_row_is_the_final_norm_and_unembedding_of_the_stream_there(
    box: ModelToolbox, tiny_model: Transformer, tokens: Tensor
) -> None:
    arrays = lens(box, tokens, top=11).arrays
    _, cache = tiny_model.run_with_cache(tokens)
    for site, name in enumerate(
        ["blocks.0.hook_resid_pre", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
    ):
        expected = tiny_model.logits_of(cache[name]).double().log_softmax(-1)
        found = torch.empty_like(expected).scatter(
            -1, arrays["top_tokens"][site], arrays["top_log_probs"][site]
        )
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_the_numbers_agree_with_their_definitions(box: ModelToolbox, tokens: Tensor) -> None:
    targets = (tokens + 1) % 11
    arrays = lens(box, tokens, targets, top=11).arrays
    order, log_probs = arrays["top_tokens"], arrays["top_log_probs"]
    place = (order == targets[..., None]).double().argmax(-1)
    assert torch.equal(arrays["target_rank"], place)
    torch.testing.assert_close(arrays["target_log_prob"], log_probs.gather(-1, place[..., None])[..., 0])
    torch.testing.assert_close(arrays["entropy"], -(log_probs.exp() * log_probs).sum(-1))
    assert (arrays["kl"] >= 0).all()
    top = order[..., 0]
    for row in range(3):
        for pos in range(5):
            depth = int(arrays["depth"][row, pos])
            assert (top[depth:, row, pos] == top[-1, row, pos]).all()
            assert depth == 0 or top[depth - 1, row, pos] != top[-1, row, pos]


def test_a_lens_cut_into_small_calls_sees_the_same(make_box: MakeBox, tokens: Tensor) -> None:
    whole, cut = lens(make_box(), tokens), lens(make_box(max_rows=2), tokens)
    torch.testing.assert_close(whole.arrays["target_log_prob"], cut.arrays["target_log_prob"])
    assert whole.cost == cut.cost


def test_the_estimate_is_the_cost(box: ModelToolbox, tokens: Tensor) -> None:
    assert lens(box, tokens).cost == estimate(box.config, 3) == 12


def test_arguments_that_do_not_fit_are_refused(box: ModelToolbox, tokens: Tensor) -> None:
    with pytest.raises(RequestError, match="top: got 12; allowed: 1 to 11"):
        lens(box, tokens, top=12)
    with pytest.raises(RequestError, match=r"targets: got shape \[3\], wanted the tokens' \[3, 5\]"):
        lens(box, tokens, targets=tokens[:, 0])
