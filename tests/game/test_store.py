import dataclasses
import hashlib
import json
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from game.case import Case
from game.proof.sealing import seal_run
from game.referee import RoundRecord
from game.runs.database import VERSION, StoreError
from game.runs.run_folder import artefact_path
from game.runs.store import (
    RunInfo,
    RunInUseError,
    Store,
    StoredCase,
    create_run,
    find_unfinished,
    open_run,
    read_run,
    round_key,
)
from game.scoring.scores import Score
from game.toolbox.transcript import Transcript
from tests.game import hand_made
from tests.game.hand_made import MLP, record

RUN = RunInfo(
    "", "smoke", "d" * 64, {"seed": 1, "b": [0.1]}, 1, "open", "2026-01-01T00:00:00+00:00", {"x": "1"}
)
CASES = hand_made.cases(4)


def made(log_dir: Path, run: RunInfo = RUN) -> Path:
    with create_run(log_dir, run) as store:
        return store.folder


def save(store: Store, case: Case, *records: RoundRecord) -> None:
    store.save_case(case)
    for each in records:
        store.save_round(
            round_key("d", case.id, each.auditor), each, "2026-01-01T00:00:00+00:00", Transcript()
        )


def test_a_run_lives_in_a_folder_named_by_time_suite_and_eight_digits(tmp_path: Path) -> None:
    folder = made(tmp_path / "logs")
    assert folder.parent == tmp_path / "logs"
    time, suite, digits = folder.name.split("_")
    assert (len(time), suite, len(bytes.fromhex(digits))) == (16, "smoke", 4)


def test_a_run_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    folder = made(tmp_path)
    with read_run(folder) as store:
        assert store.run() == dataclasses.replace(RUN, id=folder.name)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.truth.kind)
def test_a_case_is_read_back_identical(case: Case, tmp_path: Path) -> None:
    folder = made(tmp_path)
    with open_run(folder) as store:
        store.save_case(case)
    with read_run(folder) as store:
        found = store.case(case.id)
        assert found == case
        assert found is not None
        assert list(found.brief.component_prior) == list(case.brief.component_prior)
        assert store.cases() == (StoredCase.of(case),)


texts = st.text(st.characters(exclude_categories=()))  # lone surrogates and control characters included
numbers = st.floats(allow_nan=False)
scores = st.builds(Score, *[st.floats(-1e6, 1e6)] * 3)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(p=st.floats(0, 1), notes=texts, name=texts, score=scores, spent=numbers, claim=numbers)
def test_a_round_is_read_back_identical(
    p: float, notes: str, name: str, score: Score, spent: float, claim: float, tmp_path: Path
) -> None:
    played = dataclasses.replace(
        record(CASES[0], "yes", 0.9, {MLP: 1 / 3}),
        p_edited=p,
        notes=notes,
        claims=[{name: [claim, None]}],
        score=score,
        spent=spent,
    )
    with create_run(tmp_path, RUN) as store:
        save(store, CASES[0], played)
        assert store.rounds() == (played,)


def test_a_failed_round_is_read_back_with_its_error(tmp_path: Path) -> None:
    failed = record(CASES[0], "crasher", None, {})
    with create_run(tmp_path, RUN) as store:
        save(store, CASES[0], failed)
        assert store.rounds() == (failed,)
        assert store.rounds()[0].p_edited is None


def test_an_error_text_that_no_file_can_hold_is_kept_as_escapes(tmp_path: Path) -> None:
    hostile = dataclasses.replace(record(CASES[0], "crasher", None, {}), error="\ud800\x00\x1b[31m")
    with create_run(tmp_path, RUN) as store:
        save(store, CASES[0], hostile)
        assert store.rounds()[0].error == "\\ud800\x00\x1b[31m"


def test_the_delivered_model_lies_under_its_hash(tmp_path: Path) -> None:
    with create_run(tmp_path, RUN) as store:
        store.save_case(CASES[0])
        sha = hashlib.sha256(CASES[0].artefact).hexdigest()
        assert artefact_path(store.folder, sha).read_bytes() == CASES[0].artefact
        assert [path.name for path in (store.folder / "artifacts").iterdir()] == [f"{sha}.safetensors"]


def test_a_case_whose_model_was_changed_or_lost_is_refused(tmp_path: Path) -> None:
    with create_run(tmp_path, RUN) as store:
        store.save_case(CASES[0])
        path = artefact_path(store.folder, StoredCase.of(CASES[0]).artefact)
        path.write_bytes(CASES[1].artefact)
        with pytest.raises(StoreError, match=f"{path.name}: the bytes are not those that were saved"):
            store.case(CASES[0].id)
        path.unlink()
        with pytest.raises(StoreError, match=f"{path.name}: cannot be read: No such file"):
            store.case(CASES[0].id)


def test_a_case_that_was_not_dealt_is_none(tmp_path: Path) -> None:
    with create_run(tmp_path, RUN) as store:
        assert store.case("case-999") is None


def test_a_second_round_of_the_same_key_is_ignored(tmp_path: Path) -> None:
    first, second = record(CASES[0], "a", 0.9, {}), record(CASES[0], "a", 0.1, {})
    with create_run(tmp_path, RUN) as store:
        save(store, CASES[0], first, second)
        assert store.rounds() == (first,)
        assert store.done() == {round_key("d", "case-000", "a")}


def test_a_round_on_a_case_that_was_not_saved_is_refused(tmp_path: Path) -> None:
    with create_run(tmp_path, RUN) as store, pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        store.save_round("k", record(CASES[0], "a", 0.9, {}), "now", Transcript())


@pytest.mark.parametrize("other", [("e", "case-0", "a"), ("d", "case-1", "a"), ("d", "case-0", "b")])
def test_keys_differ_where_anything_differs(other: tuple[str, str, str]) -> None:
    assert round_key(*other) != round_key("d", "case-0", "a")
    assert len(round_key(*other)) == 64


