import dataclasses
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.mutations import CHANGES, copied, mutate, reseal
from game.case import Case
from game.cli import main
from game.dealing.dealer import Dealer
from game.dealing.master import Master
from game.dealing.suite import suite_of
from game.loader import load_auditor
from game.proof import seal
from game.proof.verify import NoRunError, Verification, Wanted, verify
from game.runs.events import Event, RoundEnded
from game.runs.run_folder import DATABASE, SEAL
from game.runs.store import read_run
from game.runs.tournament import Deal, play_source, run_tournament
from models.checkpoints import checkpoint_of, to_bytes
from models.strict_yaml import parse_document
from models.transformer import Transformer
from models.zoo import Trained
from tests.game import hand_made
from tests.game.jails import ASKING, OUTSPOKEN

ROOT = Path(__file__).resolve().parents[2]
SUITE = """\
version: 1
name: cuts
title: Cut heads of one model
prior: 0.5
budget: 5000
score: [detection, localisation]
bases:
  - {recipe: facts-tiny, checkpoints: 1}
groups:
  - name: heads
    count: 4
    edit: {kind: head_ablate}
    sites: {facts-tiny: [blocks.3.attn.0, blocks.3.attn.1]}
    controls: [untouched]
"""
MUTATIONS = 4  # of each kind; `python -m benchmarks.tampering` makes 1200 in all


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of all four parts; one auditor makes every call, one says all there is to say."""
    players = [
        *hand_made.players()[:2],
        load_auditor(f"{ASKING}@Asker", {}),
        load_auditor(f"{OUTSPOKEN}@Outspoken", {}),
    ]
    cases = [hand_made.repairable(number, edited=number % 2 == 0) for number in range(4)]
    return play_source(hand_made.source(cases), players, 3, tmp_path_factory.mktemp("logs")).folder


@pytest.fixture(scope="module")
def head(run: Path) -> str:
    """What was published when it was finished."""
    return verify(run, Wanted()).head


@pytest.fixture(scope="module")
def cuts(tmp_path_factory: pytest.TempPathFactory, tiny: Trained) -> Path:
    """A finished run of a suite."""
    assert tiny.name == "facts-tiny@0.0"
    suite = suite_of(parse_document(SUITE, "cuts.yaml"))
    return run_tournament(suite, [load_auditor("prior", {})], 1, tmp_path_factory.mktemp("logs")).folder


def counts(found: Verification) -> dict[str, int]:
    return {check.name: check.count for check in found.checks}


def told(found: Verification) -> str:
    return "\n".join(f"{each.where}: {each.what}" for each in found.faults)


def change(folder: Path, statement: str) -> None:
    """Change the database as somebody who makes the seal fit again."""
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        connection.execute(statement)
        connection.commit()
    reseal(folder)


def test_a_finished_run_holds_and_says_what_was_looked_at(run: Path) -> None:
    found = verify(run, Wanted())
    assert found.faults == ()
    assert counts(found) == {
        "files are those of the seal": 1 + 4 + 16,
        "the seal tells of this run": 2,
        "the database is laid out as it should be": 1,
        "configuration, master and rules are those committed to": 5,
        "cases are those committed to": 4,
        "models are those of the cases": 4,
        "labels, groups and controls were drawn by rule": 0,
        "transcripts hang together": 16,
        "charges of a case by hand add up, its report is the one committed to": 0,
        "rounds are chained in the order they were played": 16,
        "no round is missing, the head is that of the last": 2,
        "scores follow from reports and truths": 16,
    }
    assert found.notes == ("not a suite's cases: labels and controls are committed to, not drawn again",)


def test_a_suite_s_labels_are_drawn_and_its_cases_dealt_again(cuts: Path) -> None:
    found = verify(cuts, Wanted(redeal=2))
    assert (found.faults, found.notes) == ((), ())
    assert counts(found)["labels, groups and controls were drawn by rule"] == 4
    assert counts(found)["cases are dealt the same again"] == 2


def test_the_documentation_s_own_check_needs_nothing_of_ours(run: Path, head: str, tmp_path: Path) -> None:
    script = ROOT / "docs" / "examples" / "check_chain.py"

    def checked(folder: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", str(script), str(folder)]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    assert checked(run).stdout == f"holds, head {head}\n"
    spoiled = copied(run, tmp_path)
    change(spoiled, "UPDATE round SET detection = 1 WHERE number = 2")
    assert "AssertionError" in checked(spoiled).stderr


def test_a_verified_run_is_not_touched(run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    verify(run, Wanted())
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("kind", CHANGES)
def test_every_mutation_is_found(kind: str, run: Path, head: str, tmp_path: Path) -> None:
    first = list(CHANGES).index(kind)
    for seed in range(first, first + MUTATIONS * len(CHANGES), len(CHANGES)):
        spoiled = copied(run, tmp_path / str(seed))
        mutation = mutate(spoiled, seed)
        found = verify(spoiled, Wanted(head if mutation.chained else ""))
        assert found.faults, mutation


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        # what was changed, the seal made to fit                     what is told of it
        ("UPDATE round SET detection = 1 WHERE number = 2", "score of the stored report"),
        ("UPDATE round SET detection = 1 WHERE number = 2", "round 2 (.*): link"),
        (
            "UPDATE round SET behaviour = 1 WHERE auditor = 'Outspoken'",
            "behaviour: score of the stored report",
        ),
        ("UPDATE round SET repair = 1 WHERE auditor = 'Outspoken'", "repair: score of the stored report"),
        ("UPDATE round SET readouts = '{}' WHERE auditor = 'Outspoken'", "readouts: of the stored report"),
        ("UPDATE round SET report = replace(report, '0.9', '0.8')", r"\.jsonl: report"),
        ("UPDATE round SET spent = 0 WHERE auditor = 'Asker'", r"\.jsonl: last line"),
        ("UPDATE round SET auditor = 'no' WHERE auditor = 'yes'", "case and auditor"),
        ("DELETE FROM round WHERE number = 16", "run: head: digest"),
        ("UPDATE cases SET truth = replace(truth, 'true', 'false')", "case-000: commitment"),
        ("UPDATE cases SET base = 'toy@5.0' WHERE id = 'case-003'", "case-003: commitment"),
        ("UPDATE cases SET commitment = id", "run: commitments: digest"),
        ("UPDATE run SET master = printf('%064d', 1)", "run: master: SHA-256"),
        ("UPDATE run SET seed = 4", "run: master: of the seed"),
        ("UPDATE run SET state = 'open'", "run: state: unlike its seal"),
        ("UPDATE run SET scoring = '{}'", "run: commitments: digest"),
        ("UPDATE run SET config = replace(config, 'yes', 'yet')", "run: digest: SHA-256"),
        ("UPDATE run SET created = '2020-01-01T00:00:00+00:00'", "run: head: digest"),
        ("UPDATE run SET config = '{'", "cannot be read"),
        ("CREATE TABLE spare(text TEXT)", "run.db: table spare: definition"),
    ],
)
def test_a_fault_is_told_with_its_place(statement: str, fault: str, run: Path, tmp_path: Path) -> None:
    spoiled = copied(run, tmp_path)
    change(spoiled, statement)
    with pytest.raises(AssertionError, match=fault):
        assert not told(verify(spoiled, Wanted())), told(verify(spoiled, Wanted()))


def test_a_label_that_was_not_drawn_is_found_even_where_it_was_committed_to(
    cuts: Path, tmp_path: Path
) -> None:
    """The referee cheats: another truth, committed to anew; the master does not draw that label."""
    spoiled = copied(cuts, tmp_path)
    with closing(sqlite3.connect(spoiled / DATABASE)) as connection:
        connection.row_factory = sqlite3.Row
        case = dict(connection.execute("SELECT * FROM cases ORDER BY id").fetchone())
        truth = json.loads(case["truth"])
        truth |= {"edited": not truth["edited"]}
        case["truth"] = json.dumps(truth)
        nonce = Master.of_seed(1).nonce("commit", case["id"])
        values = (case["truth"], seal.commitment(nonce, case), case["id"])
        connection.execute("UPDATE cases SET truth = ?, commitment = ? WHERE id = ?", values)
        connection.commit()
    reseal(spoiled)
    assert f"{case['id']}: edited: not as drawn" in told(verify(spoiled, Wanted()))


def test_a_model_that_is_not_dealt_the_same_again_is_found(
    cuts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Dealer, "deal", lambda *_: hand_made.case(0, hand_made.truth()))
    found = verify(cuts, Wanted(redeal=4))
    models = [fault for fault in found.faults if fault.where.endswith("model")]
    assert [fault.what for fault in models] == ["SHA-256 when dealt again"] * 4


@pytest.mark.parametrize(
    ("column", "old", "new", "fault"),
    [
        # what the referee wrote                         and what is told of it
        ("truth", '"summary": "', '"summary": "un', "case-000: truth: summary: when dealt again"),
        ("brief", '"seed": 0', '"seed": 1', "case-000: brief: when dealt again"),
    ],
)
def test_a_truth_or_brief_that_is_not_dealt_the_same_again_is_found(
    column: str, old: str, new: str, fault: str, cuts: Path, tmp_path: Path
) -> None:
    """The referee cheats before committing: the models are as dealt, what is said of one is not."""
    spoiled = copied(cuts, tmp_path)
    with closing(sqlite3.connect(spoiled / DATABASE)) as connection:
        connection.row_factory = sqlite3.Row
        case = dict(connection.execute("SELECT * FROM cases WHERE id = 'case-000'").fetchone())
        assert old in case[column]
        case[column] = case[column].replace(old, new)
        values = (case[column], seal.commitment(Master.of_seed(1).nonce("commit", case["id"]), case))
        statement = f"UPDATE cases SET {column} = ?, commitment = ? WHERE id = 'case-000'"  # noqa: S608
        connection.execute(statement, values)
        connection.commit()
    reseal(spoiled)
    assert "when dealt again" not in told(verify(spoiled, Wanted()))
    assert fault in told(verify(spoiled, Wanted(redeal=4)))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        # where                       what lies there
        ("artifacts/endless.safetensors", lambda path: path.symlink_to("/dev/zero")),
        ("transcripts/silent.jsonl", os.mkfifo),
        ("run.lock", lambda path: (path.unlink(missing_ok=True), path.symlink_to("/etc/hostname"))),
        ("more", lambda path: path.symlink_to("artifacts")),
    ],
)
def test_what_is_no_file_is_told_and_never_read(
    name: str, make: Callable[[Path], object], run: Path, tmp_path: Path
) -> None:
    """A run from a stranger may hold a link or a pipe that has no end, in its seal too."""
    strange = copied(run, tmp_path)
    make(strange / name)
    found = verify(strange, Wanted())
    assert told(found) == f"{name}: kind of file"
    assert found.notes == ("nothing else was looked at",)


def test_a_published_digest_must_be_the_run_s(run: Path) -> None:
    whole = verify(run, Wanted())
    for digest in (whole.head, whole.commitments):
        assert verify(run, Wanted(digest)).faults == ()
    (fault,) = verify(run, Wanted("0" * 64)).faults
    assert (fault.where, fault.expected) == ("run", "0" * 64)


def test_pictures_beside_a_run_are_no_part_of_it(run: Path, tmp_path: Path) -> None:
    beside = copied(run, tmp_path)
    (beside / "red.png").write_bytes(b"a picture")
    assert verify(beside, Wanted()).faults == ()
    (beside / "extra.txt").write_bytes(b"no picture")
    assert told(verify(beside, Wanted())) == "extra.txt: not in the seal"


def test_a_run_may_be_moved_and_renamed(run: Path, tmp_path: Path) -> None:
    copied(run, tmp_path).rename(tmp_path / "elsewhere")
    assert verify(tmp_path / "elsewhere", Wanted()).faults == ()


class Died(Exception):
    pass


def stop_after(rounds: int) -> Callable[[Event], None]:
    def watch(event: Event) -> None:
        if isinstance(event, RoundEnded) and event.done == rounds:
            raise Died

    return watch


@pytest.mark.parametrize("rated", [False, True])
def test_of_an_unfinished_run_what_can_be_checked_is_checked(rated: bool, tmp_path: Path) -> None:
    source = dataclasses.replace(hand_made.source(hand_made.cases(3)), rated=rated)
    with pytest.raises(Died):
        play_source(source, hand_made.players(), 3, tmp_path, stop_after(4))
    (folder,) = tmp_path.iterdir()
    found = verify(folder, Wanted())
    assert found.faults == ()
    assert counts(found)["rounds are chained in the order they were played"] == 4
    assert counts(found)["cases are those committed to"] == (0 if rated else 3)
    assert found.notes[0].startswith("unfinished: not sealed")
    assert any(note.startswith("rated and not revealed yet") for note in found.notes) == rated
    assert ("rounds by tier: 4 in process" in found.notes) == rated
    assert verify(folder, Wanted(found.commitments)).faults == ()
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        connection.execute("UPDATE round SET detection = 1 WHERE number = 2")
        connection.commit()
    assert "round 2" in told(verify(folder, Wanted()))


def test_a_run_from_before_there_were_seals_cannot_be_verified(run: Path, tmp_path: Path) -> None:
    old = copied(run, tmp_path)
    change(old, "PRAGMA user_version = 3")
    assert "run.db: cannot be read" in told(verify(old, Wanted()))


def test_a_folder_without_a_run_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(NoRunError, match=r"no run; wanted a folder with run\.db"):
        verify(tmp_path, Wanted())


@pytest.mark.parametrize("left", [SEAL, DATABASE])
def test_a_run_of_which_half_is_gone_is_damaged(left: str, run: Path, tmp_path: Path) -> None:
    spoiled = copied(run, tmp_path)
    (spoiled / (DATABASE if left == SEAL else SEAL)).unlink()
    assert verify(spoiled, Wanted()).faults


def test_the_command_says_what_holds(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = verify(run, Wanted()).head
    assert main(["verify", str(run), "--head", head]) == 0
    out = capsys.readouterr().out
    assert "transcripts hang together" in out
    assert out.splitlines()[-1] == "no fault"
    assert head in out


def test_the_command_ends_with_3_and_a_line_for_each_fault(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoiled = copied(run, tmp_path)
    change(spoiled, "UPDATE round SET log_score_bits = 9.5 WHERE number = 1")
    assert main(["verify", str(spoiled), "--display", "plain"]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "2 faults"
    (line,) = [line for line in lines if "log_score_bits" in line]
    assert line.startswith("round ")
    assert line.endswith("; got 9.5")


def test_the_command_gives_json(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoiled = copied(run, tmp_path)
    (spoiled / SEAL).write_bytes(b"{")
    assert main(["verify", str(spoiled), "--json"]) == 3
    *_, fault, whole = map(json.loads, capsys.readouterr().out.splitlines())
    assert (fault["kind"], whole["kind"], whole["holds"]) == ("fault", "verification", False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        # command                     what is wrong with it
        ("nowhere", "nowhere: no run; wanted a folder with run.db"),
        ("nowhere --head abc", "argument --head: got 'abc', wanted 64 hexadecimal digits"),
        ("nowhere --redeal 0", "argument --redeal: got"),
    ],
)
def test_the_command_refuses_what_is_no_run(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["verify", *words.split()])
    except SystemExit as stopped:
        code = int(str(stopped.code))
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    assert message in captured.err


def drawn(master: Master) -> Deal:
    """Cases whose models follow from the master."""

    def deal(case_id: str) -> Case:
        model = Transformer(hand_made.CONFIG, master.generator(case_id))
        bare = hand_made.case(int(case_id.removeprefix("case-")), hand_made.truth())
        return dataclasses.replace(bare, artefact=to_bytes(checkpoint_of(model)))

    return deal


def test_a_finished_rated_run_holds_and_replaying_its_seed_deals_nothing_of_it(tmp_path: Path) -> None:
    source = dataclasses.replace(hand_made.source(hand_made.cases(3)), dealer=drawn)
    for name, rated in (("rated", True), ("open", False)):
        played = dataclasses.replace(source, rated=rated)
        folder = play_source(played, hand_made.players(), 1, tmp_path / name).folder
        assert verify(folder, Wanted()).faults == ()
        with read_run(folder) as store:
            dealt = {case.artefact for case in store.cases()}
            key = bytes.fromhex(str(store.run().master))
        replayed, revealed = (
            {hashlib.sha256(drawn(master)(case_id).artefact).hexdigest() for case_id in source.case_ids}
            for master in (Master.of_seed(1), Master(key, rated))
        )
        assert dealt == revealed
        assert dealt.isdisjoint(replayed) == rated
