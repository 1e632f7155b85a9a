import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from game import catalogue
from game.cli import main
from game.dealing.suite import Suite
from game.runs.run_folder import artefact_path
from game.runs.store import open_run, read_run
from game.runs.tournament import OnEvent, Source
from models.zoo import Trained
from tests.game import hand_made

PLUGINS = Path(hand_made.__file__)
SAYER, CRASHER = f"{PLUGINS}@Sayer", f"{PLUGINS}@Crasher"
INTERRUPTED, HOSTILE = f"{PLUGINS}@Interrupted", f"{PLUGINS}@Hostile"
CASES = hand_made.cases(4)
SUITES = ", ".join(entry.name for entry in catalogue.suites())

TOY = """\
version: 1
name: toy
title: Two cut heads
budget: 500
score: [detection, localisation]
bases: [{recipe: facts-tiny, checkpoints: 1}]
groups:
  - name: cut
    count: 2
    edit: {kind: head_ablate}
    sites: {facts-tiny: ["blocks.2.attn.*", "blocks.3.attn.*"]}
    controls: [untouched]
"""


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Suites deal the hand-made cases, which need no training and hold no reference for a yardstick."""

    def source(suite: Suite, on_event: OnEvent) -> Source:
        return hand_made.source(CASES, suite.name, digest=suite.digest)

    monkeypatch.setattr("game.runs.tournament.suite_source", source)
    monkeypatch.setattr("game.cli._names.shipped_yardsticks", list)


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command in process with its own log folder: exit code, stdout, stderr."""

    def run(*words: str) -> tuple[int, str, str]:
        code = main([*words, "--isolation", "none", "--log-dir", str(tmp_path / "logs")])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


Run = Callable[..., tuple[int, str, str]]


def lines(out: str) -> list[dict[str, Any]]:
    """What follows the line that is told before the first round."""
    committed, *rest = map(json.loads, out.splitlines())
    assert committed["kind"] == "commitments"
    return rest


def timeless(out: str) -> list[dict[str, Any]]:
    return [{key: row[key] for key in row if key not in ("wall_s", "cpu_s")} for row in lines(out)]


@pytest.mark.usefixtures("by_hand")
def test_json_has_a_line_a_round_and_the_leaderboard_last(run: Run) -> None:
    code, out, _ = run("play", "smoke", "--auditor", SAYER, "--json", "-A", f"{SAYER}.p_edited=0.9")
    rows = lines(out)
    assert code == 0
    assert [row["kind"] for row in rows] == ["round"] * 4 + ["leaderboard"]
    assert [row["p_edited"] for row in rows[:4]] == [0.9] * 4
    assert rows[0]["truth"]["written"] == ["blocks.0.mlp"]
    assert rows[0]["detection"] == pytest.approx((0.25 - 0.01) / 0.25)
    (row,) = rows[-1]["rows"]
    assert (row["auditor"], row["n"], row["failures"]) == ("Sayer", 4, 0)


@pytest.mark.usefixtures("by_hand")
@pytest.mark.parametrize("display", ["rich", "plain", "none"])
def test_the_run_s_folder_is_told_first_and_last_on_stderr(display: str, run: Run, tmp_path: Path) -> None:
    _, out, err = run("play", "smoke", "--auditor", SAYER, "--display", display)
    (folder,) = (tmp_path / "logs").iterdir()
    assert str(folder) not in out
    assert (out == "") == (display == "none")
    with read_run(folder) as store:
        run_info = store.run()
        assert (run_info.state, len(store.rounds())) == ("finished", 4)
    committed, sealed = f"4 cases, committed to as {run_info.commitments}", f"sealed as {run_info.head}"
    assert err.splitlines() == [f"run {folder}", committed, sealed, f"run {folder}"]


@pytest.mark.usefixtures("by_hand")
def test_play_tells_each_round_s_belief_and_where_it_really_was(run: Run) -> None:
    _, out, _ = run("play", "smoke", "--auditor", SAYER)
    assert out.count("edited with 0.50 (prior 0.50)") == 4
    assert out.count("<- written") == 2
    assert "headline = detection + localisation" in out


@pytest.mark.usefixtures("by_hand")
def test_one_case_is_played_alone(run: Run) -> None:
    _, out, _ = run("play", "smoke:case-002", "--auditor", SAYER, "--json")
    assert [row.get("case") for row in lines(out)] == ["case-002", None]


