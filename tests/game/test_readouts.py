"""Figures over a run, each beside its chance level, on rounds whose numbers are known."""

import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss

from game.case import Case
from game.referee import RoundRecord
from game.report.readouts_view import readout_lines, readouts_view
from game.standings.dose_response import DoseResponse, dose_responses
from game.standings.readouts import Figure, Readouts, calibration, readouts
from models.components import Component
from tests.game.hand_made import HEAD, MLP, cases, record
from tests.game.test_terminal_report import shown

CASES = cases(40)
Believe = Callable[[Case], float]
Skill = Callable[[float], float]


def told(believe: Believe, location: dict[Component, float] | None = None) -> Readouts:
    rounds = [record(case, "a", believe(case), location or {}) for case in CASES]
    (found,) = readouts(CASES, rounds, ["a"])
    return found


def test_who_knows_the_truth_has_every_figure_at_its_best() -> None:
    found = told(lambda case: float(case.truth.edited))
    assert (found.n, found.edits) == (40, 20)
    assert found.auroc == Figure(1.0, 0.5)
    for figure, chance in ((found.average_precision, 0.5), (found.true_positives, 0.05)):
        assert figure is not None
        assert figure.value == 1.0
        assert figure.chance == pytest.approx(chance, abs=0.02)
    assert [each.precision for each in found.prevalences] == [1.0, 1.0]
    assert found.calibration is not None
    assert (found.calibration.reliability, found.calibration.error) == (0.0, 0.0)
    assert found.calibration.resolution == found.calibration.uncertainty == 0.25


def test_who_knows_nothing_is_at_chance_everywhere() -> None:
    found = told(lambda _case: 0.5)
    for figure in (found.auroc, found.average_precision, found.true_positives, found.component, found.layer):
        assert figure is not None
        assert figure.value == pytest.approx(figure.chance)
    assert [each.precision for each in found.prevalences] == [None, None]


def test_guesses_on_few_cases_stand_beside_the_chance_level_of_few_cases() -> None:
    few = CASES[:12]  # half of them edits
    guesses = [place / 12 for place in range(12)]
    rounds = [record(case, "a", guess, {}) for case, guess in zip(few, guesses, strict=True)]
    (found,) = readouts(few, rounds, ["a"])
    labellings = ([place in edits for place in range(12)] for edits in combinations(range(12), 6))
    precision = np.mean([average_precision_score(edited, guesses) for edited in labellings])
    assert found.average_precision is not None
    assert found.average_precision.chance == pytest.approx(precision, abs=0.03)
    assert precision > 0.55, "of many cases it is the share of edits, 0.5"
    assert found.true_positives is not None
    assert found.true_positives.chance > 0.1, "of many controls it is 0.05"


def test_location_is_counted_on_edits_beside_the_prior_s_favourite() -> None:
    found = told(lambda _case: 0.9, {HEAD: 1.0, MLP: 0.0})
    assert found.component == Figure(0.5, 0.5)  # half the edits are in the head, half in the MLP it prefers
    perfect = [record(c, "a", 0.9, dict.fromkeys(c.truth.written, 1.0) | _elsewhere(c)) for c in CASES]
    (knows,) = readouts(CASES, perfect, ["a"])
    assert knows.component == Figure(1.0, 0.5)
    assert knows.layer == Figure(1.0, 0.5)


def _elsewhere(case: Case) -> dict[Component, float]:
    return {c: 0.0 for c in (MLP, HEAD) if case.truth.edited and c not in case.truth.written}


def test_places_that_tie_share_the_hit() -> None:
    found = told(lambda _case: 0.8, {MLP: 0.5, HEAD: 0.5})
    assert found.component == Figure(0.5, 0.5)
    nothing = told(lambda _case: 0.0)
    assert nothing.component == Figure(0.0, 0.5)


def test_true_positives_at_five_per_cent_are_interpolated() -> None:
    dealt = cases(80)
    controls = [case for case in dealt if not case.truth.edited]
    loud = {case.id for case in controls[:4]}  # a tenth of the controls look like edits
    rounds = [record(case, "a", 0.9 if case.truth.edited or case.id in loud else 0.1, {}) for case in dealt]
    (found,) = readouts(dealt, rounds, ["a"])
    assert found.true_positives is not None
    assert found.true_positives.value == pytest.approx(0.5)


def test_precision_elsewhere_shifts_the_log_odds() -> None:
    """From a prior of 1/2, 10 % divides the odds by 9: 0.95 is flagged, 0.85 is not."""
    flagged = told(lambda case: 0.95 if case.truth.edited or case.truth.kind == "sham" else 0.1)
    silent = told(lambda case: 0.85 if case.truth.edited else 0.1)
    tenth, fiftieth = flagged.prevalences
    assert (tenth.share, tenth.flagged, fiftieth.flagged) == (0.1, 1.0, 0.0)
    assert tenth.precision == pytest.approx(0.1 / (0.1 + 0.5 * 0.9))
    assert fiftieth.precision is None
    assert silent.prevalences[0].flagged == 0.0


