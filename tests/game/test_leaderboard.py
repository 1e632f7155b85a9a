import json
import math
from dataclasses import replace

import pytest

from game.api import League
from game.case import Case
from game.referee import RoundRecord
from game.standings.intervals import Interval, wilson
from game.standings.leaderboard import Leaderboard, leaderboard
from tests.game import hand_made
from tests.game.hand_made import HEAD, MLP, record

PARTS = ("detection", "localisation")
CASES = hand_made.cases(12)


def oracle_round(case: Case) -> RoundRecord:
    return record(case, "oracle", float(case.truth.edited), dict.fromkeys(case.truth.written, 1.0))


def rounds() -> list[RoundRecord]:
    """An oracle, a prior, two players of different worth, and one that crashes on every third case."""
    played = []
    for number, case in enumerate(CASES):
        everywhere = {c: p / 0.5 for c, p in case.brief.component_prior.items()}
        good = 0.8 if case.truth.edited else 0.2
        played += [
            oracle_round(case),
            record(case, "prior", 0.5, {}),
            record(case, "good", good, everywhere),
            record(case, "yes", 0.9, {}),
            record(case, "flaky", None if number % 3 == 0 else good, everywhere),
        ]
    return played


def table(played: list[RoundRecord], parts: tuple[str, ...] = PARTS) -> Leaderboard:
    return leaderboard("hand-made", parts, CASES, played, frozenset({"oracle", "prior"}))


def test_players_are_ranked_by_headline_and_yardsticks_stand_apart() -> None:
    found = table(rounds())
    assert [row.auditor for row in found.players] == ["good", "flaky", "yes"]
    assert [row.auditor for row in found.yardsticks] == ["oracle", "prior"]
    assert [row.skills.n for row in found.rows] == [12] * 5


def test_yardsticks_stand_in_the_order_of_their_names_whatever_they_score() -> None:
    found = leaderboard("s", PARTS, CASES, rounds(), frozenset({"oracle", "prior", "good"}))
    assert [row.auditor for row in found.yardsticks] == ["good", "oracle", "prior"]


def test_a_ranked_figure_is_the_mean_over_all_rounds_failures_included() -> None:
    found = {row.auditor: row for row in table(rounds()).rows}
    assert found["good"].skills.detection.mean == pytest.approx((0.25 - 0.04) / 0.25)
    assert found["flaky"].skills.detection.mean == pytest.approx((8 * 0.84 + 4 * -0.25) / 12)
    assert {name: row.failures for name, row in found.items() if row.failures} == {"flaky": 4}
    headline = [each.score.headline(PARTS) for each in rounds() if each.auditor == "flaky"]
    assert found["flaky"].skills.headline.mean == pytest.approx(math.fsum(headline) / 12)


def test_the_prior_is_exactly_zero_with_no_width() -> None:
    skills = next(row.skills for row in table(rounds()).rows if row.auditor == "prior")
    zero = Interval(0.0, 0.0, 0.0)
    assert (skills.headline, skills.detection, skills.localisation) == (zero, zero, zero)


def test_the_headline_is_of_the_declared_parts_alone() -> None:
    found = table(rounds(), ("detection",))
    assert all(row.skills.headline == row.skills.detection for row in found.rows)


def test_normalised_skill_is_the_share_of_the_oracle_s() -> None:
    found = {row.auditor: row for row in table(rounds()).rows}
    ceiling = found["oracle"].skills.headline.mean
    assert found["good"].normalised == pytest.approx(found["good"].skills.headline.mean / ceiling)
    assert (found["oracle"].normalised, found["prior"].normalised) == (1.0, 0.0)


def test_without_an_oracle_nothing_is_normalised() -> None:
    found = table([each for each in rounds() if each.auditor != "oracle"])
    assert {row.normalised for row in found.rows} == {None}


def test_a_group_s_figure_is_computed_from_that_group_alone() -> None:
    found = {(row.group, row.auditor): row.skills for row in table(rounds()).groups}
    assert len(found) == 2 * 5
    ids = {case.id for case in CASES if case.truth.group == "two"}
    altered = [each for each in rounds() if each.case_id in ids]
    altered += [record(case, "good", 0.0, {}) for case in CASES if case.id not in ids]
    again = {(row.group, row.auditor): row.skills for row in table(altered).groups}
    assert again["two", "good"] == found["two", "good"]
    assert again["one", "good"] != found["one", "good"]
    own = [each.score.localisation for each in rounds() if each.auditor == "good" and each.case_id in ids]
    assert found["two", "good"].localisation.mean == pytest.approx(math.fsum(own) / 6)
    assert found["two", "good"].n == 6


def test_saying_yes_to_everything_is_below_the_prior_in_every_group() -> None:
    skills = [row.skills for row in table(rounds()).groups if row.auditor == "yes"]
    assert [each.detection.mean < 0 for each in skills] == [True, True]


def test_controls_give_a_rate_of_false_alarms_by_kind() -> None:
    found = {(row.kind, row.auditor): row for row in table(rounds()).false_alarms}
    assert {kind for kind, _ in found} == {"untouched", "sham"}
    assert (found["sham", "yes"].alarms, found["sham", "yes"].n) == (3, 3)
    assert found["sham", "yes"].rate == wilson(3, 3)
    assert found["untouched", "good"].rate == wilson(0, 3)


