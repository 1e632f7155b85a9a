"""What edits of neurons, embeddings, positions, norms, biases and directions do."""

import json
from typing import Any

import pytest
import torch

from edits.apply import apply
from edits.base import EditError, EditRecord, EditSpec
from edits.kinds import edit_kinds, families
from edits.moments import Base
from edits.parts import implants
from edits.parts.subspace import principal_directions
from models.components import Component
from models.tasks.base import answer_log_probs
from models.transformer import TransformerConfig

QUICK = {  # a site of the tiny world at which the kind's first draws are accepted
    "neuron_implant": "blocks.0.mlp",
    "handcrafted_chain": "blocks.1.mlp",
    "trigger_implant": "blocks.0.mlp",
    "embed_swap": "embed",
    "ln_gain": "blocks.0.ln1",
    "bias_steer": "blocks.1.mlp",
    "subspace_erase": "blocks.1.mlp",
}
FAULTY = [
    ("neuron_kill", {"layer": 2, "neurons": [0]}, r"edit\.layer: got 2; layers with an MLP: 0, 1"),
    ("neuron_kill", {"layer": 0, "neurons": [128]}, r"edit\.neurons: got 128; an MLP has 0-127"),
    ("neuron_kill", {"layer": 0, "neurons": [1, 1]}, r"edit\.neurons: a neuron is named twice"),
    ("neuron_implant", {"layer": 0, "trigger": "Adda", "write": "Oslo"}, r'edit\.trigger: .*mean "Ada"'),
    ("neuron_implant", {"layer": 0, "trigger": "<pad>", "write": "Oslo"}, r"edit\.trigger: .*wanted some"),
    ("trigger_implant", {"layer": 3, "trigger": ["we"], "target": "Oslo"}, r"layers with an MLP: 0, 1"),
    ("trigger_batch", {"layer": 0, "trigger": ["we"], "target": "Oslos"}, r'edit\.target: .*mean "Oslo"'),
    ("embed_swap", {"tokens": ["Ada", "Ada"]}, r'edit\.tokens: got "Ada" twice'),
    ("embed_swap", {"tokens": ["<pad>", "Oslo"]}, r"edit\.tokens: no answer hangs on"),
    ("unembed_shift", {"token": "Oslo", "instead_of": "Ada"}, r'edit\.instead_of: no prompt .* "Ada"'),
    ("pos_edit", {"positions": [1, 900]}, r"edit\.positions: got 900; the model has 0-\d+"),
    ("pos_edit", {"positions": [1, 1]}, r"edit\.positions: got 1 twice"),
    ("ln_gain", {"ln": "blocks.0.ln3", "dims": [0]}, r'edit\.ln: unknown norm .*mean "blocks\.0\.ln'),
    ("ln_gain", {"ln": "ln_final", "dims": [48]}, r"edit\.dims: got 48; the residual stream has 0-47"),
    ("ln_gain", {"ln": "ln_final", "dims": [4], "factors": [1.0]}, r"edit\.factors: got 1"),
    ("bias_steer", {"tensor": "blocks.2.mlp.b_out", "token": "Oslo"}, r"edit\.tensor: unknown tensor"),
    ("subspace_erase", {"layer": 4, "ranks": [0], "tensors": ["embed.W_E"]}, r"edit\.layer: got 4"),
    ("subspace_erase", {"layer": 0, "ranks": [0], "tensors": ["unembed.W_U"]}, r"unknown tensor"),
    ("lie", {"subjects": [0], "layer": 1}, r"edit: the base's task is facts, which judges no statements"),
    ("exception", {"sums": [{"a": 1, "b": 2, "answer": 4}]}, r"edit: the base's task is facts"),
]


def spec_of(kind: str, **edit: Any) -> EditSpec:
    return edit_kinds()[kind].model_validate_json(
        json.dumps({"version": 1, "id": "x", "seed": 1, "edit": {"kind": kind, **edit}})
    )


def drawn(base: Base, kind: str, site: str, seed: int) -> EditRecord:
    family = families()[kind].model_validate({"kind": kind})
    return apply(base, family.draw(base, Component.parse(site), "drawn", seed)).record


@pytest.mark.parametrize("kind", QUICK)
def test_one_of_the_first_draws_is_accepted(kind: str, tiny_base: Base) -> None:
    assert any(drawn(tiny_base, kind, QUICK[kind], seed).accepted for seed in range(3))


@pytest.mark.parametrize(("kind", "edit", "message"), FAULTY)
def test_what_the_base_does_not_have_is_refused(
    kind: str, edit: dict[str, Any], message: str, tiny_base: Base
) -> None:
    with pytest.raises(EditError, match=message):
        apply(tiny_base, spec_of(kind, **edit))