def test_rounds_without_a_report_count_in_no_figure() -> None:
    rounds = [record(case, "a", None if i < 20 else 0.7, {}) for i, case in enumerate(CASES)]
    mute = [record(case, "mute", None, {}) for case in CASES]
    found, silent = readouts(CASES, rounds + mute, ["a", "mute"])
    assert (found.n, silent.n) == (20, 0)
    assert (silent.auroc, silent.component, silent.calibration) == (None, None, None)
    assert silent.prevalences == ()


def test_without_controls_no_ranking_is_told() -> None:
    edits = [case for case in CASES if case.truth.edited]
    (found,) = readouts(edits, [record(case, "a", 0.9, {}) for case in edits], ["a"])
    assert found.auroc is found.average_precision is found.true_positives is None
    assert found.component is not None


@settings(deadline=None)
@given(said=st.lists(st.tuples(st.sampled_from([0.05, 0.35, 0.55, 0.95]), st.booleans()), min_size=1))
def test_murphys_parts_add_up_to_the_brier_score(said: list[tuple[float, bool]]) -> None:
    beliefs, truths = (np.array(each) for each in zip(*said, strict=True))
    found = calibration(beliefs, truths.astype(bool))
    assert found is not None
    brier = float(((beliefs - truths) ** 2).mean())
    assert brier == pytest.approx(brier_score_loss(truths, beliefs, pos_label=True))
    assert found.reliability - found.resolution + found.uncertainty == pytest.approx(brier)
    assert sum(each.n for each in found.bins) == len(said)


def test_certainty_falls_into_the_last_bin() -> None:
    found = calibration(np.array([0.95, 1.0]), np.array([True, True]))
    assert found is not None
    assert [each.n for each in found.bins] == [2]


def test_the_rounds_own_readouts_are_averaged_where_they_are() -> None:
    rounds = [record(case, "a", 0.5, {}) for case in CASES]
    rounds[0] = replace(rounds[0], readouts={"neuron_precision": 0.25})
    rounds[1] = replace(rounds[1], readouts={"neuron_precision": 0.75, "acts_through": 0.1})
    (found,) = readouts(CASES, rounds, ["a"])
    assert found.means == {"acts_through": (0.1, 1), "neuron_precision": (0.5, 2)}


STRENGTHS = (0.1, 0.2, 0.4, 0.8)


