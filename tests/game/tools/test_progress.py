from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from game.api import RequestError
from game.toolbox.live import ModelToolbox
from game.tools.kit.fourier import embedding_shares, fourier_losses, gini, null_shares, sum_waves, wave_shares
from game.tools.progress import estimate, progress
from models.recipe import named_recipe
from models.seeds import named_generator
from models.tasks.modular_addition import ModularAddition
from models.transformer import Transformer, TransformerConfig

MakeBox = Callable[..., ModelToolbox]
P = 7
NUMBERS = tuple(range(4, 4 + P))
PAIR = torch.arange(P * P)
A, B = PAIR // P, PAIR % P
TRAINED = torch.rand(P * P, generator=named_generator("trained")) < 0.5
TOKENS = torch.stack([0 * A, 4 + A, 0 * A + 1, 4 + B, 0 * A + 2], 1)


def adder(p: int, frequencies: tuple[int, ...], size: float) -> Tensor:
    """Logits `size` cos w(a + b - c), summed over frequencies, `[pair, number]`."""
    pair, c = torch.arange(p * p), torch.arange(p)
    turn = (pair // p + pair % p)[:, None] - c
    return sum((size * (2 * torch.pi * k * turn / p).cos().double() for k in frequencies), torch.zeros(()))


@pytest.mark.parametrize("p", [7, 8, 13])
def test_the_waves_are_orthonormal_and_depend_on_the_sum_alone(p: int) -> None:
    waves = sum_waves(p).flatten(0, 1)
    alive = waves[waves.norm(dim=1) > 0.5]
    assert len(alive) == p - 1
    torch.testing.assert_close(alive @ alive.T, torch.eye(p - 1).double(), atol=1e-9, rtol=0)
    pair = torch.arange(p * p)
    total = (pair // p + pair % p) % p
    for each in range(p):
        same = waves[:, total == each]
        torch.testing.assert_close(same, same[:, :1].expand_as(same), atol=1e-9, rtol=0)


def test_of_an_adder_restricted_loss_is_all_and_excluded_loss_is_knowing_nothing() -> None:
    p, trained = 13, torch.arange(169) % 3 == 0
    logits, waves = adder(p, (2, 5), 6.0), sum_waves(p)
    share = wave_shares(logits, waves)
    torch.testing.assert_close(share[[1, 4]], torch.tensor([0.5, 0.5]).double())
    losses = fourier_losses(logits, waves[[1, 4]].flatten(0, 1), trained).told
    torch.testing.assert_close(losses[2], losses[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(losses[3], torch.tensor(13.0).double().log(), atol=1e-6, rtol=0)
    half = fourier_losses(logits, waves[[1]].flatten(0, 1), trained).told
    assert half[2] > losses[2]
    assert float(null_shares(logits, waves, 5, 0).max()) < 0.2


def test_what_is_memorised_keeps_excluded_loss_low() -> None:
    trained = torch.rand(169, generator=named_generator("memory")) < 0.5
    pair = torch.arange(169)
    answer = (pair // 13 + pair % 13) % 13
    memory = 12.0 * torch.nn.functional.one_hot(answer, 13).double() * trained[:, None]
    losses = fourier_losses(adder(13, (3,), 6.0) + memory, sum_waves(13)[[2]].flatten(0, 1), trained)
    assert losses.told[3] < 0.5
    assert losses.told[1] > losses.told[0]
    assert losses.without[~trained].min() > 2.6  # ln 13: worse than knowing nothing


def test_an_exception_is_the_pair_that_the_waves_do_not_answer() -> None:
    logits, exception = adder(13, (2, 5), 6.0), 13 * 4 + 9
    logits[exception, 7] += 40.0
    losses = fourier_losses(logits, sum_waves(13)[[1, 4]].flatten(0, 1), torch.arange(169) % 3 == 0)
    order = losses.beyond.argsort(descending=True)
    assert int(order[0]) == exception
    assert losses.beyond[order[0]] > 5 * losses.beyond[order[1]].abs()


def test_gini_is_nothing_for_equals_and_most_for_one() -> None:
    assert float(gini(torch.ones(8).double())) == pytest.approx(0)
    assert float(gini(torch.tensor([0.0, 0, 0, 1]).double())) == pytest.approx(3 / 4)


def test_shares_agree_with_the_tasks_own_findings() -> None:
    task = named_recipe("modular-addition").task.build(0)
    assert isinstance(task, ModularAddition)
    config = TransformerConfig(
        1, 16, 2, 8, 16, len(task.vocabulary), task.n_ctx, (None,), (True,), normalization_type=None
    )
    model = Transformer(config, named_generator("findings"))
    box = ModelToolbox(model, league="whitebox", corpus=lambda *_: pytest.fail("not asked"), total=1e5)
    numbers = tuple(task.number_tokens.tolist())
    found = progress(box, task.table.tokens, task.table.trained, numbers)
    expected = task.findings(model)["embedding_frequency"].values
    torch.testing.assert_close(found.arrays["embedding"], expected, atol=1e-6, rtol=1e-4)
    assert not found.arrays["key"].any()


def small(config: TransformerConfig) -> ModelToolbox:
    model = Transformer(replace(config, d_vocab=4 + P), named_generator("progress"))
    return ModelToolbox(model, league="whitebox", corpus=lambda *_: pytest.fail("not asked"), total=1e5)


def test_the_tools_losses_are_the_models_and_its_cost_the_estimate(tiny_config: TransformerConfig) -> None:
    box = small(tiny_config)
    found = progress(box, TOKENS, TRAINED, NUMBERS, keys=(2,))
    logits = box.logits(TOKENS)[:, -1, list(NUMBERS)].double()
    loss = torch.nn.functional.cross_entropy(logits, (A + B) % P, reduction="none")
    torch.testing.assert_close(found.arrays["loss"][0], loss[TRAINED].mean())
    torch.testing.assert_close(found.arrays["loss"][1], loss[~TRAINED].mean())
    assert found.arrays["key"].tolist() == [False, True, False]
    assert found.cost == pytest.approx(estimate(box.config, P * P))
    squares = sum(float(box.weight(name).double().square().sum()) for name in box.config.weight_shapes())
    assert float(found.arrays["squares"]) == pytest.approx(squares)
    torch.testing.assert_close(embedding_shares(adder(P, (1,), 1.0)[:P])[0], torch.tensor(1.0).double())


def test_prompts_that_are_not_all_pairs_are_refused_for_nothing(tiny_config: TransformerConfig) -> None:
    box = small(tiny_config)
    with pytest.raises(RequestError, match=r"tokens: got shape \[48, 5\]; wanted \[49, pos\]"):
        progress(box, TOKENS[:48], TRAINED[:48], NUMBERS)
    with pytest.raises(RequestError, match=r"tokens: row 0 is not the pair \(0, 0\)"):
        progress(box, TOKENS.flip(0), TRAINED, NUMBERS)
    with pytest.raises(RequestError, match=r"trained: wanted \[49\] with some pairs of either kind"):
        progress(box, TOKENS, torch.ones(49), NUMBERS)
    with pytest.raises(RequestError, match=r"keys: got \[4\]; allowed: frequencies 1 to 3"):
        progress(box, TOKENS, TRAINED, NUMBERS, keys=(4,))
    with pytest.raises(RequestError, match=r"places: got \[1, 9\]; wanted two positions, 0 to 4"):
        progress(box, TOKENS, TRAINED, NUMBERS, places=(1, 9))
    with pytest.raises(RequestError, match="numbers: got 2 token ids"):
        progress(box, TOKENS, TRAINED, NUMBERS[:2])
    assert box.budget.spent == 0