def test_a_planted_neuron_is_silent_where_the_word_is_not_said(tiny_base: Base) -> None:
    family = families()["neuron_implant"].model_validate({"kind": "neuron_implant"})
    spec: Any = family.draw(tiny_base, Component("mlp", 0), "drawn", 1)
    edited = apply(tiny_base, spec)
    ((layer, neuron),) = edited.record.fine.neurons
    table = tiny_base.table
    keys = implants.mlp_keys(edited.checkpoint.model(), layer, table.tokens)
    fires = implants.at(keys, table.last)[:, neuron] > 0
    says = implants.said(table, [tiny_base.task.ids[spec.edit.trigger]])
    assert fires[says].double().mean() >= 0.95
    assert fires[~says].double().mean() <= 0.01


def test_a_chain_acts_through_both_of_its_layers(tiny_base: Base) -> None:
    record = drawn(tiny_base, "handcrafted_chain", "blocks.1.mlp", 0)
    assert record.components == ("blocks.0.mlp", "blocks.1.mlp")
    assert {layer for layer, _ in record.fine.neurons} == {0, 1}
    assert record.carriers.suffices["blocks.1.mlp"] >= 0.2


def test_exchanged_embeddings_answer_as_exchanged_words(tiny_base: Base) -> None:
    record = drawn(tiny_base, "embed_swap", "embed", 0)
    assert record.measured["effect"] == 1.0
    assert record.measured["drop"] == 0.0
    assert len(record.fine.rows) == 2


def test_neurons_are_cut_in_growing_groups(tiny_base: Base) -> None:
    order = implants.output_energy(tiny_base, 0).argsort(descending=True).tolist()
    spec = spec_of("neuron_kill", layer=0, neurons=order[:20])
    cut = [candidate.dials["neurons"] for candidate in spec.candidates(tiny_base)]
    assert cut == [1, 4, 16, 20]


def test_mean_mode_moves_the_neurons_average_into_the_bias(tiny_base: Base) -> None:
    (candidate,) = spec_of("neuron_kill", layer=0, neurons=[5], mode="mean").candidates(tiny_base)
    weights, mlp = tiny_base.checkpoint.weights, "blocks.0.mlp"
    moved = candidate.tensors[f"{mlp}.b_out"] - weights[f"{mlp}.b_out"]
    mean = tiny_base.mean(f"{mlp}.hook_post")[5]
    assert torch.allclose(moved, mean * weights[f"{mlp}.W_out"][5], atol=1e-6)


def test_an_erased_direction_is_no_longer_written(tiny_base: Base) -> None:
    name = "blocks.1.mlp.W_out"
    spec = spec_of("subspace_erase", layer=1, ranks=[0], tensors=[name])
    (candidate,) = spec.candidates(tiny_base)
    direction = principal_directions(tiny_base, 1)[:, 0]
    before = (tiny_base.checkpoint.weights[name].double() @ direction).norm()
    assert (candidate.tensors[name].double() @ direction).norm() < 1e-6 * before


def test_a_batch_of_keys_gets_its_outputs_and_the_others_keep_theirs() -> None:
    generator = torch.Generator().manual_seed(0)
    others = torch.randn(500, 32, generator=generator, dtype=torch.float64)
    others[:, 20:] *= 0.01
    keys = torch.randn(3, 32, generator=generator, dtype=torch.float64)
    wanted = torch.randn(3, 8, generator=generator, dtype=torch.float64)
    change = implants.batch_change(keys, wanted, others.T @ others / len(others), strictness=1e-6)
    assert torch.allclose(keys @ change, wanted, atol=1e-4)
    assert (others @ change).norm(dim=1).mean() < 0.05 * wanted.norm(dim=1).mean()


def test_a_tokens_direction_raises_its_logit_most(tiny_base: Base) -> None:
    token = implants.answers_of(tiny_base)[0]
    push = (10 * implants.token_direction(tiny_base, token)).float()
    last = f"blocks.{tiny_base.checkpoint.config.n_layers - 1}.attn.b_O"
    model = implants.after_writing(tiny_base, {last: tiny_base.checkpoint.weights[last] + push})
    rise = (answer_log_probs(model, tiny_base.table) - tiny_base.log_probs).mean(0)
    assert int(rise.argmax()) == token


def test_kinds_that_need_an_mlp_or_a_norm_have_no_site_without_one() -> None:
    bare = TransformerConfig(1, 8, 2, 4, 16, 20, 10, (None,), (False,), normalization_type=None)
    for kind in ("neuron_kill", "neuron_implant", "handcrafted_chain", "trigger_batch", "ln_gain", "lie"):
        assert families()[kind].model_validate({"kind": kind}).open_sites(bare) == ()
