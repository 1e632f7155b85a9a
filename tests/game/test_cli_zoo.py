import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from game.cli import main
from models.shelf import kept
from models.zoo import Trained
from tests.game.test_cli import RECIPE, outcome, refusal


@pytest.fixture
def zoo(tiny: Trained, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own that holds the tiny checkpoint alone."""
    folder = tmp_path / "cache" / "zoo"
    folder.mkdir(parents=True)
    for path in (own_cache / "zoo").glob("facts-tiny-0-0-*"):
        (folder / path.name).write_bytes(path.read_bytes())
    monkeypatch.setenv("AUDIT_GAME_CACHE", str(tmp_path / "cache"))
    return folder


def lines(capsys: pytest.CaptureFixture[str], *words: str) -> Iterator[list[str]]:
    assert main([*words, "--display", "plain"]) == 0
    return (line.split("\t") for line in capsys.readouterr().out.splitlines())


def checkpoint(zoo: Path) -> Path:
    (path,) = zoo.glob("*.safetensors")
    return path


def test_the_list_tells_what_is_kept_and_whether_it_is_current(
    zoo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ((name, state, digest, size, _seconds, measures),) = lines(capsys, "zoo", "list")
    assert (name, state) == ("facts-tiny@0.0", "current")
    assert digest == (kept()[0].note or pytest.fail("no note")).hash[:12]
    assert size.endswith(" MB")
    assert measures.startswith("known ")


def test_a_checkpoint_of_other_code_is_outdated_and_pruned(
    zoo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    note = kept()[0].note
    assert note is not None
    old = note.model_copy(update={"origin": {**note.origin, "code": "0" * 16}})
    path = zoo / f"facts-tiny-0-0-{old.key}.safetensors"
    path.write_bytes(checkpoint(zoo).read_bytes())
    path.with_suffix(".json").write_text(old.model_dump_json())
    states = [row[1] for row in lines(capsys, "zoo", "list")]
    assert sorted(states) == ["current", "outdated"]
    assert [row[1] for row in lines(capsys, "zoo", "prune", "--dry-run")] == ["outdated"]
    assert path.exists()
    assert [row[0] for row in lines(capsys, "zoo", "prune")] == [path.name]
    assert not path.exists()
    assert not path.with_suffix(".json").exists()
    assert [row[1] for row in lines(capsys, "zoo", "list")] == ["current"]


def test_prune_takes_leftovers_of_killed_training_but_nothing_that_is_kept(
    zoo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("facts-tiny-0-9-abc.unfinished", ".writing-abc", "facts-tiny-0-9-abc.json"):
        (zoo / name).write_bytes(b"left")
        os.utime(zoo / name, (0, 0))
    (zoo / ".writing-now").write_bytes(b"half")  # somebody is at it
    removed = [row[0] for row in lines(capsys, "zoo", "prune")]
    assert sorted(removed) == [".writing-abc", "facts-tiny-0-9-abc.json", "facts-tiny-0-9-abc.unfinished"]
    assert main(["zoo", "verify", "--display", "none"]) == 0


def test_verify_finds_a_changed_byte(zoo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [row[2] for row in lines(capsys, "zoo", "verify")] == ["intact"]
    path = checkpoint(zoo)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))
    assert main(["zoo", "verify", "--display", "plain"]) == 3
    assert capsys.readouterr().out.splitlines()[0].endswith("damaged\tdamaged")


@pytest.mark.parametrize("change", [{"seed": 1}, {"metrics": {}}, {"sha256": "0" * 64}])
def test_a_note_that_was_changed_is_noticed(zoo: Path, change: dict[str, object]) -> None:
    note = checkpoint(zoo).with_suffix(".json")
    note.write_text(json.dumps(json.loads(note.read_text()) | change))
    expected = 0 if "metrics" in change else 3  # measures decide nothing; they are measured, not checked
    assert main(["zoo", "verify", "--display", "none"]) == expected


def test_training_again_gives_the_same_bytes(zoo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(lines(capsys, "zoo", "verify", "facts-tiny@0.0", "--retrain"))
    assert [row[2] for row in rows] == ["same bytes when trained again"]


def test_show_tells_origin_measures_and_what_is_wanted(zoo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row[0]: row[1:] for row in lines(capsys, "zoo", "show", "facts-tiny@0.0")}
    assert rows["task"] == ["facts"]
    assert rows["known"][1] == "at least 0.95"
    assert main(["zoo", "show", "facts-tiny@0.0", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["metrics"]["known"] == pytest.approx(float(rows["known"][0]), abs=1e-4)
    assert data["recipe"]["name"] == "facts-tiny"
    assert main(["zoo", "show", "facts-tiny@0.0"]) == 0
    assert "loss" in capsys.readouterr().out


def test_an_unknown_checkpoint_is_told_with_the_nearest(
    zoo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refusal(capsys, "zoo", "show", "facts-tiny@0.1")
    assert 'unknown checkpoint "facts-tiny@0.1"; allowed: facts-tiny@0.0' in told
    assert outcome("zoo", "nothing") == 2


def test_training_leaves_a_picture_of_its_loss(zoo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "facts-tiny"]) == 0
    told = capsys.readouterr()
    picture = checkpoint(zoo).with_suffix(".png")
    assert f"loss curve {picture}" in told.err
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert told.out.startswith("facts-tiny@0.0\t")


def test_a_cache_that_cannot_be_written_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("AUDIT_GAME_CACHE", str(tmp_path / "file"))
    assert "file/zoo: cannot be written: Not a directory" in refusal(capsys, "train", "facts-tiny")


def test_a_full_disk_is_one_clear_error_and_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "brief.yaml"
    recipe.write_text(RECIPE)
    cache = tmp_path / "cache"
    monkeypatch.setenv("AUDIT_GAME_CACHE", str(cache))

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    told = refusal(capsys, "train", str(recipe), "--display", "none")
    assert told.endswith("zoo: cannot be written: No space left on device")
    assert [path.suffix for path in (cache / "zoo").iterdir()] in ([], [".lock"])


def test_a_file_may_not_carry_the_name_of_another_recipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(RECIPE.replace("name: tiny", "name: facts-small"))
    assert 'name: "facts-small" names another recipe already' in refusal(capsys, "train", str(file))


def test_a_recipe_by_path_is_shown_trained_again_and_outdated_by_its_task(
    zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = Path(__file__).parents[2] / "docs" / "examples"
    for name in ("weekdays.py", "weekdays.yaml"):
        (tmp_path / name).write_text((examples / name).read_text())
    assert main(["train", str(tmp_path / "weekdays.yaml"), "--display", "none"]) == 0
    rows = list(lines(capsys, "zoo", "verify", "weekdays@0.0", "--retrain"))
    assert [row[1:] for row in rows] == [["current", "same bytes when trained again"]]
    (tmp_path / "weekdays.py").write_text((examples / "weekdays.py").read_text() + "\nMORE = 1\n")
    states = {row[0]: row[1] for row in lines(capsys, "zoo", "list")}
    assert states == {"facts-tiny@0.0": "current", "weekdays@0.0": "outdated"}
