from collections.abc import Callable
from typing import Any

import pytest
import torch

from game.api import Intervention, RequestError
from game.tools.circuit_effect import circuit_effect, estimate
from game.tools.circuits import Part
from game.tools.questions import Questions
from tests.game.tools.conftest import Subject, close, samples_of

SAMPLES = samples_of(20, 11)


def test_an_empty_circuit_changes_nothing(subject: Subject, asked: Questions) -> None:
    found = circuit_effect(subject.box(), asked, SAMPLES, (), placebos=2)
    assert found.arrays["kl"].max() < 1e-9
    assert found.arrays["change"].max() == 0
    close(found.arrays["completeness"], torch.tensor(1.0))
    close(found.arrays["faithfulness"], torch.tensor(0.0))


def test_everything_zeroed_leaves_the_embeddings_and_the_biases(subject: Subject, asked: Questions) -> None:
    config = subject.config
    circuit = tuple(Part(f"blocks.{layer}.attn.hook_z") for layer in range(config.n_layers))
    circuit += tuple(Part(f"blocks.{layer}.mlp.hook_post") for layer, has in enumerate(config.mlp) if has)
    found = circuit_effect(subject.box(), asked, SAMPLES, circuit, "zero", placebos=2)
    weights = {name: weight.detach() for name, weight in subject.model.named_parameters()}
    stream = weights["embed.W_E"][asked.tokens] + weights["pos_embed.W_pos"][:6]
    stream = stream + sum(weight for name, weight in weights.items() if name.endswith(("b_O", "b_out")))
    close(found.arrays["margin_without"], asked.margin(subject.model.logits_of(stream).detach()))
    close(found.arrays["completeness"], torch.tensor(0.0), 1e-4)
    close(found.arrays["faithfulness"], torch.tensor(1.0), 1e-4)


def test_the_last_layers_neurons_add_up_without_a_norm(
    shaped: Callable[[str], Subject], asked: Questions
) -> None:
    box, hook = shaped("no-norm").box(), "blocks.1.mlp.hook_post"

    def lost(*index: int) -> torch.Tensor:
        arrays = circuit_effect(box, asked, SAMPLES, (Part(hook, index),), placebos=2).arrays
        return arrays["margin_with"] - arrays["margin_without"]

    close(lost(1) + lost(4), lost(1, 4))


def test_a_direction_is_projected_out_down_to_its_mean(subject: Subject, asked: Questions) -> None:
    box, hook = subject.box(), "blocks.0.hook_resid_post"
    vector = torch.randn(subject.config.d_model, generator=torch.Generator().manual_seed(3))
    circuit = (Part(hook, direction=vector),)
    found = circuit_effect(box, asked, SAMPLES, circuit, placebos=3)
    holds = torch.arange(6) < SAMPLES.lengths[:, None]
    mean = (box.activations(SAMPLES.tokens, [hook])[hook][holds] @ (vector / vector.norm())).mean()
    logits = box.logits(asked.tokens, [Intervention(hook, vector, "project_out", offset=float(mean))])
    close(found.arrays["margin_without"], asked.margin(logits))
    assert found.arrays["faithfulness"].isnan()
    assert found.cost == estimate(subject.config, 4, SAMPLES, circuit, 3)
    close(
        found.arrays["returned"], (found.arrays["margin_with"] - found.arrays["margin_without"]).mean()[None]
    )
    assert found.summary[0].null == (0.0, float(found.arrays["placebo_kl"].quantile(0.95)))


def test_heads_of_one_layer_change_only_what_comes_later(subject: Subject, asked: Questions) -> None:
    last = subject.config.n_layers - 1
    part = Part(f"blocks.{last}.attn.hook_z", (0,), positions=(2,))
    arrays = circuit_effect(subject.box(), asked, SAMPLES, (part,), placebos=2).arrays
    assert arrays["change"][: last + 1].max() == 0
    assert arrays["change"][last + 1, :, [0, 1, 3, 4, 5]].max() == 0
    assert (arrays["change"][last + 1, :, 2] > 0).all()
    assert arrays["head"][:last].sum() == 0
    assert arrays["head"][last, 0] > 0


# a circuit that is none                                        and what the message says
BAD: list[tuple[Any, str]] = [
    (Part("blocks.0.hook_zz"), 'circuit\\[0\\]: unknown hook "blocks.0.hook_zz"'),
    (Part("blocks.0.attn.hook_z", (9,)), r"circuit\[0\]: blocks.0.attn.hook_z \(9,\); allowed: 0 to 1 of"),
    (Part("blocks.0.hook_resid_post"), r"circuit\[0\]: blocks.0.hook_resid_post"),
    (Part("hook_embed", direction=torch.zeros(8)), r"circuit\[0\]: a direction is one vector \[8\]"),
    (Part("hook_embed", direction=torch.ones(3)), r"circuit\[0\]: a direction is one vector \[8\]"),
    (Part("blocks.0.attn.hook_z", positions=(6,)), r"positions \(6,\); allowed: 0 to 5"),
]


@pytest.mark.parametrize(("part", "message"), BAD)
def test_what_is_no_part_is_refused(
    shaped: Callable[[str], Subject], asked: Questions, part: Part, message: str
) -> None:
    box = shaped("windows").box()
    with pytest.raises(RequestError, match=message):
        circuit_effect(box, asked, SAMPLES, (part,))
    assert box.budget.spent == 0
