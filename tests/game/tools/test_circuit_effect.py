from collections.abc import Callable
from typing import Any

import pytest
import torch

from game.api import Intervention, RequestError
from game.tools.circuit_effect import circuit_effect, estimate
from game.tools.kit.questions import Questions
from tests.game.tools.conftest import Subject, close, samples_of

SAMPLES = samples_of(20, 11)


def test_an_empty_circuit_changes_nothing(subject: Subject, asked: Questions) -> None:
    found = circuit_effect(subject.box(), asked, SAMPLES, placebos=2)
    assert found.arrays["kl"].max() < 1e-9
    assert found.arrays["change"].max() == 0
    close(found.arrays["completeness"], torch.tensor(1.0))
    close(found.arrays["faithfulness"], torch.tensor(0.0))


def test_everything_zeroed_leaves_the_embeddings_and_the_biases(subject: Subject, asked: Questions) -> None:
    config = subject.config
    parts = [
        f"blocks.{layer}.attn.{head}" for layer in range(config.n_layers) for head in range(config.n_heads)
    ]
    parts += [f"blocks.{layer}.mlp" for layer, has_mlp in enumerate(config.mlp) if has_mlp]
    found = circuit_effect(subject.box(), asked, SAMPLES, tuple(parts), replacement="zero", placebos=2)
    weights = {name: weight.detach() for name, weight in subject.model.named_parameters()}
    stream = weights["embed.W_E"][asked.tokens] + weights["pos_embed.W_pos"][:6]
    stream = stream + sum(weight for name, weight in weights.items() if name.endswith(("b_O", "b_out")))
    close(found.arrays["margin_without"], asked.margin(subject.model.logits_of(stream).detach()))
    close(found.arrays["completeness"], torch.tensor(0.0), 1e-4)
    close(found.arrays["faithfulness"], torch.tensor(1.0), 1e-4)


def test_the_last_layers_neurons_add_up_without_a_norm(
    shaped: Callable[[str], Subject], asked: Questions
) -> None:
    box = shaped("no-norm").box()

    def lost(*index: int) -> torch.Tensor:
        arrays = circuit_effect(
            box, asked, SAMPLES, tuple(f"blocks.1.mlp[{each}]" for each in index), placebos=2
        ).arrays
        return arrays["margin_with"] - arrays["margin_without"]

    close(lost(1) + lost(4), lost(1, 4))


def test_a_direction_is_projected_out_down_to_its_mean(subject: Subject, asked: Questions) -> None:
    box, hook = subject.box(), "blocks.0.hook_resid_post"
    vector = torch.randn(subject.config.d_model, generator=torch.Generator().manual_seed(3))
    found = circuit_effect(box, asked, SAMPLES, hook=hook, directions=vector, placebos=3)
    holds = torch.arange(6) < SAMPLES.lengths[:, None]
    mean = (box.activations(SAMPLES.tokens, [hook])[hook][holds] @ (vector / vector.norm())).mean()
    logits = box.logits(asked.tokens, [Intervention(hook, vector, "project_out", offset=float(mean))])
    close(found.arrays["margin_without"], asked.margin(logits))
    assert found.arrays["faithfulness"].isnan()
    assert found.cost == estimate(subject.config, 4, SAMPLES, (), vector, 3)
    close(
        found.arrays["returned"], (found.arrays["margin_with"] - found.arrays["margin_without"]).mean()[None]
    )
    assert found.summary[0].null == (0.0, float(found.arrays["placebo_kl"].quantile(0.95)))


def test_heads_of_one_layer_change_only_what_comes_later(subject: Subject, asked: Questions) -> None:
    last = subject.config.n_layers - 1
    head = (f"blocks.{last}.attn.0",)
    arrays = circuit_effect(subject.box(), asked, SAMPLES, head, positions=(2,), placebos=2).arrays
    assert arrays["change"][: last + 1].max() == 0
    assert arrays["change"][last + 1, :, [0, 1, 3, 4, 5]].max() == 0
    assert (arrays["change"][last + 1, :, 2] > 0).all()
    assert arrays["head"][:last].sum() == 0
    assert arrays["head"][last, 0] > 0


# a circuit that is none                                and what the message says
BAD: list[tuple[dict[str, Any], str]] = [
    ({"parts": ("blocks.0.attn",)}, 'parts: "blocks.0.attn"; wanted such as blocks.0.attn.1, blocks.0.mlp'),
    ({"parts": ("blocks.2.mlp",)}, 'parts: "blocks.2.mlp"; wanted such as'),
    ({"parts": ("blocks.0.attn.9",)}, r"circuit\[0\]: blocks.0.attn.hook_z \(9,\); allowed: 0 to 1 of"),
    ({"parts": ("blocks.0.mlp[16]",)}, r"circuit\[0\]: blocks.0.mlp.hook_post \(16,\)"),
    ({"hook": "hook_embed"}, "hook: wanted together with directions, or neither"),
    ({"hook": "hook_em", "directions": torch.ones(8)}, r'circuit\[0\]: unknown hook "hook_em"'),
    ({"hook": "hook_embed", "directions": torch.zeros(8)}, r"circuit\[0\]: a direction is one vector \[8\]"),
    (
        {"hook": "hook_embed", "directions": torch.ones(2, 3)},
        r"circuit\[0\]: a direction is one vector \[8\]",
    ),
    ({"parts": ("blocks.0.mlp",), "positions": (6,)}, r"positions \(6,\); allowed: 0 to 5"),
]


@pytest.mark.parametrize(("given", "message"), BAD)
def test_what_is_no_circuit_is_refused(
    shaped: Callable[[str], Subject], asked: Questions, given: dict[str, Any], message: str
) -> None:
    box = shaped("windows").box()
    with pytest.raises(RequestError, match=message):
        circuit_effect(box, asked, SAMPLES, **given)
    assert box.budget.spent == 0
