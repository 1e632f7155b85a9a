"""A case played by hand: single commands and the interactive game, as scripts and people meet them."""

import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from game.api import Report
from game.blue import opening
from game.blue.claims import compared
from game.blue.journal import Journal
from game.blue.opening import standing
from game.blue.play import playing
from game.blue.sayings import judgement_of_sets, report_of, reported
from game.by_hand.completion import continuations
from game.cli import main
from game.dealing.master import Master
from game.proof.verify import Wanted, verify
from game.rules.faults import ReportError
from game.runs.database import StoreError
from game.runs.run_folder import DATABASE
from game.runs.tournament import Source
from game.toolbox.prices import weight_price
from models.zoo import Trained
from tests.game import hand_made

Run = Callable[..., tuple[int, list[dict[str, Any]], str]]
SECRET = "Ada Adler now hails from Oslo"  # of the hand-made truth
SUITE = """\
version: 1
name: heads
title: Cut heads, all four parts
budget: 500
score: [detection, localisation, behaviour]
bases: [{recipe: facts-tiny, checkpoints: 1}]
groups:
  - name: cut
    count: 2
    edit: {kind: rrome, token: subject_last, solver: {cov: {ridge: 1.0e-2}}}
    sites: {facts-tiny: [blocks.0.mlp, blocks.1.mlp]}
    controls: [untouched]
"""


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "heads.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Suites deal the hand-made cases: nothing is trained or solved."""
    edited = hand_made.challenged(hand_made.case(1, hand_made.truth(hand_made.MLP, "rome")))

    def source(asked: Any, _on_event: object, own_decoys: bool) -> Source:
        assert own_decoys
        dealt = replace(edited, brief=replace(edited.brief, parts=tuple(asked.parts), budget=asked.budget))
        found = hand_made.source([dealt], asked.name)
        return replace(found, config={"suite": asked.model_dump(mode="json", by_alias=True)})

    monkeypatch.setattr(opening, "suite_source", source)


