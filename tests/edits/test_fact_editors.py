"""What each editor of facts does, and what they share."""

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from edits.apply import apply
from edits.base import Edited, EditError
from edits.circuits.heads import HeadAblate
from edits.controls.noop_fact import NoopFact
from edits.facts.alphaedit import Alphaedit
from edits.facts.erase import FactErase
from edits.facts.family import FactFamily
from edits.facts.finetune import FtL
from edits.facts.lora import Lora
from edits.facts.memit import Memit
from edits.facts.memory import MemorySpec, Writing
from edits.facts.rome import Rome, RomeNocov, Rrome
from edits.facts.spec import FactSpec, FactTarget, random_targets
from edits.facts.value import Rows, row_loss
from edits.moments import Base
from models.checkpoints import Checkpoint
from models.components import Component
from models.seeds import named_generator

KINDS = (Rome, Rrome, RomeNocov, Memit, Alphaedit, FtL, Lora, FactErase)
REWRITERS = KINDS[:-1]
LAST = "blocks.1.mlp.W_out"


def family_of(kind: type[FactSpec], **settings: Any) -> FactFamily:
    family = next(each for each in FactFamily.__subclasses__() if each.makes is kind)
    return family.model_validate_json(json.dumps({"kind": kind.kind(), "token": "subject_last", **settings}))


def drawn(base: Base, kind: type[FactSpec], seed: int = 0, layer: int = 0, **settings: Any) -> FactSpec:
    return family_of(kind, **settings).draw(base, Component("mlp", layer), "drawn", seed)


def targets(base: Base, count: int, seed: int = 0) -> list[dict[str, int]]:
    found = random_targets(base, count, named_generator("targets", seed))
    return [target.model_dump() for target in found]


def spec_of(kind: type[Any], edit: dict[str, Any], **blocks: Any) -> Any:
    document = {"version": 1, "id": "x", "seed": 1, "edit": {"kind": kind.kind(), **edit}, **blocks}
    return kind.model_validate_json(json.dumps(document))


def change_of(base: Base, edited: Edited, name: str) -> Tensor:
    return edited.checkpoint.weights[name].double() - base.checkpoint.weights[name].double()


