"""`audit-game submit`: contract and logged rounds, then a digest in a register that notices changes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from game.cli import main
from game.loader import LoadError, load_auditor
from game.plugins.digest import folder_digest
from game.plugins.register import (
    FILE,
    RegisterError,
    Status,
    Submission,
    history,
    keep,
    submission,
    submissions,
)
from game.toolbox.transcript import read_lines
from tests.tiny_suite import TINY_SUITE

SUITE = TINY_SUITE.replace("count: 6", "count: 1").replace("count: 4", "count: 1")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an empty register; we are beside it."""
    monkeypatch.setenv("AUDIT_GAME_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


@pytest.fixture
def folder(data: Path) -> Path:
    """A new auditor."""
    assert main(["new", "auditor", "my_own", "--display", "none"]) == 0
    (data.parent / "tiny.yaml").write_text(SUITE)
    return data.parent / "my_own"


def submitted(folder: Path, *, status: Status = "checked") -> Submission:
    """As if it had been."""
    found = Submission(
        "my_own", "0.1.0", str(folder), folder_digest(folder), status, "Looks.", "landlock", "", "now"
    )
    keep(found)
    return found


def marks(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What `list auditors` says of each."""
    capsys.readouterr()
    assert main(["list", "auditors", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return {row["name"]: row["mark"] for row in rows}


def test_a_submission_plays_logged_rounds_and_is_listed_as_checked(
    folder: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["submit", "my_own", "--suite", "tiny.yaml", "--isolation", "none", "--json"]
    assert main(words) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    told = rows[-1]
    assert (told["kind"], told["status"], told["rounds"]) == ("submission", "checked", 2)
    assert told["digest"] == folder_digest(folder)
    transcripts = list((Path(told["run"]) / "transcripts").glob("*.jsonl"))
    assert len(transcripts) == 2
    for path in transcripts:
        first = json.loads(path.read_text().partition("\n")[0])["prev"]
        lines, _ = read_lines(path.read_bytes(), first)
        assert {line.body["primitive"] for line in lines if line.kind == "call"} == {"weight"}
    assert marks(capsys)["my_own"] == "checked"
    assert (data / FILE).stat().st_mode & 0o777 == 0o600


def test_a_broken_contract_is_registered_as_such_and_plays_no_round(
    folder: Path, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder / "my_own.py"
    file.write_text(
        file.read_text().replace("Report.from_location(p_edited, location", "Report(2.0, location")
    )
    assert main(["submit", "my_own", "--isolation", "none", "--display", "plain"]) == 1
    assert "INVALID" in capsys.readouterr().out
    assert marks(capsys)["my_own"] == "broken"
    assert not (data.parent / "logs").exists()
    monkeypatch.chdir(data)  # where no folder has its name
    with pytest.raises(LoadError, match="my_own is broken: its report keeps the rules"):
        load_auditor("my_own", {})


def test_a_round_that_costs_more_than_the_manifest_says_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = folder / "auditor.yaml"
    manifest.write_text(manifest.read_text().replace("budget: 5", "budget: 0.0000001"))
    words = ["submit", "my_own", "--suite", "tiny.yaml", "--isolation", "none", "--display", "plain"]
    assert main(words) == 1
    assert "its manifest says 1e-07" in capsys.readouterr().out


def test_a_submitted_auditor_plays_by_its_name_until_a_file_changes(
    folder: Path, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted(folder)
    monkeypatch.chdir(data)  # where no folder has its name
    assert load_auditor("my_own", {}).name == "my_own"
    (folder / "notes.txt").write_text("x")
    assert marks(capsys)["my_own"] == "stale"
    with pytest.raises(
        LoadError, match="my_own is stale: its folder changed since it was submitted; audit-game"
    ):
        load_auditor("my_own", {})
    first = history()[0]
    assert submitted(folder).digest != first.digest
    assert history()[0].digest == first.digest  # a new digest is another competitor
    assert len(submissions()) == 1
    assert marks(capsys)["my_own"] == "checked"


def test_list_runs_none_of_a_plug_in_s_code(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "my_own.py").write_text("raise SystemExit('I was run')\n")
    submitted(folder)
    assert marks(capsys)["my_own"] == "checked"


def test_a_folder_that_is_gone_is_broken(
    folder: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    submitted(folder)
    folder.rename(data.parent / "moved")
    assert marks(capsys)["my_own"] == "broken"


def test_a_name_that_is_taken_cannot_be_submitted(
    folder: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    submitted(folder)
    assert main(["new", "auditor", "my_own", "--into", "another", "--display", "none"]) == 0
    assert main(["submit", "another"]) == 2
    assert f"my_own was submitted from {folder}" in capsys.readouterr().err
    manifest = data.parent / "another" / "auditor.yaml"
    manifest.write_text(manifest.read_text().replace("name: my_own", "name: oracle"))
    assert main(["submit", "another"]) == 2
    assert 'too much like "oracle"' in capsys.readouterr().err


def test_what_is_no_auditor_s_folder_cannot_be_submitted(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", "nowhere"]) == 2
    assert "nowhere: no such folder" in capsys.readouterr().err


def test_a_damaged_register_is_told_and_never_overwritten(
    folder: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = submitted(folder)
    (data / FILE).write_text('{"version": 1, "submissions": [{"name": 1}]}')
    with pytest.raises(RegisterError, match="is no register of version 1"):
        keep(replace(found, status="broken"))
    assert main(["list", "auditors"]) == 3
    assert "is no register" in capsys.readouterr().err
    assert "1" in (data / FILE).read_text()


def test_an_unknown_name_is_none(data: Path) -> None:
    assert submission("nobody") is None
    assert history() == ()