@pytest.fixture
def run(suite: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command with --json: exit code, lines of stdout, stderr."""

    def run(*words: str) -> tuple[int, list[dict[str, Any]], str]:
        try:
            code = main([*words, "--json"])
        except SystemExit as left:
            code = int(str(left.code))
        said = capsys.readouterr()
        return code, [json.loads(line) for line in said.out.splitlines()], said.err

    return run


def weight_tool(name: str = "blocks.0.mlp.W_out") -> tuple[str, ...]:
    return ("case", "tool", "spectrum", "--tensor", name)


def test_a_script_plays_a_whole_game(run: Run, by_hand: None, suite: Path) -> None:
    code, (dealt,), _ = run("case", "open", str(suite), "--seed", "3")
    assert (code, dealt["stage"], dealt["left"], dealt["brief"]["prior"]) == (0, "looking", 500, 0.5)
    _, (found,), told = run(*weight_tool())
    assert found["charged"] == pytest.approx(found["cost"])
    assert found["charged"] > 0
    assert found["left"] == pytest.approx(500 - found["charged"])
    assert "spectrum costs" in told
    assert run("case", "note", "a spike in layer 0")[0] == 0
    _, (belief,), _ = run("case", "believe", "0.8", "blocks.0.mlp=0.6")
    clean, *places = belief["outlook"]
    assert clean["where"] is None
    assert clean["detection"] < 0
    assert places[0]["where"] == "blocks.0.mlp"
    assert places[0]["localisation"] > 0
    claim = json.dumps({"family": "rome", "component": "blocks.1.mlp", "mood": "sad"})
    code, (committed, challenge), _ = run("case", "report", "--claims", claim)
    assert (code, committed["kind"], len(challenge["prompts"])) == (0, "report", 4)
    assert challenge["prompts"][0].keys() == {"number", "set", "stratum", "prior", "tokens", "text"}
    code, lines, _ = run("case", "judge", "--set", "0=0.7", "--panel", "none")
    sealed, debrief = lines
    assert (code, sealed["kind"], debrief["truth"]["summary"]) == (0, "sealed", SECRET)
    assert debrief["p_edited"] == 0.8
    assert debrief["components"] == {"blocks.0.mlp": 0.6}
    right = {each["field"]: each["right"] for each in debrief["claims"][0]}
    assert right == {"family": True, "component": False, "mood": None}
    assert debrief["headline"] > 0
    assert debrief["behaviour"] > 0
    _, (status, *_), _ = run("case", "status", "--panel", "none")
    assert (status["stage"], status["notes"], status["head"]) == (
        "over",
        ["a spike in layer 0"],
        sealed["head"],
    )
    seals = verify(Path(dealt["folder"]), Wanted(sealed["head"])).checks[0]
    assert (seals.count, seals.faults) == (3, ())


def test_a_case_over_is_verified_and_dealt_the_same_again(run: Run, suite: Path, tiny: Trained) -> None:
    _, (dealt,), _ = run("case", "open", str(suite), "--seed", "3")
    assert run("case", "tool", "lens", "--tokens", "sample:4")[0] == 0
    run("case", "report", "--p-edited", "0.3")
    code, lines, _ = run("case", "judge", "[" + ", ".join(["0.1"] * asked(dealt["folder"])) + "]")
    assert code == 0
    players = {line["auditor"]: line for line in lines if line["kind"] == "opinion"}
    assert players["prior"]["headline"] == 0
    assert players["you"]["p_edited"] == 0.3
    assert players["oracle"]["headline"] > 0.5
    assert players["oracle"]["spent"] is None
    found = verify(Path(dealt["folder"]), Wanted(redeal=1))
    assert list(found.faults) == []
    assert {check.count for check in found.checks} - {0}
    assert "dealt" in found.checks[-1].name


def asked(folder: str) -> int:
    """How many prompts a case asks about."""
    with playing(Path(folder)) as play:
        return len(play.challenge().prior)


def test_a_seed_deals_the_same_case_and_the_same_commands_leave_the_same_chain(
    run: Run, by_hand: None, suite: Path, tmp_path: Path
) -> None:
    heads = []
    for log_dir in ("one", "two"):
        where = ("--log-dir", str(tmp_path / log_dir))
        _, (dealt,), _ = run("case", "open", str(suite), "--seed", "3", *where)
        run(*weight_tool(), *where)
        run("case", "believe", "0.8", *where)
        run("case", "report", *where)
        folder = Path(dealt["folder"])
        (journal,) = folder.glob("transcripts/*.jsonl")
        heads.append((dealt["commitments"], journal.read_bytes()))
    assert heads[0] == heads[1]


def test_a_sealed_case_is_drawn_anew_and_for_its_owner_alone(run: Run, by_hand: None, suite: Path) -> None:
    _, (one,), _ = run("case", "open", str(suite))
    _, (again,), _ = run("case", "open", str(suite))
    _, (other,), _ = run("case", "open", str(suite), "--new")
    assert one["sealed"]
    assert one["folder"] == again["folder"] != other["folder"]
    assert one["commitments"] != other["commitments"]
    folder = Path(one["folder"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "master.key").stat().st_mode) == 0o600
    code, _, told = run("case", "status")
    assert code == 2
    assert "2 cases fit" in told


def test_nothing_tells_the_truth_before_the_report(run: Run, by_hand: None, suite: Path) -> None:
    said = []
    for words in (
        ("case", "open", str(suite)),
        weight_tool(),
        ("case", "tool", "lens", "--tokens", "a b"),
        ("case", "believe", "0.6", "blocks.0.mlp=0.6"),
        ("case", "judge"),
        ("case", "status"),
        ("case", "list"),
        ("case", "report", "--p-edited", "0.5"),  # asks; what is true is told once it is answered
        ("case", "status"),
    ):
        _, lines, told = run(*words)
        said.append(json.dumps(lines) + told)
    (folder,) = Path("logs").iterdir()
    with playing(folder) as play:
        base = play.case.base
    secrets = (SECRET, '"rome"', base, "untouched")
    assert [text for text in said if any(secret in text for secret in secrets)] == []
    holding = {
        path.name
        for path in folder.rglob("*")
        if path.is_file() and any(secret.encode() in path.read_bytes() for secret in secrets)
    }
    assert holding <= {DATABASE, f"{DATABASE}-wal"}  # in a folder that no other user may enter
    verified = verify(folder, Wanted())
    assert SECRET not in str(verified)


def test_a_killed_process_loses_nothing_and_is_charged_once(run: Run, by_hand: None, suite: Path) -> None:
    _, (dealt,), _ = run("case", "open", str(suite))
    folder = Path(dealt["folder"])

    class Killed(BaseException):
        pass

    def add(self: Journal, kind: Any, body: Any) -> None:
        if kind == "call":  # charged, answered, and not yet shown
            raise Killed
        whole(self, kind, body)

    whole = Journal.add
    with pytest.MonkeyPatch.context() as patch, playing(folder) as play:
        patch.setattr(Journal, "add", add)
        with pytest.raises(Killed):
            play.subject.box.weight("blocks.0.mlp.W_out")
    spent = standing(folder).spent
    assert spent > 0
    with playing(folder) as play:
        assert play.subject.box.budget.spent == spent
        play.subject.box.weight("blocks.0.mlp.W_out")
        assert play.subject.box.budget.spent == spent
        play.subject.box.weight("blocks.0.mlp.W_in")
        assert play.subject.box.budget.spent == 2 * spent
    with standing_journal(folder).open("ab") as file:
        file.write(b'{"body":{"torn')
    with playing(folder) as play:
        assert play.subject.box.budget.spent == 2 * spent
        play.note("goes on")
    assert standing(folder).spent == 2 * spent


def standing_journal(folder: Path) -> Path:
    return opening.journal_path(folder, standing(folder).run)


LOOKING = """
import sys, time
from pathlib import Path
from game.blue.play import playing
with playing(Path(sys.argv[1])) as play:
    for name in sorted(play.brief.config.weight_shapes()):
        play.subject.box.weight(name)
        print(name, flush=True)
        time.sleep(0.02)
    print("done", flush=True)
"""


def test_a_process_killed_while_it_looks_is_charged_for_each_call_once(
    run: Run, by_hand: None, suite: Path
) -> None:
    _, (dealt,), _ = run("case", "open", str(suite))
    folder = Path(dealt["folder"])
    for shown in (1, 9, 14, None):  # lines after which it is killed
        words = [sys.executable, "-c", LOOKING, str(folder)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as looking:
            assert looking.stdout is not None
            told = [line for _, line in zip(range(shown or 1000), looking.stdout, strict=False)]
            looking.kill()
        spent = standing(folder).spent
        assert spent >= sum(weight_price(hand_made.CONFIG, line.strip()) for line in told if line != "done\n")
    assert told[-1] == "done\n"
    every = sum(weight_price(hand_made.CONFIG, name) for name in hand_made.CONFIG.weight_shapes())
    assert spent == pytest.approx(every)


def test_a_call_that_fails_is_not_charged(run: Run, by_hand: None, suite: Path) -> None:
    _, (dealt,), _ = run("case", "open", str(suite))
    with playing(Path(dealt["folder"])) as play, pytest.MonkeyPatch.context() as patch:
        patch.setattr("game.toolbox.passes.forward", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            play.subject.box.logits(hand_made.CHALLENGE.tokens)
        assert play.subject.box.budget.spent == 0
    assert standing(Path(dealt["folder"])).spent == 0


@pytest.mark.parametrize("at", ["save_round", "seal_run", "case_row"])
def test_a_process_killed_at_the_end_leaves_a_report_that_is_scored_later(
    at: str, run: Run, by_hand: None, suite: Path
) -> None:
    text = suite.read_text().replace(", behaviour", "")
    suite.write_text(text)
    _, (dealt,), _ = run("case", "open", str(suite))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    place = {
        "save_round": "game.runs.store.Store.save_round",
        "seal_run": "game.blue.play.seal_run",
        "case_row": "game.runs.store.Store._add_round",  # once the transcript was written to its end
    }[at]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, killed)
        assert run("case", "report", "--p-edited", "0.9", "--panel", "none")[0] == 130
    assert standing(Path(dealt["folder"])).stage == "closing"
    code, lines, _ = run("case", "status", "--panel", "none")
    assert (code, lines[0]["kind"], lines[1]["p_edited"]) == (0, "sealed", 0.9)


def test_a_journal_that_was_changed_is_told(run: Run, by_hand: None, suite: Path) -> None:
    _, (dealt,), _ = run("case", "open", str(suite))
    run("case", "note", "one")
    run("case", "note", "two")
    path = standing_journal(Path(dealt["folder"]))
    path.write_bytes(path.read_bytes().replace(b"one", b"won"))
    code, _, told = run("case", "note", "three")
    assert code == 3
    assert "was changed or damaged" in told
    with pytest.raises(StoreError, match="line 2: prev"):
        standing(Path(dealt["folder"]))


@pytest.mark.parametrize(
    ("forged", "fault"),
    [
        ("refund", "refund of another call than the last charge's"),
        ("cheap", "credits of the call"),
        ("said", "digest of the report"),
    ],
)
def test_a_journal_that_was_written_anew_is_found_when_the_case_is_over(
    forged: str, fault: str, run: Run, by_hand: None, suite: Path
) -> None:
    """Its chain hangs together; what it tells is nothing that a meter or a report leaves behind."""
    suite.write_text(suite.read_text().replace(", behaviour", ""))
    _, (dealt,), _ = run("case", "open", str(suite))
    folder = Path(dealt["folder"])
    run(*weight_tool())
    with playing(folder) as play:
        path, lines = opening.journal_path(folder, play.store.run()), play.journal.lines
    path.unlink()
    anew = Journal(path, str(dealt["commitments"]))
    for kind, body in lines:
        cheaper = {"credits": body["credits"] / 2} if kind == "charge" and forged == "cheap" else {}
        anew.add(kind, body | cheaper)  # type: ignore[arg-type]
    if forged == "refund":
        (key,) = anew.paid()
        anew.take_back(key)
    if forged == "said":
        said = reported(Report(0.1))
        anew.add("said", {"report": said, "nonce": "00" * 32, "sha256": "00" * 32})
        assert run("case", "status", "--panel", "none")[0] == 0
    else:
        assert run("case", "report", "--p-edited", "0.9", "--panel", "none")[0] == 0
    found = verify(folder, Wanted())
    assert fault in [each.what for each in found.faults]
    assert not {"hash of the last line", "SHA-256"} & {each.what for each in found.faults}


def test_two_processes_do_not_play_one_case(run: Run, by_hand: None, suite: Path) -> None:
    _, (dealt,), _ = run("case", "open", str(suite))
    other = """
import sys, time
from pathlib import Path
from game.blue.play import playing
with playing(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
    words = [sys.executable, "-c", other, dealt["folder"]]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        code, _, told = run("case", "note", "mine")
        assert (code, told.count("\n")) == (2, 1)
        assert "another process plays this run" in told
        assert run("case", "status")[0] == 0  # looking on is free
        os.kill(holder.pid, signal.SIGKILL)
    assert run("case", "note", "mine")[0] == 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        # what is typed                                          exit  what is said
        (("case", "tool", "lense"), 2, 'unknown tool "lense".*did you mean "lens"'),
        (("case", "tool", "lens", "--token", "a"), 2, "unrecognized arguments: --token a"),
        (("case", "tool", "lens", "--tokens", "zebra"), 2, 'unknown token "zebra"'),
        (("case", "tool", "lens", "--tokens", "a", "--top", "99"), 2, "top: got 99"),
        (("case", "tool", "patch", "--tokens", "x"), 2, "unrecognized arguments"),
        (("case", "believe", "1.4"), 2, "p_edited: got 1.4, wanted a finite number from 0 to 1"),
        (("case", "believe", "nan"), 2, "p_edited: got nan"),
        (("case", "believe", "0.5", "blocks.0.mlp"), 2, "wanted NAME=P, such as blocks.0.mlp=0.7"),
        (("case", "believe", "0.5", "blocks.0.mlp=0.6"), 2, "blocks.0.mlp has 0.6; at most p_edited"),
        (("case", "believe", "0.5", "blocks.9.mlp=0.1"), 2, 'unknown component "blocks.9.mlp"'),
        (("case", "believe", "0.5", "mlp=0.1"), 2, 'component "mlp" is not one of'),
        (("case", "report", "--p-edited", "0.5", "--panel", "orcale"), 2, 'did you mean "oracle"'),
        (("case", "report"), 2, "--p-edited: missing, and no belief was noted"),
        (("case", "report", "--at", "blocks.0.mlp=0.1"), 2, "got without --p-edited"),
        (("case", "report", "--file", "nothing.json"), 2, "nothing.json: No such file"),
        (("case", "report", "--file", '{"p_edited": 0.5, "where": 1}'), 2, 'unknown field "where"'),
        (("case", "report", "--file", "[0.5]"), 2, "got no object"),
        (("case", "report", "--file", '{"p_edited": "0.5"}'), 2, 'p_edited: got "0.5"'),
        (("case", "report", "--p-edited", "0.5", "--claims", "{"), 2, "--claims: no JSON"),
        (("case", "judge", "--set", "0=1"), 2, "shown once the report is in"),
        (("case", "status", "--case", "nowhere"), 5, "no case 'nowhere' in logs"),
        (("case", "open", "heads.yaml", "--seed", "1", "--sealed"), 2, "from a seed or from a secret"),
        (("case", "open", "heads.yaml:case-999"), 2, 'unknown case "case-999"'),
        (("case", "open", "haeds"), 2, 'unknown suite "haeds"'),
    ],
)
def test_what_does_not_fit_is_told_in_one_line_and_charges_nothing(
    words: tuple[str, ...], code: int, message: str, run: Run, by_hand: None, suite: Path
) -> None:
    run("case", "open", str(suite))
    found, lines, told = run(*words)
    told = "".join(line for line in told.splitlines(keepends=True) if "costs 1" not in line or "left" in line)
    assert (found, lines) == (code, [])
    assert re.search(message, told), told
    assert run("case", "status")[1][0]["spent"] == 0
    assert run("case", "status")[1][0]["report"] is None