def writing(facts: int = 1, width: int = 12, earlier: int = 0) -> Writing:
    """Random keys and values over keys of an uneven second moment."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    documents = drawn(400, width) * torch.logspace(0, -2, width, dtype=torch.float64)
    keys = drawn(facts, width)
    moment = documents.T @ documents / len(documents)
    return Writing(keys, keys + 0.1 * drawn(facts, width), drawn(facts, 5), drawn(earlier, width), moment)


def of(kind: type[MemorySpec], **solver: Any) -> MemorySpec:
    edit = {"facts": [{"subject": 0, "relation": 0, "object_new": 1}]}
    spec: MemorySpec = spec_of(kind, edit, solver=solver)
    return spec


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind())
def test_some_of_three_drawn_edits_pass_and_do_what_they_say(kind: type[FactSpec], tiny_base: Base) -> None:
    tried = [apply(tiny_base, drawn(tiny_base, kind, seed)) for seed in range(3)]
    records = [edited.record for edited in tried if edited.record.accepted]
    assert records, [edited.record.gates for edited in tried]
    for record in records:
        assert record.measured["efficacy"] == 1.0
        assert record.components == ("blocks.0.mlp",)
        assert record.dials["token"] == "subject_last"


@pytest.mark.parametrize("kind", [Rome, Rrome, RomeNocov])
def test_a_rank_one_editor_meets_its_value_on_its_key(kind: type[MemorySpec]) -> None:
    asked = writing()
    change = of(kind).update(asked)
    key = asked.bare if kind is Rome else asked.keys
    assert (key @ change - asked.values).abs().max() < 1e-9
    assert torch.linalg.matrix_rank(change) == 1


def test_without_covariance_other_keys_are_hurt_more() -> None:
    asked = writing()

    def hurt(kind: type[MemorySpec]) -> float:
        change = of(kind).update(asked)
        return float((change.T @ asked.moment @ change).trace())

    assert hurt(RomeNocov) > 5 * hurt(Rrome)


def test_memit_reaches_the_share_of_a_value_that_its_lambda_leaves() -> None:
    asked = writing()
    for weight in (0.01, 1.0):
        reached = asked.keys @ of(Memit, lambda_rel=weight).update(asked)
        assert (reached - asked.values / (1 + weight)).abs().max() < 1e-6


def test_alphaedit_reads_only_what_other_keys_hardly_use() -> None:
    asked = writing()
    spec = of(Alphaedit, null_mass=0.03, l2_rel=0.01)
    change = spec.update(asked)
    assert (change.T @ asked.moment @ change).trace() < 0.03 * asked.moment.trace() * change.norm() ** 2
    assert (asked.keys @ change - asked.values / 1.01).abs().max() < 1e-9


def test_alphaedit_spares_the_keys_of_earlier_edits() -> None:
    asked = writing(facts=1, earlier=2)
    forgetful = Writing(asked.keys, asked.bare, asked.values, asked.earlier[:0], asked.moment)
    spec = of(Alphaedit, null_mass=0.2, l2_rel=0.01)
    spared, hurt = (float((asked.earlier @ spec.update(each)).norm()) for each in (asked, forgetful))
    assert spared < 0.2 * hurt


@pytest.mark.parametrize("kind", [Rome, Rrome, RomeNocov, Memit, Alphaedit])
def test_a_dead_key_is_refused(kind: type[MemorySpec]) -> None:
    asked = writing()
    dead = Writing(0 * asked.keys, 0 * asked.bare, asked.values, asked.earlier, asked.moment)
    with pytest.raises(ValueError, match="dead key"):
        of(kind).update(dead)


def test_mixed_keys_that_hardly_meet_are_refused() -> None:
    asked = writing()
    direction = torch.linalg.solve(asked.ridged(1e-2), asked.keys[0])
    apart = asked.bare - (asked.bare @ direction)[:, None] * direction / (direction @ direction)
    with pytest.raises(ValueError, match="use rrome"):
        of(Rome).update(Writing(asked.keys, apart, asked.values, asked.earlier, asked.moment))


def test_a_layer_whose_keys_are_all_zero_is_refused(tiny_base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Base, "second_moment", lambda self, hook, tokens: torch.zeros(128, 128).double())
    with pytest.raises(EditError, match=r"W_out cannot be solved for: its keys are zero"):
        apply(tiny_base, drawn(tiny_base, Rrome))


def test_a_world_with_too_few_sentences_is_refused(tiny_base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    def contexts(*_: Any) -> Tensor:
        raise ValueError("contexts: of 64 sentences, only 3 name neither")

    monkeypatch.setattr(tiny_base.facts, "contexts", contexts)
    with pytest.raises(EditError, match="prefixes: got 8; contexts: of 64 sentences"):
        apply(tiny_base, drawn(tiny_base, Rrome))


@pytest.mark.parametrize("kind", [Rrome, Memit, Alphaedit])
def test_three_facts_are_all_answered_anew(kind: type[FactSpec], tiny_base: Base) -> None:
    spec = drawn(tiny_base, kind, seed=2, facts=3)
    assert len({fact.subject for fact in spec.edit.facts}) == 3
    edited = apply(tiny_base, spec)
    assert edited.record.measured["efficacy"] == 1.0
    assert edited.record.measured["rank"] == 3
    assert edited.record.dials["facts"] == 3


def test_facts_one_after_another_are_solved_on_the_model_so_far(tiny_base: Base) -> None:
    both = targets(tiny_base, 2)
    solver = {"value": {"kl_ladder": [1.0]}}
    site = {"tensor": "blocks.0.mlp.W_out", "token": "subject_last"}
    one, two = (
        apply(tiny_base, spec_of(Rrome, {"facts": facts}, site=site, solver=solver))
        for facts in (both[:1], both)
    )
    first, together = (change_of(tiny_base, each, "blocks.0.mlp.W_out") for each in (one, two))
    second = together - first
    assert torch.linalg.svdvals(second)[1] < 1e-4 * torch.linalg.svdvals(second)[0]


@pytest.mark.parametrize("kind", [Rrome, Memit, Alphaedit, FtL, Lora])
def test_a_spread_edit_writes_every_layer_that_it_says(kind: type[FactSpec], tiny_base: Base) -> None:
    family = family_of(kind, solver={"spread": 2})
    assert [str(site) for site in family.open_sites(tiny_base.checkpoint.config)] == ["blocks.1.mlp"]
    record = apply(tiny_base, drawn(tiny_base, kind, layer=1, solver={"spread": 2})).record
    assert record.written == ("blocks.0.mlp.W_out", LAST)
    assert {Component.parse(name) for name in record.components} == family.writes(Component("mlp", 1))


def test_spread_layers_together_bring_about_the_whole_value(tiny_base: Base) -> None:
    def final_shift(spread: int) -> Tensor:
        solver = {"spread": spread, "key": "bare", "value": {"kl_ladder": [1.0]}}
        spec = drawn(tiny_base, Rrome, layer=1, solver=solver)
        (fact,), table = spec.facts(tiny_base), tiny_base.facts.table
        row = int((table.of(fact) & (table.phrasing == 0)).nonzero())
        hook = "blocks.1.hook_resid_post"
        after = apply(tiny_base, spec).checkpoint.model()
        runs = [
            model.run_with_cache(table.tokens[[row]], hook)[1][hook] for model in (tiny_base.model, after)
        ]
        return (runs[1] - runs[0])[0, table.subject_last[row]]

    whole, split = final_shift(1), final_shift(2)
    assert (split - whole).norm() < 0.35 * whole.norm()


def test_a_spread_that_the_model_has_no_layers_for_is_refused(tiny_base: Base) -> None:
    edit = {"facts": targets(tiny_base, 1)}
    with pytest.raises(EditError, match=r"solver\.spread: got 3"):
        apply(tiny_base, spec_of(Rrome, edit, solver={"spread": 3}))
    site = {"tensor": "blocks.0.mlp.W_out"}
    with pytest.raises(EditError, match=r"layers at which 2 MLPs in a row end: \[1\]"):
        apply(tiny_base, spec_of(Rrome, edit, site=site, solver={"spread": 2}))


def test_two_facts_of_one_subject_do_not_fit_in_one_batch(tiny_base: Base) -> None:
    subject = next(
        fact.subject
        for fact in tiny_base.known_facts
        if sum(other.subject == fact.subject for other in tiny_base.known_facts) == 3
    )
    objects = tiny_base.facts.objects
    facts = [
        {"subject": subject, "relation": r, "object_new": (int(objects[subject, r]) + 1) % 6} for r in (0, 1)
    ]
    site = {"tensor": LAST, "token": "subject_last"}
    with pytest.raises(EditError, match=f"subject {subject} is named twice in one batch"):
        apply(tiny_base, spec_of(Memit, {"facts": facts}, site=site))
    for kind, solver in ((Memit, {"batch": 1}), (Rrome, {})):
        record = apply(tiny_base, spec_of(kind, {"facts": facts}, site=site, solver=solver)).record
        assert record.measured["efficacy"] == 1.0


def test_gates_that_nothing_can_pass_are_refused(tiny_base: Base) -> None:
    edit = {"facts": targets(tiny_base, 1)}
    with pytest.raises(EditError, match=r"gates\.efficacy: got at least 1\.5, but a share lies between"):
        apply(tiny_base, spec_of(Rrome, edit, gates={"efficacy": {"min": 1.5}}))


def test_measures_are_averaged_over_facts_and_drop_spares_every_edited_subject(tiny_base: Base) -> None:
    edit = {"facts": targets(tiny_base, 2)}
    spec: Rrome = spec_of(Rrome, edit)
    log_probs = tiny_base.log_probs.clone()
    first, second = spec.goals(tiny_base)
    log_probs[tiny_base.facts.table.of(first.fact), first.wanted] = 0.0
    measured = spec.measure(tiny_base, tiny_base.model, log_probs)
    assert measured["efficacy"] == measured["paraphrase"] == 0.5
    assert measured["retention"] == measured["neighbourhood"] == 1.0
    outside = spec.predicate(tiny_base).outside
    people = set(tiny_base.facts.table.subject[outside].tolist())
    assert people == set(range(60)) - {first.fact.subject, second.fact.subject}


def test_a_family_wants_no_more_facts_than_there_are_people(tiny_base: Base) -> None:
    with pytest.raises(EditError, match=r"facts: got 64; this base knows facts of \d+ subjects"):
        drawn(tiny_base, Memit, facts=64)


def test_the_loss_is_zero_where_wanted_answers_are_equally_likely() -> None:
    wanted = torch.tensor([1, 3])
    rows = Rows(torch.zeros(2, 1), torch.zeros(2), torch.zeros(2), 1, wanted)
    log_probs = torch.full((2, 4), -1e4)
    log_probs[:, wanted] = torch.tensor(0.5).log()
    assert row_loss(log_probs, log_probs, rows, 1.0).item() == pytest.approx(0.0, abs=1e-6)
    one = Rows(rows.tokens, rows.last, rows.site, 1, wanted[:1])
    assert row_loss(log_probs, log_probs, one, 1.0).item() == pytest.approx(torch.tensor(2.0).log().item())


def test_bounded_training_keeps_every_entry_near_its_old_value(tiny_base: Base) -> None:
    edited = apply(tiny_base, drawn(tiny_base, FtL, solver={"linf_ladder": [0.05]}))
    before = tiny_base.checkpoint.weights["blocks.0.mlp.W_out"]
    moved = change_of(tiny_base, edited, "blocks.0.mlp.W_out").abs().max()
    assert 0 < moved <= 0.05 * before.std() * 1.001
    assert edited.record.measured["rank"] > 8


def test_a_merged_adapter_has_its_rank(tiny_base: Base) -> None:
    solver = {"matrices": ["W_in", "W_out"], "rank": 3, "kl_ladder": [1.0]}
    record = apply(tiny_base, drawn(tiny_base, Lora, solver=solver)).record
    assert record.written == ("blocks.0.mlp.W_in", "blocks.0.mlp.W_out")
    assert record.measured["rank"] == 3


def test_an_erased_fact_is_as_likely_as_a_guess(tiny_base: Base) -> None:
    edited = next(
        edited
        for seed in range(5)
        if (edited := apply(tiny_base, drawn(tiny_base, FactErase, seed))).record.accepted
    )
    assert edited.record.measured["recall"] <= 1.5
    assert edited.record.measured["retention"] >= 0.8
    assert edited.record.behaviour.endswith(" erased")


def test_an_erased_fact_takes_no_new_object(tiny_base: Base) -> None:
    with pytest.raises(ValueError, match="object_new"):
        spec_of(FactErase, {"facts": targets(tiny_base, 1)})


@pytest.mark.parametrize(("layer", "spread"), [(0, 1), (1, 2)])
def test_a_fact_written_once_more_has_the_site_and_norm_of_an_edit(
    layer: int, spread: int, tiny_base: Base
) -> None:
    edited = apply(tiny_base, drawn(tiny_base, Rrome, layer=layer, solver={"spread": spread}))
    record = apply(tiny_base, spec_of(NoopFact, NoopFact.matching(edited))).record
    assert record.accepted
    assert record.measured["changed"] == 0.0
    assert not record.edited
    assert record.written == edited.record.written
    assert record.dials["token"] == "subject_last"
    assert record.measured["rel_norm"] == pytest.approx(edited.record.measured["rel_norm"], rel=1e-3)


def test_a_fact_is_written_once_more_only_with_its_true_object(tiny_base: Base) -> None:
    fact = tiny_base.known_facts[0]
    true = FactTarget(subject=fact.subject, relation=fact.relation, object_new=fact.object).model_dump()
    site = {"tensor": LAST, "token": "subject_last"}
    spec = spec_of(NoopFact, {"facts": [true], "site": site})
    assert apply(tiny_base, spec).record.measured["agree"] > 0.99
    with pytest.raises(EditError, match=f"noop_fact wants the true one, {fact.object}"):
        apply(tiny_base, spec_of(NoopFact, {"facts": [{**true, "object_new": (fact.object + 1) % 6}]}))


def test_a_fact_written_once_more_cannot_stand_in_for_a_cut_head(tiny_base: Base) -> None:
    cut = apply(tiny_base, spec_of(HeadAblate, {"head": [2, 0]}))
    with pytest.raises(EditError, match="noop_fact: head_ablate is no edit of facts in MLPs"):
        NoopFact.matching(cut)


def test_an_automatic_layer_is_one_that_takes_edits(tiny_base: Base) -> None:
    edit, site = {"facts": targets(tiny_base, 1)}, {"tensor": "auto", "token": "auto"}
    record = apply(tiny_base, spec_of(Rrome, edit, site=site)).record
    assert record.dials["token"] == "subject_last"
    assert record.dials["layer"] in (0, 1)


def test_no_editor_writes_to_the_base(tiny_base: Base) -> None:
    before = {name: weight.clone() for name, weight in tiny_base.checkpoint.weights.items()}
    for kind in KINDS:
        apply(tiny_base, drawn(tiny_base, kind, layer=1))
    after = Checkpoint(tiny_base.checkpoint.config, tiny_base.checkpoint.weights).weights
    assert all(torch.equal(before[name], after[name]) for name in before)
