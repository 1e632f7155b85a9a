from collections.abc import Callable

import pytest
import torch

from game.api import RequestError
from game.tools import ffn_concepts as by_layer
from game.tools import neuron as by_neuron
from game.tools.direct_attribution import direct_attribution
from game.tools.ffn_concepts import ffn_concepts
from game.tools.kit.nodes import writers
from game.tools.kit.questions import Questions
from game.tools.kit.readout import read_readout, scale_names, scale_of
from game.tools.neuron import neuron
from tests.game.tools.conftest import Subject, close, samples_of

WITH_MLP = {"windows": 0, "rms-gelu": 1, "no-norm": 1, "one-layer": 0}
SAMPLES = samples_of(30, 6)


@pytest.fixture(params=WITH_MLP)
def at(request: pytest.FixtureRequest, shaped: Callable[[str], Subject]) -> tuple[Subject, int]:
    return shaped(request.param), WITH_MLP[request.param]


def test_the_shares_of_the_neurons_are_the_mlps_direct_attribution(
    at: tuple[Subject, int], asked: Questions
) -> None:
    subject, layer = at
    found = ffn_concepts(subject.box(), asked, layer)
    share = direct_attribution(subject.box(), asked).arrays["share"]
    index = [node.name for node in writers(subject.config)].index(f"blocks.{layer}.mlp")
    weights = dict(subject.model.named_parameters())
    box = subject.box()
    scale = scale_of(box.activations(asked.tokens, [*scale_names(subject.config), "logits"]), asked.tokens)
    read = read_readout(box).directions(asked.weights(13), scale)[torch.arange(4), asked.at]
    bias = read @ weights[f"blocks.{layer}.mlp.b_out"].detach().double()
    close(found.arrays["share"].sum(1) + bias, share[index])
    assert found.cost == pytest.approx(by_layer.estimate(subject.config, 4, layer))


def test_random_rows_stay_in_their_band_and_a_common_direction_leaves_it(
    shaped: Callable[[str], Subject], asked: Questions
) -> None:
    subject = shaped("windows")
    weight = subject.model.get_parameter("blocks.0.mlp.W_out")
    with torch.no_grad():
        weight.normal_(generator=torch.Generator().manual_seed(3))
    assert ffn_concepts(subject.box(), asked, 0).summary[0].stands_out is False
    with torch.no_grad():
        weight.add_(3 * torch.ones(16, 1) @ torch.randn(1, 8, generator=torch.Generator().manual_seed(4)))
    found = ffn_concepts(subject.box(), asked, 0)
    assert found.summary[0].stands_out is True
    assert int(found.arrays["cluster"].max()) == 0


def test_the_events_are_what_the_lens_says(at: tuple[Subject, int], asked: Questions) -> None:
    subject, layer = at
    arrays, box = ffn_concepts(subject.box(), asked, layer).arrays, subject.box()
    rows = torch.arange(4)
    for name, hook in (("leader", "resid_mid"), ("after", "resid_post")):
        stream = box.activations(asked.tokens, [f"blocks.{layer}.hook_{hook}"])[f"blocks.{layer}.hook_{hook}"]
        assert torch.equal(arrays[name], subject.model.logits_of(stream)[rows, asked.at].argmax(-1))
    final = box.logits(asked.tokens)[rows, asked.at].argmax(-1)
    assert torch.equal(arrays["saturation"], (arrays["after"] == final) & (arrays["leader"] != final))


def test_exemplars_are_the_activations_of_the_samples_with_the_largest(at: tuple[Subject, int]) -> None:
    subject, layer = at
    found = neuron(subject.box(7), SAMPLES, layer, 2)
    arrays, box = found.arrays, subject.box()
    hook = f"blocks.{layer}.mlp.hook_post"
    for tokens, values in zip(arrays["exemplars"], arrays["activations"], strict=True):
        own = box.activations(tokens[None], [hook])[hook][0, :, 2]
        holds = ~values.isnan()
        close(values[holds], own[holds])
    largest = arrays["activations"].nan_to_num(-9).amax(1)
    assert (largest.diff() <= 0).all()
    fires = box.activations(SAMPLES.tokens, [hook])[hook][..., 2]
    holds = torch.arange(6) < SAMPLES.lengths[:, None]
    assert float(largest[0]) == pytest.approx(float(fires[holds].max()), abs=1e-5)
    assert int(arrays["histogram"].sum()) == int(SAMPLES.lengths.sum())
    assert found.cost == pytest.approx(by_neuron.estimate(subject.config, SAMPLES, layer))


def test_an_implanted_neuron_shows_its_trigger_and_its_answer(shaped: Callable[[str], Subject]) -> None:
    subject = shaped("no-norm")
    weights, trigger, answer = dict(subject.model.named_parameters()), 5, 9
    with torch.no_grad():
        weights["embed.W_E"].normal_(generator=torch.Generator().manual_seed(1))
        weights["blocks.0.mlp.W_in"][:, 3] = weights["embed.W_E"][trigger]
        weights["blocks.0.mlp.W_out"][3] = weights["unembed.W_U"][:, answer]
    arrays = neuron(subject.box(), SAMPLES, 0, 3).arrays
    weight = weights["unembed.W_U"].detach()
    expected = (weight[:, answer] @ weight).double()
    close(arrays["output_logits"], expected - expected.mean())
    own = weights["embed.W_E"].detach()
    close(arrays["input_logits"], own @ own[trigger] - (own @ own[trigger]).mean())


def test_what_does_not_fit_is_refused(subject: Subject, asked: Questions) -> None:
    box = subject.box()
    with pytest.raises(RequestError, match="layer: got 7; layers with an MLP"):
        neuron(box, SAMPLES, 7, 0)
    with pytest.raises(RequestError, match="layer: got 7; layers with an MLP"):
        ffn_concepts(box, asked, 7)
    layer = next((layer for layer, has in enumerate(subject.config.mlp) if has), None)
    if layer is not None:
        with pytest.raises(RequestError, match="number: got 99; allowed: 0 to"):
            neuron(box, SAMPLES, layer, 99)
        with pytest.raises(RequestError, match="similar: got 2; allowed: above 0, below 1"):
            ffn_concepts(box, asked, layer, similar=2)
        with pytest.raises(RequestError, match="top: got 0; allowed: 1 to 13"):
            ffn_concepts(box, asked, layer, top=0)
    assert box.budget.spent == 0