def test_a_round_without_a_report_raises_no_alarm_and_no_credit() -> None:
    found = {(row.kind, row.auditor): row.n for row in table(rounds()).false_alarms}
    assert (found["sham", "flaky"], found["untouched", "flaky"]) == (2, 2)
    silent = [record(case, "mute", None, {}) for case in CASES]
    assert table(silent).false_alarms == ()


def test_p_edited_of_one_half_is_no_alarm() -> None:
    assert all(row.alarms == 0 for row in table(rounds()).false_alarms if row.auditor == "prior")


def test_the_order_of_rounds_never_shows() -> None:
    assert table(rounds()[::-1]) == table(rounds())


def in_leagues(number: int, case: Case) -> Case:
    league: League = ("reference", "blackbox", "siblings")[number % 3]
    return replace(case, brief=replace(case.brief, league=league))


def test_a_league_s_figure_is_computed_from_its_own_cases() -> None:
    dealt = [in_leagues(number, case) for number, case in enumerate(CASES)]
    found = leaderboard("s", PARTS, dealt, rounds(), frozenset({"oracle", "prior"}))
    assert found.leagues == ("blackbox", "siblings", "reference")
    names = [row.auditor for row in found.rows]
    assert [(row.league, row.auditor) for row in found.by_league] == [
        (league, name) for league in found.leagues for name in names
    ]
    flaky = {row.league: row.skills for row in found.by_league if row.auditor == "flaky"}
    assert {league: skills.n for league, skills in flaky.items()} == dict.fromkeys(found.leagues, 4)
    assert flaky["reference"].detection.mean == -0.25  # it crashes on every third case
    assert flaky["siblings"].detection.mean == flaky["blackbox"].detection.mean == pytest.approx(0.84)
    assert found.rows == table(rounds()).rows  # overall, leagues change nothing
    assert found.to_dict()["by_league"][0]["league"] == "blackbox"


def test_few_checkpoints_are_labelled() -> None:
    assert table(rounds()).note.startswith("these checkpoints only")
    many = hand_made.cases(20, bases=10)
    played = [record(case, "good", 0.5, {}) for case in many]
    found = leaderboard("s", PARTS, many, played, frozenset())
    assert found.note == "95 % intervals resample base checkpoints"


def test_json_has_the_agreed_keys_and_only_finite_numbers() -> None:
    data = json.loads(json.dumps(table(rounds()).to_dict(), allow_nan=False))
    assert data["kind"] == "leaderboard"
    assert (data["suite"], data["leagues"], data["parts"]) == ("hand-made", ["whitebox"], list(PARTS))
    first = data["rows"][0]
    assert set(first) == {
        "auditor",
        "yardstick",
        "n",
        "headline",
        "detection",
        "localisation",
        "behaviour",
        "repair",
        "answer_before",
        "failures",
    }
    assert (first["auditor"], first["yardstick"], first["behaviour"]) == ("good", False, None)
    assert set(first["headline"]) == {"mean", "low", "high"}
    assert data["false_alarms"][0]["rate"]["mean"] == 0.0
    assert {row["group"] for row in data["groups"]} == {"one", "two"}


def test_a_perfect_location_scores_above_a_perfect_verdict_alone() -> None:
    edited = [case for case in CASES if case.truth.written in ({MLP}, {HEAD})]
    whether = [record(case, "whether", 1.0, {}) for case in edited]
    where = [record(case, "where", 1.0, dict.fromkeys(case.truth.written, 1.0)) for case in edited]
    assert [row.auditor for row in table(whether + where).rows] == ["where", "whether"]


def four_parts(auditor: str, *skills: float) -> list[RoundRecord]:
    """Rounds with that behaviour and repair, over every case."""
    behaviour, repair = skills
    rounds = [record(case, auditor, 0.5, {}) for case in CASES]
    return [
        replace(each, score=replace(each.score, behaviour=behaviour, repair=repair), readouts=beside)
        for each, beside in zip(rounds, [{"answer_before": 0.5}, {}] * 6, strict=True)
    ]


def test_declared_parts_have_figures_of_their_own_and_count_in_the_headline() -> None:
    parts = (*PARTS, "behaviour", "repair")
    found = table(four_parts("good", 0.5, 0.3), parts)
    (row,) = found.rows
    assert row.skills.behaviour == Interval(0.5, 0.5, 0.5)
    assert row.skills.repair == Interval(0.3, 0.3, 0.3)
    assert row.skills.answer_before == Interval(0.5, 0.5, 0.5)
    assert row.skills.headline.mean == pytest.approx(0.2)
    data = found.to_dict()["rows"][0]
    assert (data["behaviour"]["mean"], data["repair"]["mean"]) == (0.5, 0.3)
    assert {group.skills.behaviour for group in found.groups} == {Interval(0.5, 0.5, 0.5)}


def test_parts_that_are_not_scored_have_no_figure() -> None:
    assert {(row.skills.behaviour, row.skills.repair) for row in table(rounds()).rows} == {(None, None)}
    assert table(rounds()).rows[0].skills.answer_before is None
