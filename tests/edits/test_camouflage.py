"""What every camouflage pass keeps to; a new file in the folder is tested by existing."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from edits.apply import apply
from edits.base import EditError, EditSpec
from edits.camouflage.base import (
    Approximate,
    CamouflageError,
    Exact,
    OnWritten,
    Pass,
    Solved,
    blurred,
    rewritten,
)
from edits.camouflage.folder import passes
from edits.camouflage.nullspace_noise import NullspaceNoise
from edits.camouflage.prune_sv import PruneSv
from edits.camouflage.sparsify import Sparsify
from edits.camouflage.spectral_match import SpectralMatch
from edits.camouflage.subspace_decoy import SubspaceDecoy
from edits.circuits.heads import HeadAblate
from edits.controls.benign_finetune import BenignFinetune
from edits.controls.edit_then_revert import EditThenRevert
from edits.controls.random_rank1 import RandomRank1
from edits.controls.untouched import Untouched
from edits.moments import Base
from edits.reading import second_moment
from edits.truth import changed_entries
from models.checkpoints import Checkpoint, checkpoint_of, from_bytes, to_bytes
from models.components import Entries
from models.seeds import named_generator
from models.transformer import Activation, Normalization, Transformer, TransformerConfig

EXACT = sorted(kind for kind, each in passes().items() if issubclass(each, Exact))
APPROXIMATE = sorted(kind for kind, each in passes().items() if issubclass(each, Approximate))
UNDRAWN = {"ln_fold", "bv_fold", "center_writers"}  # nothing random
REFUSED: dict[str, set[object]] = {
    "neuron_scale": {"gelu"}, "ln_fold": {None}, "center_writers": {"RMS", None},
}  # fmt: skip
OUT = Entries("blocks.0.mlp.W_out")
CONTROLS: dict[type[EditSpec], dict[str, Any]] = {
    Untouched: {},
    RandomRank1: {"at": [{"tensor": str(OUT), "rel_norm": 0.5}]},
    EditThenRevert: {"at": [{"tensor": str(OUT), "rel_norm": 0.5}]},
    BenignFinetune: {"steps": 3},
}


def made(kind: str, **settings: Any) -> Pass:
    return passes()[kind].model_validate({"kind": kind, **settings})


def spec_of(kind: type[EditSpec], edit: dict[str, Any], *camouflage: Pass) -> EditSpec:
    data = {"version": 1, "id": "x", "seed": 3, "edit": {"kind": kind.kind(), **edit}}
    return kind.model_validate_json(json.dumps(data)).model_copy(update={"camouflage": camouflage})


def random_model(norm: Normalization | None, act: Activation) -> Checkpoint:
    """A model with windows, a layer without an MLP, and gains and biases that are not trivial."""
    config = TransformerConfig(
        n_layers=3, d_model=24, n_heads=3, d_head=8, d_mlp=40, d_vocab=30, n_ctx=12, window=(2, None, 3),
        mlp=(True, False, True), act_fn=act, normalization_type=norm,
    )  # fmt: skip
    generator = named_generator("random model", 0)
    model = Transformer(config, generator)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".W_" not in name:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return checkpoint_of(model)


def through(each: Pass, before: Checkpoint, seed: int = 8) -> Checkpoint:
    """A model after an exact pass, as its file loads."""
    weights = rewritten(before.weights, before.config, (each,), seed)
    return from_bytes(to_bytes(Checkpoint(before.config, dict(weights))))


def furthest(each: Exact, before: Checkpoint, after: Checkpoint, tokens: Tensor) -> float:
    """The largest difference between two models' logits, or log-probabilities where only these stay."""
    old, new = before.model()(tokens).double(), after.model()(tokens).double()
    if not each.keeps_logits:
        old, new = old.log_softmax(-1), new.log_softmax(-1)
    return float((new - old).abs().max())


@pytest.mark.parametrize("act", ["relu", "gelu"])
@pytest.mark.parametrize("norm", ["LN", "RMS", None])
@pytest.mark.parametrize("kind", EXACT)
def test_an_exact_pass_changes_weights_and_no_answer_or_refuses(
    kind: str, norm: Normalization | None, act: Activation
) -> None:
    before, each = random_model(norm, act), made(kind)
    assert isinstance(each, Exact)
    if {norm, act} & REFUSED.get(kind, set()):
        with pytest.raises(CamouflageError, match=f"{kind}: "):
            each.check(before.config)
        return
    each.check(before.config)
    tokens = torch.randint(0, 30, (40, 12), generator=named_generator("strings", 0))
    after = through(each, before)
    assert after.hash != before.hash
    assert furthest(each, before, after, tokens) < 1e-4


