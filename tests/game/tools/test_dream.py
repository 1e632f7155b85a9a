from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from game.api import RequestError, Samples
from game.toolbox.live import ModelToolbox
from game.tools.dream import dream, estimate
from game.tools.kit.dreaming import Frame, Goal, coordinate_search, values
from models.seeds import named_generator
from models.transformer import Transformer, TransformerConfig

MakeBox = Callable[..., ModelToolbox]
PRE = "blocks.1.mlp.hook_pre"
TEMPLATE = torch.zeros(1, 4, dtype=torch.int64)


def neuron(number: int, width: int = 16) -> Tensor:
    return torch.nn.functional.one_hot(torch.tensor(number), width).float()


@pytest.fixture
def samples() -> Samples:
    tokens = torch.randint(1, 8, (30, 5), generator=named_generator("dream"))  # tokens 8 to 10 never occur
    return Samples(tokens, torch.full((30,), 5))


def every_prompt(box: ModelToolbox) -> Tensor:
    free = torch.cartesian_prod(*[torch.arange(11)] * 3)
    return torch.cat([torch.zeros(len(free), 1, dtype=torch.int64), free], 1)


def test_the_search_ends_where_no_single_token_helps_and_near_the_best_of_all_prompts(
    make_box: MakeBox, samples: Samples
) -> None:
    box = make_box(total=1e5, max_rows=2000)
    found = dream(box, samples, TEMPLATE, PRE, neuron(3), steps=40)
    best = found.arrays["tokens"][1]
    goal = Goal(PRE, neuron(3), 3)
    reached = float(found.arrays["value"][3])
    for position in (1, 2, 3):
        tried = best.repeat(11, 1)
        tried[:, position] = torch.arange(11)
        assert float(values(box, goal, tried).max()) <= reached + 1e-6
    everything = values(box, goal, every_prompt(box))
    assert float((everything > reached + 1e-6).double().mean()) < 0.01
    assert found.arrays["value"][3] >= found.arrays["value"][2]
    assert float(values(box, goal, best[None])[0]) == pytest.approx(reached)


def test_a_planted_trigger_that_no_sample_holds_is_dreamt_of(
    tiny_config: TransformerConfig, samples: Samples
) -> None:
    config = replace(tiny_config, d_model=16)
    model = Transformer(config, named_generator("trigger"))
    with torch.no_grad():  # neuron 5 of layer 0 reads the embedding of token 9, directly
        model.embed.W_E.mul_(4)
        read = model.embed.W_E[9] - model.embed.W_E.mean(0)
        model.get_parameter("blocks.0.mlp.W_in")[:, 5] = 3 * (read - read.mean()) / read.norm()
    box = ModelToolbox(model, league="whitebox", corpus=lambda *_: samples, total=1e5)
    found = dream(box, samples, TEMPLATE, "blocks.0.mlp.hook_pre", neuron(5), steps=60)
    assert found.arrays["tokens"][1, 3] == 9
    assert found.arrays["tokens"][0, 3] == 9  # snapping alone, too
    assert not found.arrays["failed"]
    assert found.summary[0].stands_out


def test_a_logit_can_be_dreamt_of_at_any_position(make_box: MakeBox, samples: Samples) -> None:
    box = make_box(total=1e5)
    found = dream(box, samples, TEMPLATE, "logits", neuron(7, 11), at=1, free=(1, 2), steps=10)
    logits = box.logits(found.arrays["tokens"])
    torch.testing.assert_close(found.arrays["read"], logits[..., 7].double(), atol=1e-5, rtol=0)
    assert float(logits[1, 1, 7]) == pytest.approx(float(found.arrays["value"][3]), abs=1e-5)
    assert (found.arrays["tokens"][:, [0, 3]] == 0).all()


def test_forbidden_tokens_are_never_used_and_equal_seeds_dream_alike(
    make_box: MakeBox, samples: Samples
) -> None:
    one, two = (
        dream(make_box(total=1e5), samples, TEMPLATE, PRE, neuron(0), without=(0, 3, 4), steps=10)
        for _ in range(2)
    )
    assert not torch.isin(one.arrays["tokens"][:, 1:], torch.tensor([0, 3, 4])).any()
    for name, array in one.arrays.items():
        assert torch.equal(array, two.arrays[name]), name


def test_the_estimate_is_reached_when_every_sweep_is_needed(make_box: MakeBox, samples: Samples) -> None:
    box = make_box(total=1e5)
    found = dream(box, samples, TEMPLATE, PRE, neuron(1), steps=5, sweeps=1)
    most = estimate(box.config, samples, TEMPLATE, steps=5, sweeps=1)
    assert most - 11 <= found.cost <= most  # a prompt that was asked before is free


def test_the_search_never_ends_below_its_start(make_box: MakeBox) -> None:
    box = make_box(total=1e5)
    frame = Frame.of(box.config, TEMPLATE, (), ())
    for number in range(4):
        goal = Goal(PRE, neuron(number), 3)
        start = torch.randint(11, (3,), generator=named_generator("start", number))
        _, value, _ = coordinate_search(box, goal, frame, start, sweeps=2)
        assert value >= float(values(box, goal, frame.filled(start[None]))[0])


def test_what_cannot_be_dreamt_of_is_refused_for_nothing(box: ModelToolbox, samples: Samples) -> None:
    with pytest.raises(
        RequestError, match=r"template: got torch.int64 \[4\], wanted an int64 tensor \[row, pos\]"
    ):
        dream(box, samples, TEMPLATE[0], PRE, neuron(0))
    with pytest.raises(RequestError, match=r"direction: got length 11; blocks\.1\.mlp\.hook_pre holds 16"):
        dream(box, samples, TEMPLATE, PRE, neuron(0, 11))
    with pytest.raises(RequestError, match="direction: got length 16; logits hold 11"):
        dream(box, samples, TEMPLATE, "logits", neuron(0))
    with pytest.raises(RequestError, match=r"free: got \[4\]; allowed: positions 0 to 3"):
        dream(box, samples, TEMPLATE, PRE, neuron(0), free=(4,))
    with pytest.raises(RequestError, match="without: 1 tokens are left"):
        dream(box, samples, TEMPLATE, PRE, neuron(0), without=tuple(range(10)))
    with pytest.raises(RequestError, match="at: got 4; allowed: 0 to 3"):
        dream(box, samples, TEMPLATE, PRE, neuron(0), at=4)
    with pytest.raises(RequestError, match="steps: got 0; allowed: 1 and more"):
        dream(box, samples, TEMPLATE, PRE, neuron(0), steps=0)
    assert box.budget.spent == 0
