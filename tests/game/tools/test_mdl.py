import math

import pytest
import torch

from game.api import Intervention, RequestError, Samples
from game.toolbox.live import ModelToolbox
from game.tools.mdl import estimate, gaussian_bits, mdl
from models.seeds import named_generator
from models.transformer import Transformer


@pytest.fixture
def samples() -> Samples:
    generator = named_generator("mdl")
    tokens = torch.randint(1, 11, (24, 5), generator=generator)
    return Samples(tokens, torch.randint(2, 6, (24,), generator=generator))


def test_bits_are_nought_at_the_prior_and_the_divergence_elsewhere() -> None:
    generator = named_generator("bits")
    mean, spread = (
        torch.randn(50, generator=generator).double(),
        torch.rand(50, generator=generator).double() + 0.1,
    )
    assert float(
        gaussian_bits(torch.zeros(1).double(), torch.full((1,), 0.7).double(), 0.7)
    ) == pytest.approx(0)
    normal, prior = torch.distributions.Normal(mean, spread), torch.distributions.Normal(0.0, 0.7)
    expected = torch.distributions.kl_divergence(normal, prior) / torch.log(torch.tensor(2.0))
    torch.testing.assert_close(gaussian_bits(mean, spread, 0.7), expected.double(), atol=1e-5, rtol=1e-5)
    noise = torch.randn(100_000, 50, generator=generator).double()
    drawn = mean + spread * noise
    nats = (0.7 / spread).log() + (drawn.square() / 0.7**2 - noise.square()) / 2
    torch.testing.assert_close(
        gaussian_bits(mean, spread, 0.7), nats.mean(0) / math.log(2), atol=0.1, rtol=0.03
    )


def test_what_a_row_saves_is_the_slope_of_scaling_it(box: ModelToolbox, samples: Samples) -> None:
    nats = mdl(box, samples, 1).arrays["nats"]
    rows, last = torch.arange(24), samples.lengths - 1
    own = box.logits(samples.tokens)[rows, last].argmax(-1)
    for neuron in (2, 9):
        ends = []
        for factor in (1.01, 0.99):
            scaled = Intervention(
                "blocks.1.mlp.hook_post", torch.tensor(factor), "scale", torch.arange(16) == neuron
            )
            logits = box.logits(samples.tokens, [scaled])[rows, last].double()
            ends.append(logits.log_softmax(-1)[rows, own])
        assert float(nats[neuron]) == pytest.approx(float((ends[0] - ends[1]).mean() / 0.02), abs=2e-3)


def test_a_weight_that_no_answer_depends_on_costs_least(
    tiny_model: Transformer, box: ModelToolbox, samples: Samples
) -> None:
    with torch.no_grad():
        tiny_model.get_parameter("blocks.1.mlp.b_in")[4] = -100.0  # never fires
        tiny_model.get_parameter("blocks.1.mlp.W_out")[4] = 0.0
    arrays = mdl(box, samples, 1).arrays
    assert int(arrays["bits"].argmin()) == 4
    assert float(arrays["bits"][4]) == pytest.approx(0)
    assert float(arrays["nats"][4]) == 0
    assert bool(arrays["bits_per_nat"][4].isnan())


def test_the_cost_is_the_estimate_however_the_batches_are_cut(box: ModelToolbox, samples: Samples) -> None:
    found = mdl(box, samples, 0)
    assert found.cost == pytest.approx(estimate(box.config, 24, 0))
    again = mdl(box, samples, 0)
    assert torch.equal(found.arrays["bits"], again.arrays["bits"])


def test_what_cannot_be_described_is_refused_for_nothing(box: ModelToolbox, samples: Samples) -> None:
    with pytest.raises(RequestError, match=r"layer: got 2; layers with an MLP: \[0, 1\]"):
        mdl(box, samples, 2)
    with pytest.raises(RequestError, match="samples: got 1; allowed: 2 and more"):
        mdl(box, Samples(samples.tokens[:1], samples.lengths[:1]), 0)
    assert box.budget.spent == 0