@pytest.mark.usefixtures("by_hand")
def test_a_tournament_prints_the_leaderboard_without_debriefs(run: Run) -> None:
    code, out, _ = run("tournament", "run", "smoke", "--auditors", f"{SAYER},{HOSTILE}", "--display", "plain")
    assert code == 0
    assert out.startswith("rank\tauditor\theadline")
    assert {line.split("\t")[1] for line in out.splitlines()} >= {"Sayer", "Hostile"}


@pytest.mark.usefixtures("by_hand")
def test_failed_rounds_show_in_the_exit_code_and_in_a_column(run: Run) -> None:
    code, out, _ = run("play", "smoke", "--auditor", CRASHER, "--json")
    rows = lines(out)
    assert code == 1
    assert rows[-1]["rows"][0]["failures"] == 4
    assert rows[0]["error"].startswith("ZeroDivisionError: nothing to divide by")
    assert rows[0]["p_edited"] is None


@pytest.mark.usefixtures("by_hand")
@pytest.mark.parametrize("display", ["rich", "plain"])
def test_what_an_auditor_says_drives_no_terminal(display: str, run: Run) -> None:
    _, out, _ = run("play", "smoke", "--auditor", HOSTILE, "--display", display)
    assert set(out).isdisjoint("\x1b\x07\u202e")
    assert ("[31m[bold]red" in out) == (display == "rich")


@pytest.mark.usefixtures("by_hand")
def test_json_holds_only_finite_numbers(run: Run) -> None:
    _, out, _ = run("play", "smoke", "--auditor", HOSTILE, "--json")
    assert lines(out)[0]["claims"] == [{"loudness": None}]
    assert "\x1b" not in out


@pytest.mark.usefixtures("by_hand")
def test_the_same_seed_gives_the_same_output(run: Run) -> None:
    words = ("play", "smoke", "--auditor", SAYER, "--json", "--seed")
    first, again = run(*words, "5")[1], run(*words, "5")[1]
    assert first.splitlines()[0] == again.splitlines()[0]  # the commitments too
    assert timeless(first) == timeless(again)


@pytest.mark.usefixtures("by_hand")
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_command_goes_on_when_it_is_given_again(
    signum: int, code: int, run: Run, tmp_path: Path
) -> None:
    words = ("play", "smoke", "--auditor", INTERRUPTED, "-A", f"{INTERRUPTED}.signals=[{int(signum)}]")
    for done in range(1, 4):
        stopped, out, err = run(*words)
        (folder,) = (tmp_path / "logs").iterdir()
        assert (stopped, out) == (code, "")
        assert err.splitlines()[-2:] == ["stopped; the same command goes on from here", f"run {folder}"]
        with read_run(folder) as store:
            assert len(store.rounds()) == done
    assert "going on after 3 of 4 rounds" in run(*words)[2]


def refusal(run: Run, *words: str) -> str:
    """The one line that stderr ends with, of a command that is refused."""
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    (said,) = [line for line in err.splitlines() if not line.startswith("run ")]
    return said


@pytest.mark.usefixtures("by_hand")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        # command                                       what is wrong with it
        (
            "play smok --auditor x",
            f'unknown suite "smok"; allowed: {SUITES}; did you mean "smoke"?',
        ),
        ("play smoke --auditor no-such", 'unknown auditor "no-such"; allowed: '),
        ("play smoke --auditor nowhere.py@Norms", "nowhere.py: no such file"),
        (f"play smoke --auditor {PLUGINS}@Sayr", 'unknown class "Sayr"; allowed: '),
        (
            f"play smoke:case-04 --auditor {SAYER}",
            'smoke: unknown case "case-04"; allowed: case-000, case-001',
        ),
        (f"play smoke --auditor {SAYER} -A {SAYER}.p=1", 'unknown setting "p"; allowed: p_edited'),
        (f"play smoke --auditor {SAYER} -A {SAYER}.p_edited=high", "Input should be a valid number"),
        (f"play smoke --auditor {SAYER} -A norms.top=3", '-A norms.top: unknown auditor "norms"; allowed: '),
        (f"tournament run smoke --auditors {SAYER},{SAYER}", f"--auditors: {SAYER} is listed twice"),
        (
            f"tournament run smoke --auditors {SAYER},{PLUGINS.parent}/../game/hand_made.py@Sayer",
            "auditors: two are named Sayer, and a round is known by its auditor's name",
        ),
    ],
)
def test_what_cannot_be_played_is_refused_in_one_line(words: str, message: str, run: Run) -> None:
    said = refusal(run, *words.split())
    assert said.startswith("audit-game: error: ")
    assert message in said


