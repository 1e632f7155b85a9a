"""The shipped fits are of the shipped auditors, on the practice suite as it is."""

import json
from pathlib import Path

import pytest

from auditors.ensemble import MEMBERS
from game.api import LEAGUES
from game.auditing.belief import Fit
from game.catalogue import ROOT
from game.dealing.suite import load_suite
from game.fitting.choice import SHARPEST
from game.loader import load_auditor

FITS = sorted((ROOT / "auditors").glob("*.json"))


def test_practice_and_rated_worlds_are_disjoint() -> None:
    worlds = {name: worlds_of(name) for name in ("dev", "rated-dev", "starter")}
    assert worlds["dev"] <= set(range(300, 400))
    assert worlds["rated-dev"] <= set(range(400, 500))
    assert not worlds["dev"] & worlds["rated-dev"]
    assert not worlds["dev"] & worlds["starter"]


def worlds_of(name: str) -> set[int]:
    suite = load_suite(name)
    return {seed for recipe in suite.recipes for seed in suite.seeds(recipe)}


def test_practice_covers_what_is_judged() -> None:
    dev, rated = load_suite("dev"), load_suite("rated-dev")
    dealt = [
        {(suite.grant(g).league, g.edit, tuple(g.sites), g.controls) for g in suite.groups}
        for suite in (dev, rated)
    ]
    assert {str(each) for each in dealt[0]} == {str(each) for each in dealt[1]}
    assert dev.leagues == rated.leagues == LEAGUES
    by_league = {
        league: sum(g.count for g in rated.groups if rated.grant(g).league == league) for league in LEAGUES
    }
    assert by_league == {league: 400 if league == "whitebox" else 100 for league in LEAGUES}


@pytest.mark.parametrize("file", FITS, ids=lambda file: file.stem)
def test_a_shipped_fit_is_of_this_auditor_and_this_practice_suite(file: Path) -> None:
    """If it is not: `audit-game fit NAME`."""
    fit = Fit.from_json(json.loads(file.read_text()))
    assert (fit.auditor, fit.suite, fit.digest) == (file.stem, "dev", load_suite("dev").digest)
    assert 100 <= fit.cases <= load_suite("dev").n_cases
    auditor = load_auditor(file.stem, {}).auditor
    assert callable(getattr(auditor, "read", None)) or callable(getattr(auditor, "team", None))
    assert file.stat().st_size < 64_000
    for name, belief in fit.beliefs.items():
        league, _, members = name.partition(":")
        assert league.partition("/")[0] in LEAGUES
        assert set(members.split("+")) - {""} <= set(MEMBERS)
        assert 0 <= belief.sharpness <= SHARPEST