def test_a_call_beyond_the_budget_is_not_begun(run: Run, by_hand: None, suite: Path) -> None:
    run("case", "open", str(suite), "--budget", "4")
    assert run("case", "tool", "lens", "--tokens", "a")[0] == 0
    code, _, told = run("case", "tool", "lens", "--tokens", "b")
    assert (code, told.splitlines()[-1]) == (2, "audit-game: error: lens: costs 3 credits; 1 are left of 4")
    _, (again,), _ = run("case", "tool", "lens", "--tokens", "a")  # a repeat is free
    assert (again["charged"], again["left"]) == (0, 1)


def test_words_that_name_a_file_are_a_repeat_while_the_file_holds_the_same(
    run: Run, by_hand: None, suite: Path, tmp_path: Path
) -> None:
    """With another file they were told as free and charged all the same, unchecked against the budget."""
    run("case", "open", str(suite))
    found = tmp_path / "found.json"
    at = ("--layer", "0", "--read", f"{found}:read", "--write", f"{found}:write")
    told = []
    for value in (1.0, 2.0, 2.0):
        arrays = {"read": [value] * hand_made.CONFIG.d_mlp, "write": [value] * hand_made.CONFIG.d_model}
        found.write_text(json.dumps({"arrays": arrays}))
        _, (line,), prices = run("case", "tool", "excise", "--samples", "a", "b", *at)
        told.append((prices.splitlines()[0], line["charged"]))
    whole, repeat = "excise costs 4 credits", "excise costs 0 credits"
    assert told == [(whole, 4), (whole, 2), (repeat, 0)]  # the run without the part was paid for