@pytest.mark.parametrize("kind", EXACT)
def test_an_exact_pass_changes_no_answer_of_a_trained_model(kind: str, tiny_base: Base) -> None:
    each = made(kind)
    assert isinstance(each, Exact)
    after = through(each, tiny_base.checkpoint)
    vocabulary, documents = len(tiny_base.task.vocabulary), tiny_base.task.documents
    strings = torch.randint(0, vocabulary, (32, 24), generator=named_generator("strings", 0))
    for tokens in (tiny_base.table.tokens, documents(128, named_generator("documents", 0)).tokens, strings):
        assert furthest(each, tiny_base.checkpoint, after, tokens) < 1e-4


@pytest.mark.parametrize("kind", EXACT)
def test_an_exact_pass_is_pure_and_its_draws_are_the_seeds(kind: str) -> None:
    before = random_model("LN", "relu")
    hashed, rng = to_bytes(before), torch.get_rng_state()
    one, two, other = (through(made(kind), before, seed).hash for seed in (8, 8, 9))
    assert one == two
    assert (one == other) == (kind in UNDRAWN)
    assert to_bytes(before) == hashed, "what came in stays as it was"
    assert torch.equal(torch.get_rng_state(), rng), "no draw is anybody else's"


@pytest.mark.parametrize("kind", [kind for kind in EXACT if "kappa" in passes()[kind].model_fields])
def test_a_gauge_is_conditioned_as_asked_for(kind: str) -> None:
    before, after = random_model("LN", "relu"), through(made(kind), random_model("LN", "relu"))
    ratios = []
    for name, old in before.weights.items():
        if ".W_" in name:
            ratio = torch.linalg.svdvals(after.weights[name]) / torch.linalg.svdvals(old)
            ratios += [ratio.min().item(), ratio.max().item()]
    assert 1.2 < max(ratios) <= 10**0.5 + 1e-3
    assert 10**-0.5 - 1e-3 <= min(ratios) < 0.8
    with pytest.raises(ValidationError):
        made(kind, kappa=11.0)


@pytest.mark.parametrize(
    "name", ["blocks.0.mlp.W_out", "blocks.2.mlp.W_in", "blocks.1.attn.W_O[1]", "blocks.1.attn.W_Q[2]"]
)
@pytest.mark.parametrize("kind", EXACT)
def test_what_an_edit_spared_stays_the_same_byte_for_byte(kind: str, name: str) -> None:
    before, entries = random_model("LN", "relu"), Entries.parse(name)
    weights = {**before.weights, entries.tensor: before.weights[entries.tensor].clone()}
    entries.of(weights).mul_(1.5)
    reference, plain = (
        through(made(kind), each) for each in (before, replace(before, weights=weights))
    )  # fmt: skip
    changed = changed_entries(reference, plain)
    matrices = [each for each in changed if each.of(plain.weights).ndim == 2]
    assert len(matrices) == 1
    assert matrices[0].tensor == entries.tensor
    assert len(changed) - 1 <= {"ln_fold": 1, "residual_rotate": 1, "bv_fold": 1}.get(kind, 0), "a bias apart"


@pytest.mark.parametrize("tensor", [str(OUT), "blocks.1.attn.W_V[1]"])
@pytest.mark.parametrize("kind", EXACT)
def test_the_truth_of_a_rank_one_change_follows_an_exact_pass(
    kind: str, tensor: str, tiny_base: Base
) -> None:
    hidden = apply(tiny_base, spec_of(RandomRank1, {"at": [{"tensor": tensor, "rel_norm": 0.5}]}, made(kind)))
    (name,) = hidden.record.written
    (direction,) = hidden.record.fine.directions
    assert name.split("[")[0] == tensor.split("[")[0]
    assert direction.tensor == name
    entries = Entries.parse(name)
    change = entries.of(hidden.checkpoint.weights) - entries.of(hidden.reference.weights)
    claimed = torch.outer(torch.tensor(direction.left), torch.tensor(direction.right))
    assert (change * claimed).sum() == pytest.approx(change.norm().item(), rel=1e-3)


def test_all_exact_passes_compose(tiny_base: Base) -> None:
    every = tuple(made(kind) for kind in EXACT)
    plain = apply(tiny_base, spec_of(HeadAblate, {"head": [2, 1]}))
    hidden = apply(tiny_base, spec_of(HeadAblate, {"head": [2, 1]}, *every))
    assert hidden.record.measured["changed"] == plain.record.measured["changed"]
    (written,) = hidden.record.written
    assert written.startswith("blocks.2.attn.W_O[")
    assert not Entries.parse(written).of(hidden.checkpoint.weights).any()
    tokens = tiny_base.table.tokens
    log_probs = [each.checkpoint.model()(tokens).log_softmax(-1) for each in (plain, hidden)]
    assert (log_probs[0] - log_probs[1]).abs().max() < 1e-4


