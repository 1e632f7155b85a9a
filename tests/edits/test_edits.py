"""What the fact editor, the cut head and the controls do."""

import json
from typing import Any

import pytest

from edits.apply import apply, written_components
from edits.base import Candidate, Edited, EditError, Family
from edits.circuits.heads import HeadAblate
from edits.controls.random_rank1 import RandomRank1
from edits.facts.rome import Rrome
from edits.facts.tracing import best_token, residual_effects
from edits.kinds import control_kinds, edit_kinds, families
from edits.moments import Base
from models.checkpoints import to_bytes
from models.components import Component, Entries
from models.seeds import named_generator

SITES = {"rrome": "blocks.0.mlp", "head_ablate": "blocks.2.attn.0"}
TOLERANT = {"rrome": {"token": "subject_last"}, "head_ablate": {}}


def family(kind: str, **settings: Any) -> Family:
    return families()[kind].model_validate({"kind": kind, **TOLERANT[kind], **settings})


def drawn(base: Base, kind: str, seed: int = 1, **settings: Any) -> Edited:
    spec = family(kind, **settings).draw(base, Component.parse(SITES[kind]), "drawn", seed)
    return apply(base, spec)


def spec_of(kind: str, seed: int = 1, **edit: Any) -> Any:
    return edit_kinds()[kind].model_validate_json(
        json.dumps({"version": 1, "id": "x", "seed": seed, "edit": {"kind": kind, **edit}})
    )


def fact(subject: int, relation: int, object_new: int) -> dict[str, int]:
    return {"subject": subject, "relation": relation, "object_new": object_new}


@pytest.fixture(scope="module")
def accepted(tiny_base: Base) -> Edited:
    """The first of a few drawn fact edits that passes its gates."""
    tried = (drawn(tiny_base, "rrome", seed) for seed in range(10))
    return next(edited for edited in tried if edited.record.accepted)


@pytest.mark.parametrize("kind", control_kinds())
def test_a_control_matches_an_edit_and_is_not_one(kind: str, tiny_base: Base, accepted: Edited) -> None:
    control = apply(tiny_base, spec_of(kind, **control_kinds()[kind].matching(accepted)))
    assert not control.record.edited
    assert written_components(control) == frozenset()
    assert len(control.artefact) == len(accepted.artefact)
    assert set(control.record.measured) >= {"changed", "kl", "agree"}


def test_an_untouched_control_is_the_base_byte_for_byte(tiny_base: Base) -> None:
    untouched = apply(tiny_base, spec_of("untouched"))
    assert untouched.artefact == to_bytes(tiny_base.checkpoint)
    assert untouched.record.written == ()
    assert untouched.record.accepted


def test_a_sham_has_the_edits_site_and_norm_and_does_nothing(tiny_base: Base, accepted: Edited) -> None:
    sham = apply(tiny_base, spec_of("random_rank1", **RandomRank1.matching(accepted))).record
    assert sham.written == accepted.record.written
    assert sham.measured["rel_norm"] == pytest.approx(accepted.record.measured["rel_norm"], rel=1e-3)
    assert sham.measured["rank"] == 1
    assert sham.measured["changed"] <= 0.005
    assert sham.measured["kl"] < accepted.record.measured["kl"] / 3


def test_a_mean_ablated_head_can_be_matched_too(tiny_base: Base) -> None:
    meaned = apply(tiny_base, spec_of("head_ablate", head=[2, 0], mode="mean"))
    assert RandomRank1.matching(meaned) == {"at": ({"tensor": "blocks.2.attn.W_O[0]", "rel_norm": 1.0},)}


def test_a_sham_of_one_head_touches_that_head_only(tiny_base: Base) -> None:
    sham = apply(
        tiny_base, spec_of("random_rank1", at=[{"tensor": "blocks.2.attn.W_O[1]", "rel_norm": 1.0}])
    ).record
    assert sham.written == ("blocks.2.attn.W_O[1]",)
    assert sham.measured["rel_norm"] == pytest.approx(1.0, rel=1e-3)


def test_benign_training_moves_every_component_and_no_known_answer(tiny_base: Base) -> None:
    record = apply(tiny_base, spec_of("benign_finetune", steps=10)).record
    assert record.accepted
    assert record.measured["changed"] == 0
    assert len(record.components) == len({str(c) for c in record.components}) > 15


def test_a_fact_edit_does_what_it_says(tiny_base: Base, accepted: Edited) -> None:
    measured = accepted.record.measured
    assert measured["efficacy"] == 1.0
    assert measured["paraphrase"] >= 0.5
    assert measured["neighbourhood"] >= 0.9
    assert measured["retention"] >= 0.8
    assert measured["drop"] <= 0.02
    assert measured["rank"] == 1
    assert measured["top_energy"] == pytest.approx(1.0, abs=1e-6)
    assert measured["margin"] > 0


def test_most_fact_edits_at_the_subject_are_accepted(tiny_base: Base) -> None:
    records = [drawn(tiny_base, "rrome", seed).record for seed in range(8)]
    assert sum(record.accepted for record in records) >= 6


def test_a_higher_ridge_is_quieter(tiny_base: Base) -> None:
    def norm(ridge: float) -> float:
        solver = {"cov": {"ridge": ridge}, "value": {"kl_ladder": (1.0,)}}
        return drawn(tiny_base, "rrome", solver=solver).record.measured["rel_norm"]

    assert norm(1e-4) > 1.5 * norm(1.0)


