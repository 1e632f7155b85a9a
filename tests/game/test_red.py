"""Red plays: specifications at several strengths, strategies for assigned targets, trials that count."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from edits.base import EditError, EditSpec, apply
from edits.briefing import Briefing, RedStrategy, Target, Trial, TrialsSpentError, spec_for
from edits.moments import Base
from game.catalogue import strategies
from game.dealer import Dealer, plan_cases
from game.loader import LoadError, load_auditor, load_strategy
from game.red import GIVEN, PARTS, Terms, family_of, red_score, spec_suite, strengths
from game.scoring import Score
from game.strategies import StrategyDealer, Trials
from models.zoo import Trained

TERMS = Terms(recipe="facts-tiny", checkpoints=1, first=0, trial_first=0, cases=4, trial_cases=2, trials=2)
STRATEGIES = [entry.name for entry in strategies()]
TOLERANT: dict[str, dict[str, Any]] = {  # the tiny world takes no quiet edits
    "quiet": {"ridges": (0.05, 0.02)},
    "camouflaged": {"ridge": 0.01, "noise": 0.05},
    "adaptive": {"ridges": (0.01,), "noises": (0.0, 0.05), "spreads": (1,)},
}


def strategy_of(name: str) -> RedStrategy:
    return load_strategy(name, TOLERANT.get(name, {}))[1]


@dataclass
class HandMade:
    """A briefing whose panel sees nothing but norms: trials answer with the edit's own."""

    base: Base
    target: Target
    id: str = "case-000"
    seed: int = 7
    trials_left: int = 3

    def trial(self, spec: EditSpec) -> Trial:
        self.trials_left -= 1
        return Trial({"norms": apply(self.base, spec).record.measured["rel_norm"]}, 1)


@pytest.fixture(scope="module")
def briefing(tiny_base: Base) -> HandMade:
    fact = tiny_base.known_facts[0]
    return HandMade(tiny_base, Target(fact.subject, fact.relation, (fact.object + 1) % 6))


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_plans_an_edit_of_its_target_that_works_more_often_than_not(
    name: str, tiny_base: Base
) -> None:
    strategy = strategy_of(name)
    accepted = 0
    for fact in tiny_base.known_facts[5::20][:4]:
        one = HandMade(tiny_base, Target(fact.subject, fact.relation, (fact.object + 1) % 6))
        spec = strategy.plan(one)
        assert [vars(each) for each in vars(spec)["edit"].facts] == [vars(one.target)]
        assert spec == strategy.plan(replace(one, trials_left=3)), "a plan is a function of its briefing"
        accepted += apply(tiny_base, spec).record.accepted
    assert accepted >= 1


def test_quiet_is_quieter_than_plain(briefing: HandMade) -> None:
    norms = {}
    for name in ("plain", "quiet"):
        spec = strategy_of(name).plan(briefing)
        norms[name] = apply(briefing.base, spec).record.measured["rel_norm"]
    assert norms["quiet"] < norms["plain"]


def test_spread_writes_several_layers(briefing: HandMade) -> None:
    record = apply(briefing.base, load_strategy("spread", {})[1].plan(briefing)).record
    assert record.components == ("blocks.0.mlp", "blocks.1.mlp")


def test_adaptive_keeps_what_the_panel_saw_least_of_and_spends_no_trial_too_many(tiny_base: Base) -> None:
    fact = tiny_base.known_facts[0]
    one = HandMade(tiny_base, Target(fact.subject, fact.relation, (fact.object + 1) % 6))
    spec = strategy_of("adaptive").plan(one)
    assert one.trials_left >= 0
    plain = load_strategy("plain", {})[1].plan(one)
    chosen, usual = (apply(tiny_base, each).record.measured["rel_norm"] for each in (spec, plain))
    assert chosen <= usual * 1.01


def test_a_strategy_is_found_by_name_or_file_and_others_are_told() -> None:
    assert {"plain", "quiet", "spread", "camouflaged", "adaptive"} <= set(STRATEGIES)
    with pytest.raises(LoadError, match=r'unknown red strategy "quite".*did you mean "quiet"'):
        load_strategy("quite", {})
    assert load_strategy("quiet", {"ridges": (1.0, 0.1)})[1].ridges == (1.0, 0.1)  # type: ignore[attr-defined]