def test_a_change_of_a_value_bias_cannot_hide_behind_its_folding() -> None:
    before = random_model("LN", "relu")
    weights = {**before.weights, "blocks.0.attn.b_V": before.weights["blocks.0.attn.b_V"] + 1}
    reference, plain = (through(made("bv_fold"), each) for each in (before, replace(before, weights=weights)))
    assert changed_entries(reference, plain) == (Entries("blocks.0.attn.b_O"),)


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_an_approximate_pass_is_pure_and_touches_what_it_should(kind: str, tiny_base: Base) -> None:
    spec = spec_of(RandomRank1, {"at": [{"tensor": str(OUT), "rel_norm": 0.5}]}, made(kind))
    hashed, rng = to_bytes(tiny_base.checkpoint), torch.get_rng_state()
    one, two = apply(tiny_base, spec), apply(Base(tiny_base.trained), spec)
    assert one.artefact == two.artefact
    assert one.record == two.record
    assert to_bytes(tiny_base.checkpoint) == hashed, "the base stays as it was"
    assert torch.equal(torch.get_rng_state(), rng), "no draw is anybody else's"
    assert one.record.written == (str(OUT),), "the truth is the edit's, not the camouflage's"
    if isinstance(made(kind), OnWritten):
        assert one.record.touched == (str(OUT),)


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.kind())
@pytest.mark.parametrize("kind", APPROXIMATE)
def test_an_approximate_pass_suits_a_control_as_it_suits_an_edit(
    kind: str, control: type[EditSpec], tiny_base: Base
) -> None:
    each = made(kind).at((OUT,))
    hidden = apply(tiny_base, spec_of(control, CONTROLS[control], each))
    assert hidden.record.measured["agree"] >= 0.99
    assert hidden.record.measured["kl"] < 0.01
    assert len(hidden.artefact) == len(to_bytes(tiny_base.checkpoint))


@pytest.mark.parametrize("kind", sorted(passes()))
def test_a_hidden_file_has_the_size_and_the_header_of_any_other(kind: str, tiny_base: Base) -> None:
    hidden = apply(tiny_base, spec_of(HeadAblate, {"head": [2, 1]}, made(kind))).artefact
    plain = to_bytes(tiny_base.checkpoint)
    header = 8 + int.from_bytes(plain[:8], "little")
    assert hidden[:header] == plain[:header]
    assert len(hidden) == len(plain)


def solved(base: Base, change: Tensor, entries: Entries = OUT) -> Solved:
    """A model with a change of one matrix."""
    weights = {**base.checkpoint.weights, entries.tensor: base.checkpoint.weights[entries.tensor].clone()}
    entries.of(weights).add_(change)
    return Solved(base, weights, (entries,))


def after(on_its_way: Solved, each: Pass) -> Tensor:
    """The change of `OUT` after an approximate pass, float64."""
    weights = blurred(on_its_way, (each,), 3)
    return replace(on_its_way, weights=weights).change(OUT)


def rank_one(base: Base, rel_norm: float = 0.6) -> tuple[Tensor, Tensor, Tensor]:
    """A change that reads a real key, its read direction, and the second moment of keys."""
    moment = second_moment(base, OUT)
    keys = base.model.run_with_cache(base.table.tokens, "blocks.0.mlp.hook_post")[1]["blocks.0.mlp.hook_post"]
    key = keys[7, base.table.last[7]].double()
    eye = torch.eye(len(moment), dtype=torch.float64)
    read = torch.linalg.solve(moment + 1e-2 * moment.diagonal().mean() * eye, key)
    write = torch.randn(
        base.checkpoint.config.d_model, dtype=torch.float64, generator=named_generator("write")
    )
    change = torch.outer(read / read.norm(), write / write.norm())
    return change * rel_norm * OUT.of(base.checkpoint.weights).norm(), key, moment


def energy(change: Tensor, moment: Tensor) -> float:
    """Mean square of what a change adds, over sampled activations."""
    return torch.trace(change.T @ moment @ change).item()


def test_nullspace_noise_is_loud_in_weights_and_quiet_in_outputs(tiny_base: Base) -> None:
    unchanged, moment = solved(tiny_base, torch.zeros(1)), second_moment(tiny_base, OUT)
    quiet = after(unchanged, NullspaceNoise(kind="nullspace_noise", rel_norm=0.5))
    dense = after(unchanged, made("iid_noise", rel_norm=0.5))
    assert quiet.norm() == pytest.approx(dense.norm().item(), rel=1e-3)
    assert energy(quiet, moment) < 0.02 * energy(dense, moment)