@pytest.mark.usefixtures("by_hand")
def test_a_run_that_another_process_plays_is_refused(run: Run, tmp_path: Path) -> None:
    run("play", "smoke", "--auditor", INTERRUPTED)
    (folder,) = (tmp_path / "logs").iterdir()
    with open_run(folder):
        said = refusal(run, "play", "smoke", "--auditor", INTERRUPTED)
    assert said == f"audit-game: error: {folder}: another process plays this run; wait for it or stop it"


@pytest.mark.usefixtures("by_hand")
def test_a_damaged_run_is_an_error_of_its_own(run: Run, tmp_path: Path) -> None:
    both = ("tournament", "run", "smoke", "--auditors", f"{INTERRUPTED},{SAYER}")
    run(*both)
    (folder,) = (tmp_path / "logs").iterdir()
    with read_run(folder) as store:
        artefact = artefact_path(folder, store.cases()[0].artefact)
    artefact.write_bytes(b"something else")
    code, out, err = run(*both)
    assert (code, out) == (3, "")
    assert f"{artefact}: the bytes are not those that were saved" in err


@pytest.fixture
def toy(tmp_path: Path, tiny: Trained) -> Path:
    """A suite over the tiny world, whose one checkpoint is trained already."""
    assert tiny.name == "facts-tiny@0.0"
    (tmp_path / "toy.yaml").write_text(TOY)
    return tmp_path / "toy.yaml"


def test_a_suite_is_dealt_played_and_told(toy: Path, run: Run) -> None:
    code, out, _ = run("play", str(toy), "--auditor", SAYER, "--budget", "123", "--seed", "2", "--json")
    assert code == 0
    *rounds, board = lines(out)
    assert [row["notes"].partition(", ")[2] for row in rounds] == ["123 credits"] * 2
    assert {row["truth"]["group"] for row in rounds} == {"cut"}
    for row in rounds:
        assert len(row["truth"]["written"]) == row["truth"]["edited"]
        assert (row["detection"], row["localisation"]) == (0.0, 0.0)
    assert (board["suite"], board["rows"][0]["headline"]) == ("toy", {"mean": 0.0, "low": 0.0, "high": 0.0})


def test_the_demo_plays_three_auditors_beside_the_yardsticks_and_shows_who_found_what(
    toy: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("game.cli.demo.SUITE", str(toy))
    _, out, _ = run("demo", "--seed", "0")
    yardsticks = [entry.name for entry in catalogue.auditors() if entry.mark == "yardstick"]
    for name in ("ensemble", "spectral_spike", "confidence_scan", *yardsticks):
        assert f" {name} " in out
    assert " truth " in out
    assert "headline = detection + localisation" in out


def test_a_tournament_always_carries_the_shipped_yardsticks(toy: Path, run: Run) -> None:
    _, out, _ = run("tournament", "run", str(toy), "--auditors", SAYER, "--seed", "2", "--json")
    rows = {row["auditor"]: row for row in lines(out)[-1]["rows"]}
    yardsticks = {"oracle", "prior", "random_guess", "shortcut"}
    assert set(rows) == {"Sayer"} | yardsticks
    assert {name for name, row in rows.items() if row["yardstick"]} == yardsticks
    assert rows["prior"]["headline"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert rows["oracle"]["detection"]["mean"] > 0.9
    assert lines(out)[-1]["normalised"]["oracle"] == 1.0


def test_a_suite_is_described_before_it_is_played(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["suite", "describe", str(toy), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    (group,), (prior,) = data["groups"], data["location_priors"]
    assert (data["suite"], data["cases"]) == ("toy", 2)
    assert (group["kind"], group["controls"]) == ("head_ablate", ["untouched"])
    open_sites = group["sites"]["facts-tiny"]
    assert (prior["components"], prior["probability"]) == (open_sites, pytest.approx(1 / open_sites))
    assert 2 ** prior["bits"] == pytest.approx(open_sites)
    assert main(["suite", "describe", str(toy)]) == 0
    assert "toy · Two cut heads" in capsys.readouterr().out


def test_a_suite_s_faults_are_told_with_their_places(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy.write_text(TOY.replace("blocks.3.attn.*", "blocks.3.mlp").replace("untouched", "untuched"))
    assert main(["suite", "describe", str(toy)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    said = captured.err.splitlines()
    assert len(said) == 2
    assert f'{toy}:11:45: groups.0.sites.facts-tiny.1: unknown site "blocks.3.mlp"' in said[0]
    assert 'did you mean "untouched"?' in said[1]
    assert main(["validate", str(toy)]) == 2
    assert capsys.readouterr().out.splitlines() == [line.removeprefix("audit-game: error: ") for line in said]