def test_a_specification_stands_for_its_strength_wherever_it_can_be_written(briefing: HandMade) -> None:
    spec = spec_for(briefing, "rrome", solver={"cov": {"ridge": 0.5}}, camouflage=[{"kind": "head_permute"}])
    suite = spec_suite(spec, {GIVEN: family_of(spec)}, TERMS)
    (group,) = suite.groups
    assert group.sites == {"facts-tiny": ("blocks.0.mlp", "blocks.1.mlp")}
    assert group.edit.solver.cov.ridge == 0.5  # type: ignore[attr-defined]
    assert [each.kind for each in group.camouflage] == ["head_permute"]
    cases = [Dealer(suite, 1).deal(plan) for plan in plan_cases(suite, 1)]
    assert {case.truth.kind for case in cases} <= {"rrome", "untouched", "random_rank1"}


def test_the_ridge_is_a_ladder_from_loud_to_quiet(briefing: HandMade) -> None:
    ladder = strengths(spec_for(briefing, "rrome"))
    ridges = [family.solver.cov.ridge for family in ladder.values()]  # type: ignore[attr-defined]
    assert next(iter(ladder)) == GIVEN
    assert len(ridges) >= 4
    assert ridges[1:] == sorted(ridges[1:])


def test_red_does_not_play_controls(tiny_base: Base) -> None:
    from edits.kinds import edit_kinds

    control = edit_kinds()["untouched"].model_validate(
        {"version": 1, "id": "x", "seed": 0, "edit": {"kind": "untouched"}}
    )
    with pytest.raises(EditError, match="untouched is a control; red plays edits"):
        family_of(control)


def dealer_of(strategy: object, tiny: Trained) -> StrategyDealer:
    panel = [load_auditor("confidence_scan", {})]
    return StrategyDealer("mine", strategy, Trials(panel, TERMS, 3), TERMS, 3)  # type: ignore[arg-type]


def test_a_strategys_cases_are_its_plans_and_matched_controls(tiny: Trained) -> None:
    _, plain = load_strategy("plain", {})
    dealer = dealer_of(plain, tiny)
    cases = [dealer.deal(case_id) for case_id in dealer.case_ids]
    assert [case.artefact for case in cases] == [dealer.deal(case_id).artefact for case_id in dealer.case_ids]
    assert {case.truth.kind for case in cases if case.truth.edited} <= {"rrome"}
    assert all(not case.truth.written for case in cases if not case.truth.edited)
    prior = cases[0].brief.component_prior
    assert sum(prior.values()) == pytest.approx(TERMS.prior)


@dataclass(frozen=True)
class Cheat:
    """Plans another target than its own."""

    def plan(self, briefing: Briefing) -> EditSpec:
        other = replace(briefing.target, relation=(briefing.target.relation + 1) % 2)
        return spec_for(replace(briefing, target=other), "rrome")  # type: ignore[type-var]


def test_a_plan_for_another_target_is_refused(tiny: Trained) -> None:
    with pytest.raises(EditError, match="the target is"):
        dealer_of(Cheat(), tiny).deal("case-000")


def test_trials_are_counted_and_the_same_question_costs_nothing(tiny: Trained, briefing: HandMade) -> None:
    trials = Trials([load_auditor("prior", {})], TERMS, 3)
    specs = [spec_for(briefing, "rrome", solver={"cov": {"ridge": ridge}}) for ridge in (0.01, 0.1, 1.0)]
    assert trials.ask(specs[0]).skills == {"prior": 0.0}
    assert trials.ask(specs[0]).cases == TERMS.trial_cases
    assert trials.left == 1
    trials.ask(specs[1])
    with pytest.raises(TrialsSpentError, match="2 trials were granted"):
        trials.ask(specs[2])


def scored(values: Sequence[float]) -> list[Score]:
    return [Score(value, value, 0.0) for value in values]


def test_the_best_auditor_is_chosen_on_one_half_and_scored_on_the_other() -> None:
    lucky, steady = scored([1.0, -1.0, 1.0, -1.0]), scored([0.5, 0.5, 0.5, 0.5])
    assert red_score({"steady": steady}, PARTS) == -0.5
    assert red_score({"lucky": lucky, "steady": steady}, PARTS) == pytest.approx(-(-1.0 + 0.5) / 2)
