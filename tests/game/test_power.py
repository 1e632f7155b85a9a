"""How many cases it takes."""

import json
from pathlib import Path

import numpy as np
import pytest

from game.cli import main
from game.standings.power import PowerError, cases_needed, design_effect, needs
from tests.game import hand_made


def test_to_tell_seventy_per_cent_from_fifty_takes_about_fifty_rounds() -> None:
    # share   deviation of a coin at 1/2   rounds at 80 % power
    for share, wanted in ((0.6, 196), (0.7, 49), (0.8, 22)):
        assert cases_needed(0.5, 1.0, share - 0.5, 0.8) == pytest.approx(wanted, abs=2)


def test_independent_cases_have_no_design_effect_and_identical_ones_have_all_of_it() -> None:
    generator = np.random.default_rng(0)
    clusters = [f"base-{number // 5}" for number in range(500)]
    independent = generator.normal(size=500).tolist()
    assert design_effect(independent, clusters) == pytest.approx(1.0, abs=0.35)
    identical = np.repeat(generator.normal(size=100), 5).tolist()
    assert design_effect(identical, clusters) == pytest.approx(5.0)
    assert design_effect([1.0, 2.0, 3.0], ["a", "b", "c"]) == 1.0


def test_the_promised_power_is_had() -> None:
    generator = np.random.default_rng(1)
    cases = cases_needed(1.0, 1.0, 0.4, 0.8)
    means = generator.normal(0.4, 1.0, size=(4000, cases))
    told = np.abs(means.mean(1)) / (means.std(1, ddof=1) / cases**0.5) > 1.96
    assert told.mean() == pytest.approx(0.8, abs=0.03)


def test_fewer_than_three_common_cases_say_nothing() -> None:
    with pytest.raises(PowerError, match="0 cases in common; wanted at least 3"):
        needs(("detection",), hand_made.cases(4), [], ["norms"], 0.1, 0.8)


def test_a_folder_without_a_run_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["power", str(tmp_path / "nowhere")]) in (2, 3)
    assert "nowhere" in capsys.readouterr().err


def test_a_played_run_tells_what_its_auditors_need(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = hand_made.cases(6)
    monkeypatch.setattr(
        "game.runs.tournament.suite_source",
        lambda suite, on_event: hand_made.source(cases, suite.name, digest=suite.digest),
    )
    sayer = f"{hand_made.__file__}@Sayer"
    assert main(["play", "smoke", "--auditor", sayer, "--log-dir", str(tmp_path), "--display", "none"]) == 0
    (folder,) = tmp_path.iterdir()
    capsys.readouterr()
    assert main(["power", str(folder), "--difference", "0.2", "--json"]) == 0
    (row,) = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (row["one"], row["other"], row["pilot"]) == ("Sayer", "the declared prior", 6)
    assert row["cases"] >= 2
