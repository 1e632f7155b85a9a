"""The benchmark of auditors counts what was played, by league, family, group and budget."""

from dataclasses import replace
from pathlib import Path

import pytest

import benchmarks.players.rounds as played_rounds
from benchmarks.figures import Figure
from benchmarks.players.page import page
from benchmarks.players.rounds import Field, Played
from benchmarks.players.rows import budget_area, by_group, rows
from game.catalogue import ROOT
from game.loader import load_auditor
from game.runs.store import StoredCase
from game.runs.tournament import quiet
from models.zoo import code_of
from tests.game.hand_made import HEAD, MLP, cases, record
from tests.tiny_suite import facts_only, tiny_suite

PARTS = ("detection", "localisation")


def played(name: str, sure: bool) -> Played:
    """One that knows everything, or one that says the prior."""
    dealt = cases(40)
    rounds = []
    for case in dealt:
        where = (
            {c: float(c in case.truth.written) for c in (MLP, HEAD)} if sure else case.brief.location_prior
        )
        rounds.append(record(case, name, float(case.truth.edited) if sure else 0.5, where))
    return Played(name, 100.0, {case.id: StoredCase.of(case) for case in dealt}, tuple(rounds))


def figures(of: Played) -> dict[str, Figure]:
    return {key: each for key, each in rows(of, PARTS) if isinstance(each, Figure)}


def test_the_prior_is_nothing_in_every_figure_and_the_truth_is_one() -> None:
    for name, value in (("prior", 0.0), ("knower", 1.0)):
        found = figures(played(name, bool(value)))
        for key in (f"headline.{name}.whitebox", f"headline.{name}.whitebox.toy"):
            assert found[key].value == pytest.approx(value, abs=0.15)
        low, high = (found[f"detection_{end}.{name}.whitebox"] for end in ("low", "high"))
        assert low.value <= value <= high.value
        assert found[f"calibration.{name}"].value == pytest.approx(0.0, abs=1e-9)
        assert found[f"false_alarm.{name}.untouched"].value == 0.0
        assert found[f"false_alarm.{name}.sham"].unit == "of 10"


def test_a_group_is_counted_from_its_own_cases() -> None:
    assert set(by_group(played("knower", True), PARTS)) == {"one", "two"}


def test_the_area_weighs_budgets_by_their_logarithm() -> None:
    curve = {10.0: Figure(0.0, "", 0, 0), 100.0: Figure(1.0, "", 1, 1), 1000.0: Figure(1.0, "", 1, 1)}
    assert budget_area(curve).value == pytest.approx(0.75)
    assert budget_area({10.0: curve[100.0]}) == curve[100.0]


def test_calibration_is_not_hidden_by_leagues_that_show_nothing() -> None:
    """Half of the cases are in a league where it says the prior; in the other it is sure and always wrong."""
    both = played("liar", True)
    blind = {each for number, each in enumerate(both.cases) if number % 4 >= 2}
    cases = {
        case_id: replace(case, brief=replace(case.brief, league="blackbox")) if case_id in blind else case
        for case_id, case in both.cases.items()
    }
    rounds = tuple(
        replace(each, p_edited=0.5 if each.case_id in blind else 1.0 - each.p_edited, components={})
        for each in both.rounds
        if each.p_edited is not None
    )
    found = figures(replace(both, cases=cases, rounds=rounds))
    assert found["calibration.liar"].value == pytest.approx(1.0)


def test_the_page_has_a_row_for_each_auditor_and_tells_the_command() -> None:
    two = [played("prior", False), played("knower", True)]
    found = figures(two[0]) | figures(two[1])
    found["claim.paper"] = Figure(0.9, "share", 0.8, 1.0, peer=0.99)
    text = page(tiny_suite(), two, found, {}, "python -m benchmarks.auditors")
    assert "Made by `python -m benchmarks.auditors`, on 40 cases of `tiny`" in text
    assert text.index("| `knower` |") < text.index("| `prior` |")
    assert "| `paper` | 0.90 [0.80, 1.00] | 0.99 | share |" in text


def test_an_auditor_plays_again_when_what_it_looks_with_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    player = load_auditor("lens_jump", {})
    before = played_rounds.played_by(player)
    tails = ROOT / "game" / "auditing" / "tails.py"
    monkeypatch.setattr(played_rounds, "code_of", lambda file: "new" if file == tails else code_of(file))
    assert len(set(before) - set(played_rounds.played_by(player))) == 1


def test_a_measurement_goes_on_where_it_was(tmp_path: Path) -> None:
    field = Field.of(facts_only(), ("whitebox",), 2, tmp_path, quiet)
    player = load_auditor("prior", {})
    first = field.played(player, 5000.0)
    runs = sorted(tmp_path.rglob("run.db"))
    assert field.played(player, 5000.0) == first
    assert sorted(tmp_path.rglob("run.db")) == runs
    poor = field.played(player, 50.0)
    assert {case.brief.budget for case in poor.cases.values()} == {50.0}
    assert {i: case.artefact for i, case in poor.cases.items()} == {
        i: case.artefact for i, case in first.cases.items()
    }
