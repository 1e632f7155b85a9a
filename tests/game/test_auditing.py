"""Evidence becomes probabilities by fitted weights, with the brief's prior."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from game.api import Component
from game.auditing.belief import Belief, Fit, FitError, Weight
from game.auditing.evidence import Evidence
from tests.game.hand_made import HEAD, MLP, brief

BELIEF = Belief(0.0, {"spike": Weight(0.0, 1.0, 1.0)}, {"kl": Weight(1.0, 2.0, 0.5)})


def test_evidence_that_says_nothing_leaves_the_prior() -> None:
    asked = brief()
    for evidence in (Evidence(), Evidence({MLP: {"spike": 0.0}}), Evidence(whole={"kl": 1.0})):
        report = BELIEF.report(asked, evidence)
        assert report.p_edited == pytest.approx(asked.prior)
        for component, p in report.components.items():
            assert p == pytest.approx(asked.component_prior[component])


def test_log_odds_add_up_and_a_far_number_says_no_more_than_four_deviations() -> None:
    asked = brief()
    place = asked.location_prior[MLP] / sum(asked.location_prior.values())

    def odds(value: float) -> float:
        p = BELIEF.report(asked, Evidence({MLP: {"spike": value}})).p_edited
        return math.log(p / (1 - p)) - math.log(asked.prior / (1 - asked.prior))

    assert odds(2.0) == pytest.approx(math.log(place * math.exp(2.0) + 1 - place))
    assert odds(4.0) == odds(1e9)
    report = BELIEF.report(asked, Evidence({MLP: {"spike": 2.0, "unknown": 9.0}}, {"kl": 3.0}))
    assert report.components[MLP] > asked.component_prior[MLP] > report.components[HEAD] * 0.999


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_says_nothing(value: float) -> None:
    read, not_read = (Evidence({MLP: {"spike": 1.0, **more}}) for more in ({"odd": value}, {}))
    belief = replace(BELIEF, places={**BELIEF.places, "odd": Weight(weight=2.0, given=1.0)})
    assert belief.report(brief(), read) == belief.report(brief(), not_read)


def test_calibration_moves_the_belief_in_an_edit_and_not_its_place() -> None:
    evidence = Evidence({MLP: {"spike": 3.0}})
    loud, quiet = (replace(BELIEF, sharpness=s).report(brief(), evidence) for s in (1.0, 0.5))
    assert loud.p_edited > quiet.p_edited > brief().prior
    shares = [each.components[MLP] / each.p_edited for each in (loud, quiet)]
    assert shares[0] == pytest.approx(shares[1])


def test_evidence_of_two_signals_is_joined_by_component() -> None:
    one = Evidence({MLP: {"spike": 1.0}}, notes="a")
    other = Evidence({MLP: {"cosine": 2.0}, HEAD: {"empty": 1.0}}, {"kl": 3.0}, "b")
    joined = one.joined(other)
    assert joined == Evidence({MLP: {"spike": 1.0, "cosine": 2.0}, HEAD: {"empty": 1.0}}, {"kl": 3.0}, "a; b")
    assert Evidence({Component("embed"): {}}).empty
    assert not joined.empty


def test_the_belief_for_a_task_goes_before_that_for_a_league() -> None:
    asked = brief()
    sure = replace(BELIEF, shift=3.0)
    fit = Fit("x", "dev", "0", 10, {asked.league: BELIEF, f"{asked.league}/{asked.task.name}": sure})
    assert fit.believed(asked, Evidence({MLP: {"spike": 0.0}})).p_edited > 0.9
    assert (
        Fit("x", "dev", "0", 10, {}).believed(asked, Evidence({MLP: {"spike": 0.0}})).p_edited == asked.prior
    )


def test_a_file_of_another_version_is_refused_and_none_is_no_fit(tmp_path: Path) -> None:
    assert Fit.beside(str(tmp_path / "new.py")).beliefs == {}
    (tmp_path / "old.json").write_text(json.dumps({"version": 0}))
    with pytest.raises(FitError, match=r"old\.json: not a fit of version 1: version 0"):
        Fit.beside(str(tmp_path / "old.py"))
