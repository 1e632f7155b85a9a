"""Red plays: specifications at several strengths, strategies for assigned targets, trials that count."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import edits
from edits.apply import apply
from edits.base import EditError, EditSpec
from edits.briefing import Briefing, RedStrategy, Target, Trial, TrialsSpentError, spec_for
from edits.kinds import edit_kinds, families, load_spec
from edits.moments import Base
from game.catalogue import strategies
from game.dealing.dealer import Dealer, plan_cases
from game.dealing.master import Master
from game.loader import LoadError, load_auditor, load_strategy
from game.red.play import (
    GIVEN,
    PARTS,
    Terms,
    family_of,
    matching_controls,
    playable,
    red_score,
    spec_suite,
    strengths,
)
from game.red.strategies import Assignment, Panel, StrategyDealer
from game.scoring.scores import Score
from game.testing import RedContract
from models.bounds import Bound
from models.components import Component
from models.strict_yaml import read_document
from models.zoo import Trained

MASTER = Master.of_seed(1)

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


class TestShipped(RedContract):
    """Every one of ours, on the tiny world."""

    references = tuple(STRATEGIES)
    settings = TOLERANT


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
    suite = spec_suite(spec, {GIVEN: family_of(spec)}, {GIVEN: ("blocks.0.mlp", "blocks.1.mlp")}, TERMS)
    (group,) = suite.groups
    assert group.sites == {"facts-tiny": ("blocks.0.mlp", "blocks.1.mlp")}
    assert group.edit.solver.cov.ridge == 0.5  # type: ignore[attr-defined]
    assert [each.kind for each in group.camouflage] == ["head_permute"]
    cases = [Dealer(suite, MASTER).deal(plan) for plan in plan_cases(suite, MASTER)]
    assert {case.truth.kind for case in cases} <= {"rrome", "untouched", "random_rank1"}


def test_the_ridge_is_a_ladder_from_loud_to_quiet(briefing: HandMade) -> None:
    ladder = strengths(spec_for(briefing, "rrome"))
    ridges = [family.solver.cov.ridge for family in ladder.values()]  # type: ignore[attr-defined]
    assert next(iter(ladder)) == GIVEN
    assert len(ridges) >= 4
    assert ridges[1:] == sorted(ridges[1:])


def test_red_does_not_play_controls(tiny_base: Base) -> None:
    control = edit_kinds()["untouched"].model_validate(
        {"version": 1, "id": "x", "seed": 0, "edit": {"kind": "untouched"}}
    )
    with pytest.raises(EditError, match="untouched is a control; red plays edits"):
        family_of(control)


def dealer_of(strategy: object, tiny: Trained) -> StrategyDealer:
    panel = [load_auditor("confidence_scan", {})]
    return StrategyDealer("mine", strategy, Panel(panel, TERMS, 3), TERMS, 3)  # type: ignore[arg-type]


def test_a_strategys_cases_are_its_plans_and_matched_controls(tiny: Trained) -> None:
    plain = load_strategy("plain", {}).strategy
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


def test_trials_are_counted_and_the_same_question_has_the_same_answer(
    tiny_base: Base, briefing: HandMade
) -> None:
    panel = Panel([load_auditor("prior", {})], TERMS, 3)
    one = Assignment("case-000", 3, tiny_base, briefing.target, panel, trials_left=2)
    site = {"tensor": "blocks.0.mlp.W_out", "token": "subject_last"}
    spec = spec_for(briefing, "rrome", site=site)
    assert one.trial(spec) == one.trial(spec)
    assert panel.answer(spec).skills == {"prior": 0.0}
    assert panel.answer(spec).cases == TERMS.trial_cases
    with pytest.raises(TrialsSpentError, match="every trial that was granted is spent"):
        one.trial(spec)


@dataclass(frozen=True)
class Loosener:
    """Plans an edit that does nothing, under gates that let it."""

    def plan(self, briefing: Briefing) -> EditSpec:
        value = {"clamp": 1e-3, "kl_ladder": (1.0,)}
        spec = spec_for(briefing, "rrome", solver={"value": value})
        return spec.model_copy(update={"gates": {"efficacy": Bound(min=0.0), "paraphrase": Bound(min=0.0)}})


@dataclass(frozen=True)
class Crasher:
    """Plans nothing."""

    def plan(self, briefing: Briefing) -> EditSpec:
        raise RuntimeError("no idea")


def test_a_plan_cannot_loosen_gates_and_a_crash_is_told_in_one_line(
    tiny: Trained, briefing: HandMade
) -> None:
    spec = Loosener().plan(briefing)
    with pytest.raises(EditError, match=r"gates\.efficacy: looser than this kind's floor"):
        apply(briefing.base, spec)
    with pytest.raises(EditError, match="mine: RuntimeError: no idea"):
        dealer_of(Crasher(), tiny).deal("case-000")


@pytest.mark.parametrize(
    "path", sorted((Path(edits.__path__[0]) / "specs").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_shipped_specification_is_played_as_given_or_refused_with_a_reason(path: Path) -> None:
    spec = load_spec(read_document(path))
    if not spec.edits or families()[spec.kind()].dials is None:
        with pytest.raises(EditError, match=r"red plays edits|at its family's own strength only"):
            strengths(spec)
        return
    family = strengths(spec)[GIVEN]
    assert family.kind == spec.kind()
    for name, where in (type(family).dials or {}).items():
        value: Any = spec
        for step in where.split("."):
            value = getattr(value, step)
        played = getattr(family, name)
        assert played == (len(value) if isinstance(played, int) and isinstance(value, tuple) else value)


def test_only_controls_that_can_match_are_mixed_in(tiny_base: Base) -> None:
    swapped = families()["embed_swap"].model_validate({"kind": "embed_swap"})
    edit = apply(tiny_base, swapped.draw(tiny_base, Component("embed"), "x", 1))
    assert matching_controls(edit) == ("untouched", "edit_then_revert")


def test_a_strength_at_which_nothing_passes_has_no_site(tiny_base: Base) -> None:
    family = families()["rrome"].model_validate({"kind": "rrome", "token": "subject_last"})
    assert playable(tiny_base, family, ()) == ("blocks.0.mlp", "blocks.1.mlp")
    hopeless = family.dialled()["ridge 10"]
    assert playable(tiny_base, hopeless, ()) == ()


def scored(values: Sequence[float]) -> list[Score]:
    return [Score(value, value, 0.0) for value in values]


def test_the_best_auditor_is_chosen_on_one_half_and_scored_on_the_other() -> None:
    lucky, steady = scored([1.0, -1.0, 1.0, -1.0]), scored([0.5, 0.5, 0.5, 0.5])
    assert red_score({"steady": steady}, PARTS) == -0.5
    assert red_score({"lucky": lucky, "steady": steady}, PARTS) == pytest.approx(-(-1.0 + 0.5) / 2)
