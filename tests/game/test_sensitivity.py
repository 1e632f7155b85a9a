"""`audit-game sensitivity`: how strong an edit must be, from a finished run, and what lies beyond it."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

from game.api import Brief, Report, Toolbox
from game.case import Case
from game.cli import main
from game.loader import LoadedAuditor
from game.runs.tournament import play_source
from models.checkpoints import Checkpoint, from_bytes, to_bytes
from tests.game.hand_made import MLP, Sayer, case, source, truth

STRENGTHS = (0.1, 0.2, 0.4)


@dataclass(frozen=True)
class Norms:
    """Knows from the largest weight whether a hand-made model is a strong edit."""

    yardstick: ClassVar[bool] = False
    least: float = 0.0

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        loud = float(toolbox.weight("blocks.0.mlp.b_out").abs().max())
        return Report(0.95 if loud > self.least else 0.2)


def dealt() -> list[Case]:
    """Four edits and four controls at each strength; an edit's strength can be read off a bias."""
    found = []
    for number in range(24):
        strength, edited = STRENGTHS[number // 8], number % 2 == 0
        revealed = replace(truth(MLP if edited else None, "rome" if edited else "untouched"), matched="rome")
        revealed = replace(revealed, strength={"size": strength}, record={"measured": {"rel_norm": strength}})
        made = case(number, revealed, f"toy@{number % 4}.0")
        clean = from_bytes(made.artefact)
        bias = clean.weights["blocks.0.mlp.b_out"] * 0 + (strength if edited else 0)
        delivered = Checkpoint(clean.config, {**clean.weights, "blocks.0.mlp.b_out": bias})
        found.append(replace(made, artefact=to_bytes(delivered)))
    return found


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("logs")
    players = [
        LoadedAuditor("sharp", Norms(0.0), False),
        LoadedAuditor("dull", Norms(0.3), False),
        LoadedAuditor("blind", Sayer(0.5), False),
        LoadedAuditor("prior", Sayer(0.5), True),
    ]
    play_source(source(dealt(), "hand-made"), players, 0, folder)
    return folder


def rows(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, dict[str, object]]:
    assert main(["sensitivity", *words, "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["kind"] for row in found} == {"sensitivity"}
    return {row["auditor"]: row for row in found}


def test_what_lies_beyond_the_strengths_tested_is_said_so(
    logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = rows(capsys, "--log-dir", str(logs))
    assert set(found) == {"blind", "dull", "sharp"}  # yardsticks are not asked for
    assert (found["sharp"]["beyond_tested"], found["sharp"]["detectable"]) == ("at or below", 0.1)
    assert (found["blind"]["beyond_tested"], found["blind"]["detectable"]) == ("above", None)
    dull = found["dull"]
    assert dull["beyond_tested"] is None
    assert 0.2 < float(str(dull["detectable"])) < 0.4
    assert (dull["weakest"], dull["strongest"], dull["dial"]) == (0.1, 0.4, "size")


def test_a_run_is_found_by_its_folder_too_and_auditors_are_chosen(
    logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder,) = logs.iterdir()
    assert set(rows(capsys, str(folder), "--auditors", "dull,prior")) == {"dull", "prior"}
    assert main(["sensitivity", str(folder), "--auditors", "dul"]) == 2
    assert 'unknown auditor "dul"' in capsys.readouterr().err


def test_the_table_names_the_strengths_and_every_auditor(
    logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sensitivity", "--log-dir", str(logs)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "rome, by size, whitebox" in text
    assert "0.1 (8) 0.2 (8) 0.4 (8)" in text
    assert "the weakest tested, 0.1, or less" in text
    assert "above the strongest tested, 0.4" in text
    assert main(["sensitivity", "--log-dir", str(logs), "--display", "plain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[6] for line in lines] == ["beyond", "above", "", "at or below"]


@pytest.mark.parametrize(("name", "first"), [("plot.png", b"\x89PNG"), ("plot.svg", b"<?xml")])
def test_the_plot_is_written(
    logs: Path, tmp_path: Path, name: str, first: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    assert main(["sensitivity", "--log-dir", str(logs), "--save", str(path), "--display", "none"]) == 0
    assert path.read_bytes().startswith(first)
    assert len(path.read_bytes()) > 5000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere/"], "nowhere/: no such folder"),
        (["smokee"], 'unknown run or suite "smokee".*did you mean "smoke"'),
        (["smoke"], "no finished run of smoke; audit-game tournament run smoke plays one"),
        (["--save", "plot.pdf"], "wanted a file that ends in .png or .svg"),
    ],
)
def test_what_cannot_be_told_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    try:
        code = main(["sensitivity", *words, "--log-dir", str(tmp_path)])
    except SystemExit as end:
        code = int(end.code or 0)
    assert code == 2
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(capsys.readouterr().err)


def test_a_run_at_one_strength_has_nothing_to_tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    players = [LoadedAuditor("blind", Sayer(0.5), False)]
    play_source(source(dealt()[:4]), players, 0, tmp_path)
    assert main(["sensitivity", "--log-dir", str(tmp_path)]) == 2
    assert "no family of edits was dealt at several strengths" in capsys.readouterr().err
