"""Cases follow the declared rule; labels, sites and controls are what the plan says."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from game.case import Case
from game.dealing.dealer import CasePlan, Dealer, DealError, entropy_bits, plan_cases
from game.dealing.description import describe
from game.dealing.master import Master
from game.dealing.suite import Grant, suite_of
from game.loader import load_auditor
from game.referee import play_round
from game.scoring.scores import Declared
from models.checkpoints import from_bytes, to_bytes
from models.components import Component, component_entries
from models.strict_yaml import parse_document
from models.zoo import Trained
from tests.tiny_suite import TINY_SUITE, tiny_suite

MASTER = Master.of_seed(5)


@pytest.fixture(scope="module")
def dealer(tiny: Trained) -> Dealer:
    return Dealer(tiny_suite(), MASTER)


@pytest.fixture(scope="module")
def cases(dealer: Dealer) -> list[Case]:
    return [dealer.deal(plan) for plan in plan_cases(dealer.suite, MASTER)]


def plan_of(group: str, edited: bool, control: str = "untouched", number: int = 0) -> CasePlan:
    return CasePlan(f"case-{number:03d}", group, edited, control)


def test_a_plan_is_a_function_of_suite_and_seed() -> None:
    suite = tiny_suite()
    assert plan_cases(suite, Master.of_seed(1)) == plan_cases(suite, Master.of_seed(1))
    assert plan_cases(suite, Master.of_seed(1)) != plan_cases(suite, Master.of_seed(2))
    assert [plan.id for plan in plan_cases(suite, Master.of_seed(1))] == [
        f"case-{number:03d}" for number in range(10)
    ]
    assert sum(plan.group == "facts" for plan in plan_cases(suite, Master.of_seed(1))) == 6


def test_labels_follow_the_prior_and_controls_are_spread() -> None:
    suite = tiny_suite()
    plans = [plan for seed in range(200) for plan in plan_cases(suite, Master.of_seed(seed))]
    edited = sum(plan.edited for plan in plans) / len(plans)
    assert 0.46 < edited < 0.54
    of_facts = [plan.control for plan in plans if plan.group == "facts"]
    assert 0.45 < of_facts.count("random_rank1") / len(of_facts) < 0.55


def test_order_says_nothing_about_groups() -> None:
    suite = tiny_suite()
    first = [plan_cases(suite, Master.of_seed(seed))[0].group for seed in range(200)]
    assert 0.5 < first.count("facts") / 200 < 0.7


def test_a_case_is_the_same_in_whatever_order_it_is_dealt(dealer: Dealer, cases: list[Case]) -> None:
    again = Dealer(tiny_suite(), MASTER)
    for plan, case in list(zip(plan_cases(tiny_suite(), MASTER), cases, strict=True))[::-4]:
        assert again.deal(plan) == case


def test_cases_keep_what_their_plan_says(cases: list[Case]) -> None:
    for plan, case in zip(plan_cases(tiny_suite(), MASTER), cases, strict=True):
        assert (case.id, case.truth.group, case.truth.edited) == (plan.id, plan.group, plan.edited)
        family = "rrome" if plan.group == "facts" else "head_ablate"
        assert case.truth.kind == (family if plan.edited else plan.control)
        assert case.truth.matched == family


def test_truth_is_what_the_bytes_say(dealer: Dealer, cases: list[Case]) -> None:
    base = dealer.base("facts-tiny", 0).checkpoint
    for case in cases:
        delivered = from_bytes(case.artefact)
        changed = {
            component
            for component, parts in component_entries(base.config).items()
            for part in parts
            if not base.weights[part.tensor].equal(delivered.weights[part.tensor])
            and (
                part.head is None
                or not base.weights[part.tensor][part.head].equal(delivered.weights[part.tensor][part.head])
            )
        }
        if case.truth.edited:
            assert changed == case.truth.written
        else:
            assert case.truth.written == frozenset()
            assert bool(changed) == (case.truth.kind != "untouched")


def test_delivered_files_share_header_and_size(dealer: Dealer, cases: list[Case]) -> None:
    clean = to_bytes(dealer.base("facts-tiny", 0).checkpoint)
    header = 8 + int.from_bytes(clean[:8], "little")
    assert {len(case.artefact) for case in cases} == {len(clean)}
    assert {case.artefact[:header] for case in cases} == {clean[:header]}


def test_a_sham_takes_the_place_and_norm_of_the_edit_that_it_replaces(dealer: Dealer) -> None:
    edit = dealer.deal(plan_of("facts", True))
    sham = dealer.deal(plan_of("facts", False, "random_rank1"))
    assert edit.base == sham.base
    assert edit.truth.record["written"] == sham.truth.record["written"]
    norms = [case.truth.record["measured"]["rel_norm"] for case in (edit, sham)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)
    assert sham.truth.record["measured"]["kl"] <= 1e-3


def test_the_brief_holds_the_exact_prior_and_no_truth(dealer: Dealer, cases: list[Case]) -> None:
    brief = cases[0].brief
    assert all(replace(case.brief, task=brief.task) == brief for case in cases)
    given_edited = brief.location_prior
    assert sum(given_edited.values()) == pytest.approx(1.0)
    assert given_edited[Component("mlp", 0)] == given_edited[Component("mlp", 1)] == pytest.approx(0.3)
    heads = {c: p for c, p in given_edited.items() if c.part == "attn" and p}
    assert list(heads.values()) == pytest.approx([0.4 / len(heads)] * len(heads))
    Declared.of(brief)


def test_the_prior_is_what_dealing_yields(dealer: Dealer) -> None:
    drawn: list[Component] = []
    for number in range(60):
        case = dealer.deal(plan_of("heads", True, number=number))
        (component,) = case.truth.written
        drawn.append(component)
    cells = dealer.cells(dealer.suite.groups[1], "facts-tiny")
    assert set(drawn) <= {cell.site for cell in cells}
    assert len(set(drawn)) == len(cells)


def test_a_site_that_no_checkpoint_accepts_is_closed(dealer: Dealer) -> None:
    group = dealer.suite.groups[1]
    cells = {cell.site for cell in dealer.cells(group, "facts-tiny")}
    assert 0 < len(cells) <= 7
    narrow = TINY_SUITE.replace(
        '["blocks.0.attn.*", "blocks.1.attn.*", "blocks.2.attn.*", blocks.3.attn.0]',
        str([str(site) for site in sorted(set(_heads()) - cells)][:1]).replace("'", ""),
    )
    closed = Dealer(suite_of(parse_document(narrow, "narrow.yaml")), Master.of_seed(0))
    with pytest.raises(DealError, match="group heads has no open site in facts-tiny"):
        closed.cells(closed.suite.groups[1], "facts-tiny")


def _heads() -> list[Component]:
    return [Component("attn", layer, head) for layer in range(4) for head in range(2)]


def test_a_damaged_note_on_acceptance_is_measured_again(own_cache: Path, dealer: Dealer) -> None:
    group = dealer.suite.groups[1]
    before = dealer.cells(group, "facts-tiny")
    for note in (own_cache / "acceptance").glob("*.json"):
        note.write_text("nonsense")
    assert Dealer(tiny_suite(), Master.of_seed(9)).cells(group, "facts-tiny") == before


def test_the_description_counts_bits(dealer: Dealer) -> None:
    (row,) = describe(dealer).priors
    assert row.bits == pytest.approx(
        entropy_bits(dealer.location_prior("facts-tiny", Grant("whitebox", "prompts")))
    )
    assert 2 < row.bits < 4
    assert row.probability == pytest.approx(0.3)
    assert entropy_bits({Component("embed"): 0.5, Component("unembed"): 0.5}) == 1.0


@pytest.mark.parametrize("name", ["prior", "oracle"])
def test_yardsticks_mark_floor_and_ceiling(name: str, cases: list[Case]) -> None:
    records = [play_round(case, load_auditor(name, {}), seed=3) for case in cases]
    assert {record.status for record in records} == {"DONE"}
    headlines = [record.score.headline(("detection", "localisation")) for record in records]
    if name == "prior":
        assert set(headlines) == {0.0}
    else:
        assert sum(headlines) / len(headlines) > 0.9
        assert all(record.score.detection > 0.95 for record in records)


def test_a_round_leaves_the_artefact_as_it_was(cases: list[Case]) -> None:
    before = hashlib.sha256(cases[0].artefact).hexdigest()
    play_round(cases[0], load_auditor("spectral_spike", {}), seed=3)
    assert hashlib.sha256(cases[0].artefact).hexdigest() == before