def test_a_decoy_serves_the_same_key_and_reads_another(tiny_base: Base) -> None:
    change, key, moment = rank_one(tiny_base)
    hidden = after(solved(tiny_base, change.float()), SubspaceDecoy(kind="subspace_decoy", strength=1.0))
    assert torch.allclose(key @ hidden, key @ change, rtol=1e-2, atol=1e-3 * (key @ change).norm().item())
    sigma = torch.linalg.svdvals(hidden)
    assert sigma[1] < 1e-3 * sigma[0]
    cosine = (hidden * change).sum() / hidden.norm() / change.norm()
    assert cosine < 0.95
    assert energy(hidden, moment) > energy(change, moment)


def test_a_sparse_change_does_what_the_dense_one_did(tiny_base: Base) -> None:
    change, _, moment = rank_one(tiny_base)
    hidden = after(solved(tiny_base, change.float()), Sparsify(kind="sparsify", keep=0.5))
    assert (hidden != 0).double().mean() <= 0.51
    masked = torch.where(hidden != 0, change, 0.0)
    assert energy(hidden - change, moment) < 0.2 * energy(masked - change, moment)


def test_a_pruned_change_keeps_its_direction_below_the_cap(tiny_base: Base) -> None:
    change, _, _ = rank_one(tiny_base)
    hidden = after(solved(tiny_base, change.float()), PruneSv(kind="prune_sv", cap=0.5))
    largest = torch.linalg.svdvals(OUT.of(tiny_base.checkpoint.weights).double())[0]
    assert torch.linalg.svdvals(hidden)[0] == pytest.approx(0.5 * largest.item(), rel=1e-4)
    assert (hidden * change).sum() == pytest.approx((hidden.norm() * change.norm()).item(), rel=1e-4)


def test_a_matched_spectrum_is_the_bases(tiny_base: Base) -> None:
    change, _, _ = rank_one(tiny_base)
    matrix = OUT.of(tiny_base.checkpoint.weights).double()
    hidden = after(solved(tiny_base, change.float()), SpectralMatch(kind="spectral_match", strength=1.0))
    assert torch.allclose(torch.linalg.svdvals(matrix + hidden), torch.linalg.svdvals(matrix), rtol=1e-4)
    half = after(solved(tiny_base, change.float()), SpectralMatch(kind="spectral_match", strength=0.5))
    top, clean = (torch.linalg.svdvals(each)[0] for each in (matrix + change, matrix))
    assert torch.linalg.svdvals(matrix + half)[0] == pytest.approx((top * clean).sqrt().item(), rel=1e-4)


def test_passes_over_a_change_leave_an_unchanged_matrix_alone(tiny_base: Base) -> None:
    unchanged = solved(tiny_base, torch.zeros(1))
    for kind in APPROXIMATE:
        if passes()[kind].of_change:  # type: ignore[attr-defined]
            assert not after(unchanged, made(kind)).any(), kind


def test_rounding_leaves_every_weight_in_half_precision(tiny_base: Base) -> None:
    hidden = apply(tiny_base, spec_of(Untouched, {}, made("bf16_round")))
    for name, weight in hidden.checkpoint.weights.items():
        assert torch.equal(weight, weight.bfloat16().float()), name


def test_further_training_needs_a_recipe_that_trains(tiny_base: Base) -> None:
    recipe = tiny_base.trained.recipe.model_copy(update={"training": None})
    untrained = Base(replace(tiny_base.trained, recipe=recipe))
    with pytest.raises(
        EditError, match="camouflage: post_finetune: recipe facts-tiny says nothing about training"
    ):
        apply(untrained, spec_of(Untouched, {}, made("post_finetune")))


@pytest.mark.parametrize(
    ("kind", "tensors", "message"),
    [
        ("nullspace_noise", ("embed.W_E",), "nullspace_noise: embed.W_E reads no activation"),
        ("sparsify", ("blocks.0.ln1.w",), "sparsify: no matrix among blocks.0.ln1.w"),
        ("prune_sv", ("blocks.9.mlp.W_out",), "unknown tensor"),
        ("iid_noise", "written", "iid_noise: the case writes nothing; name the tensors"),
    ],
)
def test_a_pass_says_where_it_cannot_go(kind: str, tensors: Any, message: str, tiny_base: Base) -> None:
    with pytest.raises(EditError, match=message):
        apply(tiny_base, spec_of(Untouched, {}, made(kind, tensors=tensors)))


def test_every_kind_of_pass_says_whether_it_is_exact() -> None:
    for kind, each in passes().items():
        assert (each.__doc__ or "").startswith("Exact" if each.exact else "Approximate: "), kind