def test_a_second_driver_on_the_same_run_is_refused(tmp_path: Path) -> None:
    folder = made(tmp_path)
    with (
        open_run(folder),
        pytest.raises(RunInUseError, match=f"{folder.name}: another process plays this run; wait for it"),
        open_run(folder),
    ):
        pass
    with open_run(folder) as store:
        assert store.run().state == "open"


def test_a_run_can_be_read_while_it_is_played(tmp_path: Path) -> None:
    with create_run(tmp_path, RUN) as store:
        save(store, CASES[0], record(CASES[0], "a", 0.9, {}))
        with read_run(store.folder) as reader:
            assert len(reader.rounds()) == 1
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                reader.save_case(CASES[1])


def test_the_database_is_strict_and_keeps_a_write_ahead_log(tmp_path: Path) -> None:
    with create_run(tmp_path, RUN) as store:
        pragmas = ("journal_mode", "foreign_keys", "busy_timeout", "synchronous", "user_version")
        found = {name: store.connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas}
        assert found == {
            "journal_mode": "wal",
            "foreign_keys": 1,
            "busy_timeout": 30000,
            "synchronous": 1,
            "user_version": VERSION,
        }
        tables = store.connection.execute("SELECT sql FROM sqlite_master WHERE type = 'table'")
        assert [row["sql"].endswith("STRICT") for row in tables] == [True] * 3


def of_version_1(folder: Path) -> None:
    """Make a run's file what it was before rounds told their tier."""
    connection = sqlite3.connect(folder / "run.db")
    rounds_told = ("tier", "behaviour", "repair", "readouts", "number", "transcript", "lines", "link")
    later = ["round DROP COLUMN " + name for name in rounds_told]
    later += ["cases DROP COLUMN " + name for name in ("companions", "challenge", "commitment")]
    later += [
        "run DROP COLUMN " + name for name in ("master_hash", "scoring", "commitments", "master", "head")
    ]
    for change in later:
        connection.execute(f"ALTER TABLE {change}")
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()


def test_the_tier_of_a_round_is_kept(tmp_path: Path) -> None:
    jailed = dataclasses.replace(record(CASES[0], "a", 0.9, {}), tier="landlock")
    with create_run(tmp_path, RUN) as store:
        save(store, CASES[0], jailed)
        assert store.rounds() == (jailed,)


def test_rounds_from_before_there_were_tiers_were_played_in_process(tmp_path: Path) -> None:
    old = record(CASES[0], "a", 0.9, {})
    with create_run(tmp_path, RUN) as store:
        save(store, CASES[0], old)
    of_version_1(store.folder)
    with read_run(store.folder) as reader:
        assert [each.tier for each in reader.rounds()] == ["in process"]
    new = dataclasses.replace(record(CASES[0], "b", 0.9, {}), tier="bubblewrap")
    with open_run(store.folder) as store:
        save(store, CASES[0], new)
        assert store.rounds() == (old, new)


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    folder = made(tmp_path)
    connection = sqlite3.connect(folder / "run.db")
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    message = f"run.db: store version {VERSION + 1}, and this audit-game knows up to {VERSION}; update"
    with pytest.raises(StoreError, match=message), open_run(folder):
        pass
    with pytest.raises(StoreError, match=message), read_run(folder):
        pass
    assert find_unfinished(tmp_path, "smoke", RUN.digest) is None


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    folder = made(tmp_path)
    (folder / "run.db").write_text("no database at all, but long enough to look at")
    with (
        pytest.raises(StoreError, match=r"run\.db: not a run store: file is not a database"),
        open_run(folder),
    ):
        pass
    with pytest.raises(StoreError, match=r"run\.db: cannot be opened"), read_run(tmp_path / "nowhere"):
        pass


def test_a_run_killed_before_it_began_is_no_run(tmp_path: Path) -> None:
    folder = tmp_path / "20260101T000000Z_smoke_00000000"
    folder.mkdir()
    with open_run(folder) as store, pytest.raises(StoreError, match="holds no run; it was killed before"):
        store.run()
    assert find_unfinished(tmp_path, "smoke", RUN.digest) is None


def test_the_newest_unfinished_run_of_that_configuration_is_found(tmp_path: Path) -> None:
    assert find_unfinished(tmp_path / "nothing yet", "smoke", RUN.digest) is None
    finished, other = made(tmp_path), made(tmp_path, dataclasses.replace(RUN, digest="e" * 64))
    with open_run(finished) as store:
        seal_run(store)
    assert find_unfinished(tmp_path, "smoke", RUN.digest) is None
    assert find_unfinished(tmp_path, "smoke", "e" * 64) == other
    unfinished = [made(tmp_path), made(tmp_path)]
    assert find_unfinished(tmp_path, "smoke", RUN.digest) == max(unfinished)
    assert find_unfinished(tmp_path, "smok", RUN.digest) is None


def test_a_suite_s_name_cannot_leave_the_log_folder(tmp_path: Path) -> None:
    run = dataclasses.replace(RUN, suite="../../etc/[a]*_b")
    folder = made(tmp_path / "logs", run)
    assert folder.parent == tmp_path / "logs"
    assert find_unfinished(tmp_path / "logs", run.suite, run.digest) == folder


def test_a_seed_of_63_bits_and_a_nested_configuration_survive(tmp_path: Path) -> None:
    run = dataclasses.replace(RUN, seed=2**63 - 1, config={"auditors": [{"settings": {"p": 0.1}}]})
    with read_run(made(tmp_path, run)) as store:
        assert (store.run().seed, store.run().config) == (run.seed, json.loads(json.dumps(run.config)))