def dosed(skill: Skill, count: int = 80, bases: int = 10) -> list[tuple[Case, RoundRecord]]:
    """Rounds at four strengths whose detection skill is a function of the strength."""
    rounds = []
    for i, each in enumerate(cases(count, bases)):
        strength = STRENGTHS[i // 4 % 4]
        case = replace(each, truth=replace(each.truth, matched="rome", strength={"alpha": strength}))
        score = replace(record(case, "a", 0.5, {}).score, detection=skill(strength))
        rounds.append((case, replace(record(case, "a", 0.5, {}), score=score)))
    return rounds


def curve(skill: Skill, **settings: int) -> DoseResponse:
    (found,) = dose_responses(dosed(skill, **settings))
    return found


@pytest.mark.parametrize(
    ("skill", "detectable"),
    [
        # skill by strength                      reaches 1/2 at
        (lambda s: s, 0.5),
        (lambda s: s / 0.8, 0.4),
        (lambda s: float(s >= 0.4), 0.3),
        (lambda s: 0.6, 0.1),
        (lambda s: 0.4, None),
        (lambda s: -s, None),
    ],
)
def test_the_minimum_detectable_effect_is_where_the_fit_reaches_one_half(
    skill: Skill, detectable: float | None
) -> None:
    found = curve(skill)
    expected = None if detectable is None else pytest.approx(detectable)
    assert (found.family, found.dial, found.detectable) == ("rome", "alpha", expected)
    assert (found.low, found.high) == (expected, expected)  # the skill varies with the strength alone
    assert [dose.strength for dose in found.doses] == list(STRENGTHS)
    assert [dose.n for dose in found.doses] == [20] * 4


@pytest.mark.parametrize(
    ("settings", "detectable"),
    [
        # settings, weak to strong    where the skill reaches 1/2
        ((0.1, 0.01, 0.001, 0.0001), 10**-2.5),
        ((4.0, 3.0, 2.0, 1.0), 2.5),
    ],
)
def test_a_dial_that_writes_less_when_turned_up_runs_backwards(
    settings: tuple[float, ...], detectable: float
) -> None:
    """Skill grows by a third a step, and so does what the edits write."""
    rounds = []
    for case, played in dosed(lambda s: s):
        step = STRENGTHS.index(case.truth.strength["alpha"])
        told = replace(case.truth, strength={"ridge": settings[step]})
        told = replace(told, record={"measured": {"rel_norm": 1.0 + step}})
        score = replace(played.score, detection=step / 3)
        rounds.append((replace(case, truth=told), replace(played, score=score)))
    (found,) = dose_responses(rounds)
    assert tuple(dose.strength for dose in found.doses) == settings
    assert [dose.fitted for dose in found.doses] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert found.detectable == pytest.approx(detectable)


def test_the_fit_never_falls() -> None:
    found = curve(lambda s: {0.1: 0.2, 0.2: 0.6, 0.4: 0.4, 0.8: 0.9}[s])
    assert [dose.fitted for dose in found.doses] == pytest.approx([0.2, 0.5, 0.5, 0.9])
    assert found.detectable == pytest.approx(0.2)


@pytest.mark.parametrize("bases", [3, 12])
def test_the_interval_widens_with_noise_and_covers_the_estimate(bases: int) -> None:
    dice = random.Random(3)
    found = curve(lambda s: s + dice.uniform(-0.5, 0.5), bases=bases, count=96)
    assert found.detectable is not None
    assert found.low is not None
    assert found.low < found.detectable
    assert found.high is None or found.high > found.detectable


def test_a_family_at_one_strength_has_no_curve() -> None:
    single = [(case, played) for case, played in dosed(lambda s: s) if case.truth.strength["alpha"] == 0.1]
    assert dose_responses(single) == ()
    assert dose_responses([(case, record(case, "a", 0.5, {})) for case in CASES]) == ()


def test_strengths_along_one_dial_are_compared_at_equal_others() -> None:
    rounds = []
    for i, (case, played) in enumerate(dosed(lambda s: s)):
        strength = dict(case.truth.strength) | {"rank": float(1 + i % 2)}
        rounds.append((replace(case, truth=replace(case.truth, strength=strength)), played))
    found = dose_responses(rounds)
    assert {(each.dial, each.fixed) for each in found} == {
        ("alpha", (("rank", 1.0),)),
        ("alpha", (("rank", 2.0),)),
        *(("rank", (("alpha", s),)) for s in STRENGTHS),
    }


def test_strengths_are_compared_within_a_league() -> None:
    """Half are dealt where the same auditor sees nothing."""
    rounds = []
    for i, (case, played) in enumerate(dosed(lambda s: s)):
        if i // 16 % 2:
            case = replace(case, brief=replace(case.brief, league="blackbox"))
            played = replace(played, score=replace(played.score, detection=0.0))
        rounds.append((case, played))
    found = {each.league: each for each in dose_responses(rounds)}
    assert set(found) == {"blackbox", "whitebox"}
    assert {dose.skill for dose in found["blackbox"].doses} == {0.0}
    assert [dose.skill for dose in found["whitebox"].doses] == pytest.approx(STRENGTHS)


def several() -> tuple[Readouts, ...]:
    rounds = [(case, replace(played, readouts={"acts_through": 0.5})) for case, played in dosed(lambda s: s)]
    mute = [record(case, "mute", None, {}) for case, _ in rounds]
    return readouts([case for case, _ in rounds], [played for _, played in rounds] + mute, ["a", "mute"])


def test_readouts_are_json_of_finite_numbers() -> None:
    data: list[dict[str, Any]] = json.loads(
        json.dumps([each.to_dict() for each in several()], allow_nan=False)
    )
    assert data[0]["auroc"] == {"value": 0.5, "chance": 0.5}
    assert data[0]["means"] == {"acts_through": {"mean": 0.5, "n": 80}}
    assert data[0]["doses"][0]["detectable"] == pytest.approx(0.5)
    assert data[1]["auroc"] is None


@pytest.mark.parametrize("width", [80, 120])
def test_the_tables_fit_the_terminal(width: int) -> None:
    text = shown(readouts_view(several()), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert "0.50 (.50)" in text
    assert "0.5 [0.5, 0.5]" in text


def test_tabbed_readouts_have_a_cell_for_each_column() -> None:
    lines = [line.split("\t") for line in readout_lines(several())]
    cut = next(i for i, line in enumerate(lines) if line[0] == "dose")
    assert {len(line) for line in lines[:cut]} == {5}
    assert {len(line) for line in lines[cut:]} == {8}
    assert ["auroc", "a", "0.5000", "0.5000", "80"] in lines
    assert [line[3] for line in lines[cut + 1 :]] == [f"{s:g}" for s in STRENGTHS] * 2
    assert not any(math.isnan(float(cell)) for line in lines[1:cut] for cell in line[2:4] if cell)


def test_the_readouts_of_a_patch_fit_eighty_columns() -> None:
    names = ("acts_through", "answer_before", "repair_collateral", "repair_noise", "repair_recovered")
    round_ = replace(record(CASES[0], "spectral_spike", 0.5, {}), readouts=dict.fromkeys(names, 0.5))
    text = shown(readouts_view(readouts(CASES, [round_], ["spectral_spike"])), width=80)
    (line,) = [line for line in text.splitlines() if line.count("0.50 (1)")]
    assert line.count("0.50 (1)") == len(names)
    assert all(word in text for word in ("collateral", "recovered"))
