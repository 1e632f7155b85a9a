import json
import subprocess
import sys
from pathlib import Path

import pytest

from game.cli import main
from game.cli._entry import command_names
from game.cli._faults import CommandError
from game.cli._options import LARGEST_SEED
from game.cli._progress import can_redraw

ROOT = Path(__file__).resolve().parents[2]
SLOW = {
    "torch",
    "numpy",
    "rich",
    "pydantic",
    "yaml",
    "scipy",
    "filelock",
    "importlib.metadata",
    "safetensors",
}

RECIPE = """\
version: 1
name: tiny
description: Learns nothing.
task: {kind: facts, subjects: 20, relations: 1, objects: 4, heldout: 0.2, sentences: 3}
architecture:
  {n_layers: 1, d_model: 4, n_heads: 1, d_head: 4, d_mlp: 4, window: [null], mlp: [true]}
training: {lr: 1.0e-3, batch: 2, warmup: 1, answer_loss: 9.0, cooldown: 1, max_steps: 2}
criterion: {known: 0.0}
"""


def outcome(*words: str) -> int:
    """The exit code, however the command ended."""
    try:
        return main(words)
    except SystemExit as end:
        return int(end.code or 0)


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What stderr says of a command that is refused as such, and that stdout says nothing."""
    assert outcome(*words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("\n")
    assert captured.err.count("\n") == 1
    return captured.err.strip()


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["demo", "--help"],
        ["check", "--help"],
        ["new", "auditor", "--help"],
        ["tournament", "run", "--help"],
        ["--vers"],
    ],
)
def test_help_and_refusals_import_nothing_slow(words: list[str]) -> None:
    code = (
        "import sys\nfrom game.cli import main\n"
        f"try: main({words})\nexcept SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert set(done.stderr.split()).isdisjoint(SLOW)


def test_list_imports_neither_torch_nor_pydantic() -> None:
    code = (
        "import sys\nfrom game.cli import main\nmain(['list', 'edits'])\nprint(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert set(done.stderr.split()).isdisjoint({"torch", "numpy", "pydantic", "scipy"})


def test_help_names_every_command_with_its_own_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome("--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert {"demo", "list", "play", "tournament", "train"} <= set(command_names())
    assert [name for name in command_names() if f" {name} " not in text] == []
    for words in ("demo Play the small suite", "train Train a recipe's checkpoint", "validate Check recipes"):
        assert words in text


def test_only_the_chosen_command_s_arguments_are_built(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome("train", "--help") == 0
    assert "--world-seed" in capsys.readouterr().out
    assert outcome("--help") == 0
    assert "--world-seed" not in capsys.readouterr().out


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome("--version") == 0
    assert capsys.readouterr().out.startswith("audit-game 0")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        # command                                    what is wrong with it
        ("", "audit-game: error: the following arguments are required: COMMAND"),
        (
            "tournment run x",
            'error: unknown command "tournment"; allowed: tournament, .*; did you mean "tournament"?',
        ),
        ("tournament", "audit-game tournament: error: the following arguments are required: ACTION"),
        ("suite describe", "audit-game suite describe: error: the following arguments are required: SUITE"),
        ("play smoke --auditor prior --new", "--sealed, --new-worlds, --new: of a case by hand"),
        ("demo --sed 3", "audit-game: error: unrecognized arguments: --sed 3"),
        (
            "demo --seed -1",
            f'audit-game demo: error: argument --seed: got "-1", wanted an integer from 0 to {LARGEST_SEED}',
        ),
        (f"demo --seed {LARGEST_SEED + 1}", f"wanted an integer from 0 to {LARGEST_SEED}"),
        ("demo --seed 1.5", 'argument --seed: got "1.5", wanted an integer'),
        ("demo --seed seven", 'argument --seed: got "seven", wanted an integer'),
        ("train x --world-seed -2", 'argument --world-seed: got "-2", wanted an integer'),
        ("demo --budget 0", 'argument --budget: got "0", wanted a number of credits above 0'),
        ("demo --budget -5", 'argument --budget: got "-5", wanted a number of credits above 0'),
        ("demo --budget nan", 'argument --budget: got "nan", wanted a number of credits above 0'),
        ("demo --budget inf", 'argument --budget: got "inf", wanted a number of credits above 0'),
        ("demo --budget much", 'argument --budget: got "much", wanted a number of credits above 0'),
        ("demo --display html", "argument --display: invalid choice: 'html'"),
        ("demo -A norms", 'argument -A: got "norms", wanted NAME.KEY=VALUE, such as norms.top=3'),
        ("demo -A top=3", 'argument -A: got "top=3", wanted NAME.KEY=VALUE'),
        ("demo -A norms.=3", 'argument -A: got "norms.=3", wanted NAME.KEY=VALUE'),
        ("demo -A norms.k=[1", 'argument -A: got "norms.k=[1"; the value is no JSON: Expecting'),
        ("tournament run x --auditors a,,b", "argument --auditors: got 'a,,b', wanted names with a comma"),
        ("list recipe", 'argument WHAT: unknown kind "recipe"; allowed: .*; did you mean "recipes"?'),
        (
            "train facts-smal",
            'audit-game: error: unknown recipe "facts-smal"; .* did you mean "facts-small"?',
        ),
        ("train nowhere/facts.yaml", "audit-game: error: nowhere/facts.yaml: no such file"),
        ("suite describe nowhere.yml", "nowhere.yml: no such file"),
        ("play no-such-suite --auditor x", 'audit-game: error: unknown suite "no-such-suite"; allowed: '),
        (
            "play no-such-suite:case-001 --auditor x",
            'audit-game: error: unknown suite "no-such-suite"; allowed: ',
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(
    words: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    said = refusal(capsys, *words.split())
    start, _, end = message.partition(".*")
    assert start in said
    assert said.endswith(end)


def test_a_log_folder_that_cannot_be_made_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert refusal(capsys, "demo", "--log-dir", str(tmp_path / "file" / "logs")).endswith("Not a directory")


def test_list_prints_rows_on_stdout_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome("list", "recipes", "--display", "plain") == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    rows = [line.split("\t") for line in captured.out.splitlines()]
    assert ["facts-small", ""] in [row[:2] for row in rows]
    assert outcome("list", "recipes") == 0
    assert "facts-small" in capsys.readouterr().out


def test_list_as_json_is_a_row_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome("list", "edits", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"kind", "name", "summary", "mark"} == set(rows[0])
    assert ("edit", "rrome") in [(row["kind"], row["name"]) for row in rows]


def test_with_no_display_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome("list", "recipes", "--display", "none") == 0
    assert capsys.readouterr() == ("", "")


def test_output_that_nobody_reads_to_the_end_is_no_error() -> None:
    command = [sys.executable, "-m", "game.cli", "list", "recipes", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        listing.stdout.close()
        assert listing.stderr.read() == b""
    assert listing.returncode == 1


def test_a_terminal_without_unicode_gets_escapes_and_no_traceback() -> None:
    code = (
        "import sys\nfrom game.cli import main\nmain(['list', 'recipes', '--json'])\nprint('\\u2501\\ud800')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        cwd=ROOT,
        env={"PYTHONIOENCODING": "ascii"},
        check=True,
    )
    assert done.stdout.splitlines()[-1] == b"\\u2501\\ud800"


def test_validate_shows_every_fault_of_every_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, other = tmp_path / "good.yaml", tmp_path / "bad.yaml", tmp_path / "other.yaml"
    good.write_text(RECIPE)
    bad.write_text(RECIPE.replace("version: 1", "version: 2").replace("max_steps: 2", "max_stpes: 2"))
    other.write_text("name: what is this\n")
    missing = tmp_path / "missing.yaml"
    assert outcome("validate", *map(str, (good, bad, other, missing))) == 2
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = captured.out.splitlines()
    assert lines[0] == f"{good}: valid recipe"
    assert lines[1].startswith(f"{bad}:1:10: version: ")
    assert [line for line in lines if line.startswith(f"{bad}:7:") and 'did you mean "max_steps"?' in line]
    known = "a suite (groups), an edit (edit), a recipe (architecture) nor a manifest (entry)"
    assert f"{other}:1:1: neither {known}" in lines
    assert lines[-1] == f"{missing}: no such file"


def test_validate_knows_an_edit_by_its_content(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text("version: 1\nid: e1\nseed: 1\nedit: {kind: rrom}\n")
    assert outcome("validate", str(spec)) == 2
    said = capsys.readouterr().out
    assert said.startswith(f'{spec}:4:14: edit.kind: unknown edit kind "rrom"; allowed: ')
    assert said.endswith('did you mean "rrome"?\n')


def test_validate_knows_the_manifest_of_a_plug_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = tmp_path / "red.yaml"
    manifest.write_text("name: mine\nversion: 0.1.0\napi: 1\nentry: mine.py@Mine\n")
    assert outcome("validate", str(manifest)) == 2
    assert f"{manifest}:4:8: entry: no such file" in capsys.readouterr().out
    (tmp_path / "mine.py").write_text("")
    assert outcome("validate", str(manifest)) == 0
    assert capsys.readouterr().out == f"{manifest}: valid manifest\n"


def test_sound_files_are_told_as_json_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good.yaml").write_text(RECIPE)
    assert outcome("validate", "--json", str(tmp_path / "good.yaml")) == 0
    assert json.loads(capsys.readouterr().out) == {
        "kind": "valid",
        "file": str(tmp_path / "good.yaml"),
        "is": "recipe",
    }
    assert outcome("validate", "--json", str(tmp_path)) == 2
    assert json.loads(capsys.readouterr().out)["message"] == "is a directory, wanted a YAML file"


def test_train_prints_the_checkpoint_on_stdout_and_trains_it_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_GAME_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    words = ("train", str(tmp_path / "tiny.yaml"), "--world-seed", "2", "--seed", "3", "--json")
    assert outcome(*words) == 0
    first = capsys.readouterr()
    data = json.loads(first.out)
    assert (data["kind"], data["name"], len(data["sha256"])) == ("checkpoint", "tiny@2.3", 64)
    assert 0 <= data["metrics"]["known"] <= 1
    assert outcome(*words) == 0
    again = capsys.readouterr()
    assert (again.out, again.err) == (first.out, "")


def test_training_that_misses_its_criterion_is_told_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_GAME_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tiny.yaml").write_text(RECIPE.replace("known: 0.0", "known: 1.0"))
    assert outcome("train", str(tmp_path / "tiny.yaml"), "--display", "none") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("audit-game: error: tiny@0.0: known reached ")


@pytest.mark.parametrize(
    ("terminal", "term", "ci", "redraws"),
    [
        # stderr  TERM     CI   a bar is drawn
        (True, "xterm", "", True),
        (False, "xterm", "", False),
        (True, "dumb", "", False),
        (True, "xterm", "true", False),
    ],
)
def test_a_bar_is_drawn_only_on_a_terminal_that_can_show_it(
    terminal: bool, term: str, ci: str, redraws: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("CI", ci)
    assert can_redraw() is redraws


def test_a_fault_of_several_lines_is_told_line_by_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_args: object) -> int:
        raise CommandError("one\ntwo", 3)

    monkeypatch.setattr("game.cli.list.run", refuse)
    assert outcome("list", "edits") == 3
    assert capsys.readouterr().err == "audit-game: error: one\naudit-game: error: two\n"


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(_args: object) -> int:
        raise KeyError("bug")

    monkeypatch.setattr("game.cli.list.run", stumble)
    with pytest.raises(KeyError, match="bug"):
        main(["list", "edits"])
