"""`audit-game new`: what it writes works at once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from game.cli import main
from game.loader import load_auditor
from game.plugins.scaffold import NewError, check_new_name, class_name_of
from game.referee import play_round
from game.testing.check import auditor_findings, red_findings
from tests.game.hand_made import HEAD, MLP, case, truth

ROOT = Path(__file__).resolve().parents[2]
FILES = {"auditor": "auditor.yaml", "red": "red.yaml"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("role", ["auditor", "red"])
def test_a_folder_is_written_and_told(here: Path, capsys: pytest.CaptureFixture[str], role: str) -> None:
    assert main(["new", role, "my_own", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    files = {"my_own.py", "test_my_own.py", "README.md", FILES[role]}
    assert {Path(path).name for path in told["files"]} == files
    assert {path.name for path in (here / "my_own").iterdir()} == files
    assert all("$" not in path.read_text() for path in (here / "my_own").iterdir())


@pytest.mark.parametrize("role", ["auditor", "red"])
def test_the_commands_that_are_told_keep_their_logs_out_of_the_folder(here: Path, role: str) -> None:
    """Logs in there are refused, for a jail reads them, or make another competitor of it."""
    assert main(["new", role, "my_own", "--display", "none"]) == 0
    told = (here / "my_own" / "README.md").read_text()
    commands = [line for line in told.splitlines() if line.startswith(("audit-game", "pytest"))]
    assert len(commands) >= 3
    assert all("my_own" in command for command in commands)
    assert "./" not in told


def test_the_auditor_that_is_written_keeps_to_the_contract_and_is_no_worse_than_the_prior_by_much(
    here: Path,
) -> None:
    assert main(["new", "auditor", "my_own", "--display", "none"]) == 0
    found = list(auditor_findings("my_own/", None))
    assert [(each.rule, each.message) for each in found if each.verdict == "broken"] == []
    player = load_auditor("my_own", {})
    for revealed in (truth(), truth(MLP, "rome"), truth(HEAD, "ov_rewire")):
        record = play_round(case(1, revealed), player, seed=1)
        assert record.status == "DONE"
        assert record.p_edited is not None
        assert 0.3 < record.p_edited < 0.7  # a look at norms alone is worth little either way
        assert record.score.detection > -1


def test_the_red_strategy_that_is_written_keeps_to_the_contract(here: Path) -> None:
    assert main(["new", "red", "my_own", "--display", "none"]) == 0
    found = list(red_findings("my_own/"))
    assert {each.verdict for each in found} == {"held"}
    assert len(found) == 8


def test_a_plan_of_another_target_is_found(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "red", "my_own", "--into", "elsewhere", "--display", "none"]) == 0
    file = here / "elsewhere" / "my_own.py"
    text = file.read_text()
    start = text.index("        site = ")
    file.write_text(
        text[:start]
        + '        fact = {**vars(briefing.target), "object_new": (briefing.target.object_new + 1) % 6}\n'
        + '        return spec_for(briefing, "rrome", edit={"kind": "rrome", "facts": [fact]})\n'
    )
    assert main(["check", "elsewhere", "--display", "plain"]) == 1
    assert "the plan changes" in capsys.readouterr().out


def test_the_tests_that_are_written_pass_from_the_folder_itself(here: Path) -> None:
    assert main(["new", "auditor", "my_own", "--display", "none"]) == 0
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=here / "my_own",
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "12 passed" in done.stdout


def test_nothing_is_overwritten(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "my_own").mkdir()
    assert main(["new", "auditor", "my_own", "--display", "none"]) == 0  # an empty folder is fine
    before = {path: path.read_bytes() for path in (here / "my_own").iterdir()}
    for words in (["my_own"], ["another", "--into", "my_own"]):
        assert main(["new", "auditor", *words]) == 2
        assert "is there already; nothing is overwritten" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (here / "my_own").iterdir()} == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("My_Own", "wanted a to z"),
        ("1st", "wanted a to z"),
        ("a-b", "wanted a to z"),
        ("../up", "wanted a to z"),
        ("x" * 41, "at most 40"),
        ("lambda", "a word of Python's own"),
        ("none", "a word of Python's own"),
        ("spectral_spikes", 'too much like "spectral_spike"'),
        ("prior", 'too much like "prior"'),
    ],
)
def test_a_name_that_cannot_be_had_is_refused(here: Path, name: str, message: str) -> None:
    with pytest.raises(NewError, match=message):
        check_new_name(name, ["prior", "spectral_spike"])
    assert main(["new", "auditor", name]) == 2
    assert list(here.iterdir()) == []


def test_names_become_classes() -> None:
    assert [class_name_of(name) for name in ("norm_outlier", "a", "x2_y")] == ["NormOutlier", "A", "X2Y"]