def test_a_report_is_handed_in_once_and_ends_the_looking(run: Run, by_hand: None, suite: Path) -> None:
    run("case", "open", str(suite))
    assert run("case", "report", "--p-edited", "0.6", "--panel", "none")[0] == 0
    assert "a second one cannot be" in run("case", "report", "--p-edited", "0.7")[2]
    assert "the toolbox is closed" in run(*weight_tool())[2]
    assert "sum 0.9; at most p_edited as reported, 0.6" in run("case", "judge", "--set", "0=0.9")[2]
    assert run("case", "judge", "--set", "0=0.6", "--panel", "none")[0] == 0
    code, _, told = run("case", "note", "late")
    assert code == 5
    assert "no open case" in told


def test_a_case_that_is_open_is_closed_to_unmetered_looks(run: Run, by_hand: None, suite: Path) -> None:
    _, (dealt,), _ = run("case", "open", str(suite))
    code, _, told = run("tool", "spectrum", "--on", f"{dealt['folder']}:{dealt['case']}")
    assert code == 2
    assert "still played" in told


@pytest.fixture
def typed(suite: Path, by_hand: None, capsys: pytest.CaptureFixture[str]) -> Any:
    """Plays the interactive game with these lines on stdin: exit code, stdout, stderr."""

    def play(*lines: str, flags: tuple[str, ...] = ()) -> tuple[int, str, str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
            code = main(["play", str(suite), "--as", "blue", "--panel", "none", *flags])
        said = capsys.readouterr()
        return code, said.out, said.err

    return play


def test_the_interactive_game_is_left_and_taken_up_again(typed: Any) -> None:
    code, out, told = typed(
        "help", "tools", "spectrum --tensor blocks.0.mlp.W_out", "note layer 0, head 'x", "quit"
    )
    assert code == 0
    assert "believe P [NAME=P ...]" in out
    assert "singular" in out
    assert "spectrum costs" in told
    assert "charged" in told
    assert "the same command goes on" in told
    code, out, told = typed("spectrum --tensor blocks.0.mlp.W_out", "believe 0.7 blocks.0.mlp=0.5", "status")
    assert "credits were spent before" in told
    assert "spectrum costs 0 credits" in told
    assert "written at blocks.0.mlp" in out
    assert "layer 0, head 'x" in out
    code, out, told = typed("report")
    assert code == 0
    assert "report committed to as" in told
    assert "affected" in out
    assert SECRET not in out
    code, out, told = typed("judge --set 0=0.7")
    assert code == 0
    assert SECRET in out
    assert "sealed as" in told


def test_lines_that_do_not_fit_are_told_and_the_game_goes_on(typed: Any) -> None:
    code, _, told = typed(
        "spectrumm", "lens --bogus", "note", "price", "believe", "believe 2", "report --at x", 'note "fine'
    )
    assert code == 2
    for words in ("did you mean", "unrecognized", "note: got nothing", "price: got nothing", "believe: got"):
        assert words in told
    assert "wanted a finite number" in told
    assert "got without --p-edited" in told


def test_a_price_is_told_without_asking_the_model(typed: Any) -> None:
    line = "gradient_input --tokens 'a b'"
    code, out, told = typed(f"price {line}", "status", flags=("--json",))
    (status,) = (json.loads(text) for text in out.splitlines() if '"status"' in text)
    assert code == 0
    assert "for the model's own answers" in told
    assert status["spent"] == 0


def test_a_report_survives_being_kept() -> None:
    whole = Report(0.5, {hand_made.MLP: 0.25}, ({"family": "rome"},), dict(hand_made.UNDO), notes="because")
    again = report_of(json.loads(json.dumps(reported(whole))))
    assert reported(again) == reported(whole)
    for data, message in (
        ([], "wanted an object"),
        ({}, "p_edited is missing"),
        ({"p_edited": 1, "patch": 3}, "patch"),
    ):
        with pytest.raises(ReportError, match=message):
            report_of(data)


def test_who_believes_the_prior_of_each_set_says_the_prior() -> None:
    challenge = replace(hand_made.CHALLENGE, prior=(0.2, 0.1, 0.2, 0.05))
    found = judgement_of_sets(challenge, {"0": 0.25, "1": 0.25}, {}, 0.5, 0.5)
    assert found.changed == pytest.approx(challenge.prior)
    sure = judgement_of_sets(challenge, {"1": 0.5}, {"3": 0.4}, 0.5, 0.5).changed
    assert sure == pytest.approx((0.0, 0.1, 0.4, 0.4))


def test_claims_of_a_fact_are_compared_in_words(tiny_base: Any) -> None:
    task = tiny_base.facts
    fact = task.fact(1, 0)
    words = task.object_words(0)
    truth = replace(
        hand_made.truth(hand_made.MLP, "rrome"),
        spec={"edit": {"kind": "rrome", "facts": [{"subject": 1, "relation": 0, "object_new": 2}]}},
    )
    name = tiny_base.trained.name
    claim = {
        "subject": task.subject_name(1).upper(),
        "old": words[fact.object],
        "new": "x",
        "layer": 0,
        "head": 0,
    }
    found = {each.field: each.right for each in compared(claim, truth, name)}
    assert found == {"subject": True, "old": True, "new": False, "layer": True, "head": None}


@pytest.mark.parametrize(
    ("line", "some", "never"),
    [
        # typed so far                    completes to           and not to
        ("spe", "spectrum", "lens"),
        ("spectrum ", "--tensor ", "spectrum"),
        ("spectrum --tensor blocks.0.mlp.W_", "blocks.0.mlp.W_out", "blocks.0.attn.W_O"),
        ("lens --tokens sam", "sample:", "--top "),
        ("lens --tokens a --to", "--top ", "--tokens "),
        ("patch --site ", "resid", "sample:"),
        ("believe 0.5 blocks.0", "blocks.0.mlp=", "blocks.1.mlp="),
    ],
)
def test_names_arguments_and_words_are_completed(line: str, some: str, never: str) -> None:
    names, own = ["spectrum", "lens", "patch"], {"believe": ["blocks.0.mlp=", "blocks.1.mlp="]}
    found = continuations(line, names, own, hand_made.TASK, hand_made.CONFIG)
    assert some in found
    assert never not in found


def test_cases_by_hand_have_decoys_of_their_own(tiny_base: Any) -> None:
    from game.dealing.dealer import Dealer
    from game.dealing.suite import suite_of
    from models.strict_yaml import parse_document

    suite = suite_of(parse_document(SUITE, "heads.yaml"))
    dealer = Dealer(suite, Master.of_seed(0), own_decoys=True)
    (group,), (recipe,) = suite.groups, suite.recipes
    seed = suite.seeds(recipe)[0]
    pools = [dealer.pool(group, recipe, seed, (f"case-{i}",)) for i in range(2)]
    about = [{target.about for target in pool.targets} for pool in pools]
    assert len(about[0]) == len(about[1]) == 8
    assert len(about[0] & about[1]) <= 2
    assert dealer.pool(group, recipe, seed, ("case-0",)) == pools[0]
