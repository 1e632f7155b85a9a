"""What each control is, and that it does nothing but what it says."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from edits.apply import apply, written_components
from edits.base import Edited, EditError, EditSpec
from edits.camouflage.folder import passes
from edits.circuits.heads import HeadAblate
from edits.controls.edit_then_revert import EditThenRevert
from edits.controls.gauge_only import GaugeOnly
from edits.controls.natural_anomaly import NaturalAnomaly
from edits.controls.random_rank1 import RandomRank1
from edits.controls.untouched import Untouched
from edits.moments import Base
from edits.reading import activations, reading_matrices, second_moment
from models.checkpoints import to_bytes
from models.components import Entries
from models.recipe import named_recipe
from models.seeds import named_generator

MATRICES = (
    "blocks.0.mlp.W_in", "blocks.1.mlp.W_out", "blocks.2.attn.W_Q[0]", "blocks.3.attn.W_K[1]",
    "blocks.0.attn.W_V[1]", "blocks.3.attn.W_O[0]", "unembed.W_U",
)  # fmt: skip


def spec_of(kind: type[EditSpec], seed: int = 1, camouflage: Any = (), **edit: Any) -> EditSpec:
    data = {"version": 1, "id": "x", "seed": seed, "edit": {"kind": kind.kind(), **edit}}
    return kind.model_validate_json(json.dumps({**data, "camouflage": camouflage}))


@pytest.fixture(scope="module")
def ablated(tiny_base: Base) -> Edited:
    return apply(tiny_base, spec_of(HeadAblate, head=[2, 1], mode="mean"))


def test_an_untouched_control_without_camouflage_is_the_base(tiny_base: Base) -> None:
    assert apply(tiny_base, spec_of(Untouched)).artefact == to_bytes(tiny_base.checkpoint)


@pytest.mark.parametrize("tensor", MATRICES)
def test_a_sham_of_any_matrix_that_reads_is_loud_and_inert(tensor: str, tiny_base: Base) -> None:
    record = apply(tiny_base, spec_of(RandomRank1, at=[{"tensor": tensor, "rel_norm": 0.5}])).record
    assert record.accepted, record.measured
    assert record.written == (tensor,)
    assert record.measured["rank"] == 1
    assert record.measured["rel_norm"] == pytest.approx(0.5, rel=1e-3)
    assert record.measured["kl"] <= 1e-3


@pytest.mark.parametrize("tensor", MATRICES)
def test_a_second_moment_is_that_of_what_really_multiplies_the_matrix(tensor: str, tiny_base: Base) -> None:
    entries = Entries.parse(tensor)
    seen = activations(tiny_base, entries, 12_000, named_generator("moments", 0))
    measured = seen.T @ seen / len(seen)
    moment = second_moment(tiny_base, entries)
    assert moment.shape == (len(entries.of(tiny_base.checkpoint.weights)),) * 2
    assert (measured - moment).norm() < 0.02 * moment.norm()


@pytest.mark.parametrize(
    ("tensor", "hook"),
    [("blocks.0.mlp.W_in", "blocks.0.mlp.hook_pre"), ("blocks.2.attn.W_K[1]", "blocks.2.attn.hook_k")],
)
def test_activations_times_a_matrix_are_its_output(tensor: str, hook: str, tiny_base: Base) -> None:
    entries, weights = Entries.parse(tensor), tiny_base.checkpoint.weights
    seen = activations(tiny_base, entries, 300, named_generator("documents", 0))
    bias = Entries(entries.tensor.replace("W_", "b_"), entries.head).of(weights)
    tokens = tiny_base.task.documents(11, named_generator("documents", 0)).tokens
    output = tiny_base.model.run_with_cache(tokens, hook)[1][hook][tokens != tiny_base.task.pad]
    output = output if entries.head is None else output[:, entries.head]
    assert torch.allclose((seen @ entries.of(weights).double() + bias).float(), output, atol=1e-4)


@pytest.mark.parametrize("norm", ["RMS", None])
def test_every_reading_matrix_has_its_activation_under_other_norms(norm: Any, tiny_base: Base) -> None:
    config = replace(tiny_base.checkpoint.config, normalization_type=norm)
    weights = {name: tiny_base.checkpoint.weights[name] for name in config.weight_shapes()}
    other = replace(tiny_base.checkpoint, config=config, weights=weights)
    base = Base(replace(tiny_base.trained, checkpoint=other))
    for name in reading_matrices(config):
        entries = Entries(name, 0 if ".attn." in name else None)
        moment = second_moment(base, entries)
        assert moment.shape == (len(entries.of(weights)),) * 2
        assert moment.isfinite().all()


def test_a_sham_of_the_residual_stream_is_not_where_the_norm_leaves_nothing(
    tiny_base: Base, ablated: Edited
) -> None:
    changed = replace(ablated, rel_norms={Entries("blocks.2.attn.W_Q", 1): 1.0})
    block = RandomRank1.matching(changed)
    assert block == {"at": ({"tensor": "blocks.2.attn.W_Q[1]", "rel_norm": 1.0},)}
    record = apply(tiny_base, spec_of(RandomRank1, **block)).record
    assert record.accepted
    assert float(record.dials["tail_dimensions"]) > 3


def test_an_edit_of_embeddings_has_no_sham(tiny_base: Base, ablated: Edited) -> None:
    embedding = replace(ablated, rel_norms={Entries("embed.W_E"): 0.5})
    with pytest.raises(
        EditError, match="random_rank1: head_ablate writes no matrix that reads an activation"
    ):
        RandomRank1.matching(embedding)
    assert EditThenRevert.matching(embedding) == {"at": ({"tensor": "embed.W_E", "rel_norm": 0.5},)}


def test_a_sham_of_several_matrices_is_as_loud_at_each(tiny_base: Base) -> None:
    places = [{"tensor": f"blocks.2.attn.W_K[{head}]", "rel_norm": 0.2 + 0.1 * head} for head in range(2)]
    record = apply(tiny_base, spec_of(RandomRank1, at=places)).record
    assert record.written == ("blocks.2.attn.W_K[0]", "blocks.2.attn.W_K[1]")
    assert record.accepted
    assert record.measured["rel_norm"] == pytest.approx(0.3, rel=1e-3)


def test_a_place_is_named_once(tiny_base: Base) -> None:
    place = {"tensor": "blocks.0.mlp.W_out", "rel_norm": 0.2}
    with pytest.raises(ValueError, match=r"blocks\.0\.mlp\.W_out is named twice"):
        spec_of(RandomRank1, at=[place, place])


def test_a_reverted_edit_leaves_rounding_at_its_place(tiny_base: Base, ablated: Edited) -> None:
    block = EditThenRevert.matching(ablated)
    assert block == {"at": ({"tensor": "blocks.2.attn.W_O[1]", "rel_norm": 1.0},)}
    record = apply(tiny_base, spec_of(EditThenRevert, **block)).record
    assert record.accepted
    assert record.written == record.touched == ("blocks.2.attn.W_O[1]",)
    assert 0 < record.measured["rel_norm"] < 1e-6
    assert record.measured["agree"] == 1.0


def test_a_louder_reverted_edit_leaves_more(tiny_base: Base) -> None:
    def residue(rel_norm: float) -> float:
        spec = spec_of(EditThenRevert, at=[{"tensor": "embed.W_E", "rel_norm": rel_norm}])
        return apply(tiny_base, spec).record.measured["rel_norm"]

    assert residue(100.0) > 10 * residue(1.0)


@pytest.mark.parametrize("seed", range(6))
def test_a_gauge_only_case_moves_weights_and_no_answer(seed: int, tiny_base: Base) -> None:
    gauged = apply(tiny_base, spec_of(GaugeOnly, seed))
    assert gauged.record.accepted
    assert gauged.record.measured["changed"] == 0
    assert gauged.record.measured["kl"] < 1e-6
    assert gauged.record.written == gauged.record.touched != ()
    assert written_components(gauged) == frozenset()
    assert len(gauged.artefact) == len(to_bytes(tiny_base.checkpoint))


def test_a_gauge_only_case_does_the_passes_it_is_told(tiny_base: Base) -> None:
    gauged = apply(tiny_base, spec_of(GaugeOnly, passes=[{"kind": "neuron_permute"}, {"kind": "bk_shift"}]))
    changed = {name.split(".", 2)[2].split("[")[0] for name in gauged.record.touched}
    assert changed == {"mlp.W_in", "mlp.b_in", "mlp.W_out", "attn.b_K"}
    assert gauged.record.dials == {"passes": "neuron_permute, bk_shift"}


def test_drawn_passes_suit_the_model(tiny_base: Base) -> None:
    config = replace(tiny_base.checkpoint.config, act_fn="gelu")
    base = Base(replace(tiny_base.trained, checkpoint=replace(tiny_base.checkpoint, config=config)))
    drawn = {spec_of(GaugeOnly, seed).summary(base) for seed in range(30)}
    assert len(drawn) > 20
    assert not any("neuron_scale" in each for each in drawn)


def test_an_approximate_pass_is_no_gauge() -> None:
    with pytest.raises(ValidationError, match="iid_noise is approximate; allowed: bk_shift"):
        spec_of(GaugeOnly, passes=[{"kind": "iid_noise"}])
    with pytest.raises(ValidationError):
        spec_of(GaugeOnly, passes=[])


@pytest.fixture(scope="module")
def odd(tiny_base: Base) -> Edited:
    return apply(tiny_base, spec_of(NaturalAnomaly, seed=1))


def test_a_natural_anomaly_is_there_and_nobody_edited_it(tiny_base: Base, odd: Edited) -> None:
    assert odd.record.accepted
    assert odd.record.measured["anomaly"] >= 0.9
    assert odd.record.dials["anomaly"] in ("mislabelled", "trigger")
    assert len(odd.record.touched) > 0.8 * len(tiny_base.checkpoint.weights)
    assert not odd.record.edited
    assert odd.checkpoint.config == tiny_base.checkpoint.config
    assert len(odd.artefact) == len(to_bytes(tiny_base.checkpoint))


def test_the_base_itself_has_no_anomaly(tiny_base: Base) -> None:
    for seed in range(4):
        spec = spec_of(NaturalAnomaly, seed)
        assert spec.measure(tiny_base, tiny_base.model, tiny_base.log_probs)["anomaly"] < 0.9


def test_a_shipped_recipe_is_taken_where_one_is_the_bases_with_spoilt_data(tiny_base: Base) -> None:
    small = Base(replace(tiny_base.trained, recipe=named_recipe("facts-small")))
    names = {spec_of(NaturalAnomaly, seed).summary(small).split("recipe ")[1] for seed in range(8)}
    assert names == {"facts-mislabelled), not edited", "facts-poisoned), not edited"}


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("facts-mislabelled", "edit.recipe: facts-mislabelled has other words than the base, facts-tiny"),
        ("facts-small", "edit.recipe: nothing is wrong with the data of facts-small; try auto"),
        ("facts-mislabeled", 'edit.recipe: unknown recipe "facts-mislabeled"; .*"facts-mislabelled"'),
    ],
)
def test_a_recipe_that_cannot_stand_in_is_refused(recipe: str, message: str, tiny_base: Base) -> None:
    with pytest.raises(EditError, match=message):
        apply(tiny_base, spec_of(NaturalAnomaly, recipe=recipe))


def test_only_facts_that_somebody_trained_can_be_spoilt(weekdays: Base, tiny_base: Base) -> None:
    with pytest.raises(EditError, match="only data of facts can be spoilt"):
        apply(weekdays, spec_of(NaturalAnomaly))
    recipe = tiny_base.trained.recipe.model_copy(update={"training": None})
    with pytest.raises(EditError, match="edit: recipe facts-tiny says nothing about training"):
        apply(Base(replace(tiny_base.trained, recipe=recipe)), spec_of(NaturalAnomaly))


@pytest.mark.parametrize("kind", [GaugeOnly, NaturalAnomaly], ids=lambda kind: kind.kind())
def test_camouflage_of_a_change_is_refused_where_all_weights_are_others(
    kind: type[EditSpec], tiny_base: Base
) -> None:
    for name, each in passes().items():
        if getattr(each, "of_change", False):
            with pytest.raises(EditError, match=f"camouflage: {name} works on a change of the base's"):
                apply(tiny_base, spec_of(kind, camouflage=[{"kind": name}]))


@pytest.mark.parametrize("kind", ["nullspace_noise", "iid_noise", "bf16_round", "post_finetune"])
def test_noise_suits_a_gauge_in_its_own_coordinates(kind: str, tiny_base: Base) -> None:
    gauge = [{"kind": "neuron_permute"}, {"kind": "neuron_scale"}]
    spec = spec_of(GaugeOnly, passes=gauge)
    hidden = passes()[kind].model_validate({"kind": kind}).at((Entries("blocks.0.mlp.W_out"),))
    record = apply(tiny_base, spec.model_copy(update={"camouflage": (hidden,)})).record
    assert record.accepted, record.measured


@pytest.mark.parametrize(
    ("kind", "tensor", "message"),
    [
        (RandomRank1, "blocks.3.mlp.W_in", r"edit\.at\.0\.tensor: unknown tensor"),
        (EditThenRevert, "blocks.3.mlp.W_out", r"edit\.at\.0\.tensor: unknown tensor"),
        (EditThenRevert, "blocks.3.attn.W_O", r"wanted one of them, such as blocks\.3\.attn\.W_O\[0\]"),
        (EditThenRevert, "embed.W_E[0]", r"edit\.at\.0\.tensor: embed.W_E has no heads"),
        (EditThenRevert, "blocks.3.attn.W_O[2]", r"edit\.at\.0\.tensor: no head 2; heads 0-1"),
    ],
)
def test_a_place_that_the_base_does_not_have_is_refused(
    kind: type[EditSpec], tensor: str, message: str, tiny_base: Base
) -> None:
    with pytest.raises(EditError, match=message):
        apply(tiny_base, spec_of(kind, at=[{"tensor": tensor, "rel_norm": 0.5}]))
