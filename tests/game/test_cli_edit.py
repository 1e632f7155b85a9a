"""`edit preview`, `edit table` and `play --as red` as a user meets them."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from game.cli import main
from models.zoo import Trained

Run = Callable[..., tuple[int, str, str]]
PNG = b"\x89PNG\r\n\x1a\n"
CUT = """\
version: 1
id: cut
seed: 3
edit: {kind: head_ablate, head: [2, 1]}
"""
NOISY = """\
version: 1
id: noisy
seed: 3
edit: {kind: untouched}
camouflage: [{kind: head_permute}]
"""


@pytest.fixture
def run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tiny: Trained
) -> Run:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cut.yaml").write_text(CUT)
    (tmp_path / "noisy.yaml").write_text(NOISY)

    def call(*words: str) -> tuple[int, str, str]:
        code = main(list(words))
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_a_preview_tells_truth_gates_and_measures_and_saves_a_picture(run: Run, tmp_path: Path) -> None:
    words = ("edit", "preview", "cut.yaml", "--recipe", "facts-tiny", "--save", "cut.png", "--json")
    code, out, _ = run(*words)
    data = json.loads(out)
    assert code == 0
    assert data["record"]["components"] == ["blocks.2.attn.1"]
    assert data["base"] == "facts-tiny@0.0"
    assert (tmp_path / "cut.png").read_bytes().startswith(PNG)


def test_a_preview_for_people_shows_what_carries_the_behaviour(run: Run) -> None:
    _, out, _ = run("edit", "preview", "cut.yaml", "--recipe", "facts-tiny")
    for words in ("head 1 of layer 2 cut out", "written at", "gates, on the reloaded file", "it repairs"):
        assert words in out
    _, plain, _ = run("edit", "preview", "cut.yaml", "--recipe", "facts-tiny", "--display", "plain")
    assert "written at\tblocks.2.attn.1" in plain


def test_a_control_can_be_looked_at_too(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("edit", "preview", "noisy.yaml", "--recipe", "facts-tiny", "--save", "n.png")
    assert code == 0
    assert "the right verdict is clean" in out
    assert (tmp_path / "n.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("head: [2, 1]", "head: [9, 0]", r"cut\.yaml:4:\d+: edit\.head: got \[9, 0\]"),
        ("kind: head_ablate", "kind: head_ablat", 'did you mean "head_ablate"'),
        ("seed: 3", "seed: 3\ncamouflage: [{kind: head_permut}]", "camouflage"),
    ],
)
def test_what_cannot_be_edited_is_told_with_its_place_and_nothing_is_written(
    run: Run, tmp_path: Path, old: str, new: str, message: str
) -> None:
    (tmp_path / "cut.yaml").write_text(CUT.replace(old, new))
    code, out, err = run("edit", "preview", "cut.yaml", "--recipe", "facts-tiny", "--save", "cut.png")
    assert code == 2
    assert out == ""
    assert re.search(message, err), err
    assert not (tmp_path / "cut.png").exists()


def test_red_faces_a_panel_and_gets_a_plot(run: Run, tmp_path: Path) -> None:
    words = (
        "play",
        "--as",
        "red",
        "cut.yaml",
        "--recipe",
        "facts-tiny",
        "--cases",
        "4",
        "--checkpoints",
        "1",
    )
    code, out, _ = run(*words, "--panel", "confidence_scan", "--json")
    assert code == 0
    sealed, data = map(json.loads, out.splitlines())
    assert sealed["kind"] == "commitments"
    (strength,) = data["strengths"]
    assert strength["strength"] == "as given"
    assert strength["cases"] == 4
    assert set(strength["skills"]) == {"confidence_scan"}
    assert next((tmp_path / "logs").glob("*red-head-ablate*/red.png")).read_bytes().startswith(PNG)


def test_a_specification_whose_gates_fail_is_not_dealt(run: Run, tmp_path: Path) -> None:
    (tmp_path / "cut.yaml").write_text(CUT.replace("head: [2, 1]", "head: [0, 0]"))
    code, _, err = run("play", "--as", "red", "cut.yaml", "--recipe", "facts-tiny")
    assert code == 2
    assert "gates: not met on facts-tiny@0.0: changed 0." in err
    assert not (tmp_path / "logs").exists()


def test_red_hears_at_once_that_a_control_hides_nothing(run: Run) -> None:
    code, _, err = run("play", "--as", "red", "noisy.yaml", "--recipe", "facts-tiny", "--panel", "prior")
    assert code == 2
    assert "is a control; red plays edits" in err


def test_an_unknown_strategy_is_told_with_the_nearest_name(run: Run) -> None:
    code, _, err = run("play", "--as", "red", "quite")
    assert code == 2
    assert 'did you mean "quiet"' in err


def test_the_table_refuses_a_kind_that_is_not_there(run: Run) -> None:
    code, _, err = run("edit", "table", "--kinds", "romme")
    assert code == 2
    assert 'unknown kind of edit "romme"' in err