def test_the_ladder_stops_at_the_first_value_that_passes(accepted: Edited) -> None:
    ladder = (1.0, 2.0, 4.0, 0.5)
    assert accepted.record.dials["kl"] == ladder[accepted.record.tried - 1]


def test_a_gated_model_recalls_at_the_subject(tiny_base: Base) -> None:
    effects = residual_effects(tiny_base)
    assert best_token(tiny_base) == "subject_last"
    assert effects["subject_last"][1] > 3 * effects["last"][1]
    assert effects["last"][3] > 0.5


def test_a_zeroed_head_is_zero_and_a_mean_head_keeps_its_average(tiny_base: Base) -> None:
    zeroed = apply(tiny_base, spec_of("head_ablate", head=[2, 0], mode="zero"))
    assert zeroed.checkpoint.weights["blocks.2.attn.W_O"][0].abs().max() == 0
    meaned = apply(tiny_base, spec_of("head_ablate", head=[2, 0], mode="mean"))
    assert meaned.record.components == ("blocks.2.attn.0", "blocks.2.attn.bias")
    documents = tiny_base.task.documents(600, named_generator("moments", 0)).tokens
    outputs = [
        model.run_with_cache(documents, "blocks.2.hook_attn_out")[1]["blocks.2.hook_attn_out"]
        for model in (tiny_base.model, meaned.checkpoint.model(), zeroed.checkpoint.model())
    ]
    before, after, without = (output[documents != tiny_base.task.pad].mean(0) for output in outputs)
    assert (after - before).norm() < 0.05 * (without - before).norm()
    assert tuple(gate.name for gate in zeroed.record.gates) == ("changed", "any answer")


def test_a_claim_that_does_not_hold_is_caught(tiny_base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HeadAblate, "candidates", lambda self, base: iter([_lie(base)]))
    with pytest.raises(AssertionError, match="head_ablate: claims"):
        apply(tiny_base, spec_of("head_ablate", head=[0, 0]))


def _lie(base: Base) -> Any:
    output = base.checkpoint.weights["blocks.0.attn.W_O"].clone()
    output[1, 0, 0] += 1e-6
    return Candidate({"blocks.0.attn.W_O": output}, (Entries("blocks.0.attn.W_O", 0),))


@pytest.mark.parametrize(
    ("kind", "edit", "message"),
    [
        ("head_ablate", {"head": [9, 0]}, r"got \[9, 0\]; the model has layers 0-3 and heads 0-1"),
        ("random_rank1", {"at": [{"tensor": "blocks.3.mlp.W_out", "rel_norm": 1.0}]}, "unknown tensor"),
        ("random_rank1", {"at": [{"tensor": "blocks.3.attn.W_O[7]", "rel_norm": 1.0}]}, "no head 7"),
        ("rrome", {"facts": [fact(60, 0, 0)]}, r"edit\.facts\.0\.subject: got 60; this world has 0-59"),
        ("rrome", {"facts": [fact(0, 3, 0)]}, r"edit\.facts\.0\.relation: got 3; this world has 0-2"),
        ("rrome", {"facts": [fact(0, 0, 6)]}, r"edit\.facts\.0\.object_new: got 6; this world has 0-5"),
    ],
)  # fmt: skip
def test_what_the_base_does_not_have_is_refused(
    kind: str, edit: dict[str, Any], message: str, tiny_base: Base
) -> None:
    with pytest.raises(EditError, match=message):
        apply(tiny_base, spec_of(kind, **edit))


def test_a_target_that_is_true_already_is_refused(tiny_base: Base) -> None:
    fact = tiny_base.known_facts[0]
    edit = {"subject": fact.subject, "relation": fact.relation, "object_new": fact.object}
    with pytest.raises(EditError, match=f"object_new: {fact.object} is the true object already"):
        apply(tiny_base, spec_of("rrome", facts=[edit]))


def test_a_layer_without_mlp_is_refused(tiny_base: Base) -> None:
    fact = tiny_base.known_facts[0]
    edit = {"subject": fact.subject, "relation": fact.relation, "object_new": (fact.object + 1) % 6}
    spec: Rrome = spec_of("rrome", facts=[edit])
    spec = spec.model_copy(update={"site": spec.site.model_copy(update={"tensor": "blocks.2.mlp.W_out"})})
    with pytest.raises(
        EditError, match=r"site\.tensor: blocks\.2\.mlp\.W_out does not exist; layers with an MLP: \[0, 1\]"
    ):
        apply(tiny_base, spec)


@pytest.mark.parametrize(
    ("kind", "edit"),
    [
        ("untouched", {}),
        ("random_rank1", {"at": [{"tensor": "blocks.1.mlp.W_out", "rel_norm": 0.5}]}),
        ("benign_finetune", {"steps": 5}),
    ],
)
def test_controls_hold_on_a_model_of_another_task(kind: str, edit: dict[str, Any], weekdays: Base) -> None:
    record = apply(weekdays, spec_of(kind, **edit)).record
    assert record.accepted
    assert record.measured["changed"] == 0


def test_a_fact_edit_is_refused_where_there_are_no_facts(weekdays: Base) -> None:
    with pytest.raises(EditError, match="the base's task is weekdays, which has no facts to rewrite"):
        apply(weekdays, spec_of("rrome", facts=[fact(0, 0, 0)]))


def test_moments_are_taken_over_as_many_tokens_as_asked_for(weekdays: Base) -> None:
    short = weekdays.mean("blocks.0.mlp.hook_post", tokens=3000)
    documents = weekdays.task.documents(101, named_generator("moments", 0)).tokens
    assert len(documents) * documents.shape[1] < 3000
    assert short.shape == (64,)
