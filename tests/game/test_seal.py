import dataclasses
import json
import os
import pkgutil
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from game.dealing.dealer import plan_cases
from game.dealing.master import Master
from game.proof import seal
from game.proof.sealing import commit, master_of
from game.proof.verify import Wanted, verify
from game.runs.database import StoreError
from game.runs.events import CasesCommitted, Event, RoundStarted
from game.runs.run_folder import MASTER, read_key
from game.runs.store import create_run, open_run, read_run
from game.runs.tournament import Deal, RunResult, Source, auditor_seed, play_source, suite_source
from tests.game import hand_made
from tests.game.hand_made import players, source
from tests.game.test_store import RUN
from tests.tiny_suite import tiny_suite

CASES = hand_made.cases(4)
ROW = {
    "id": "case-000",
    "recipe": "toy",
    "base": "toy@0.0",
    "artefact": "a" * 64,
    "brief": '{"prior":0.5}',
    "truth": '{"record":{"base_hash":"b"}}',
    "companions": "[]",
    "challenge": None,
}


def play(log_dir: Path, dealt: Source | None = None, seed: int = 3) -> RunResult:
    return play_source(dealt or source(CASES), players(), seed, log_dir)


def rated(log_dir: Path, seed: int = 3) -> RunResult:
    return play(log_dir, dataclasses.replace(source(CASES), rated=True), seed)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        # what differs  from the row above
        ("id", "case-001"),
        ("recipe", "toyb"),
        ("base", "toy@1.0"),
        ("artefact", "c" * 64),
        ("brief", '{"prior":0.6}'),
        ("brief", '{"prior": 0.5}'),  # bytes, not what they mean
        ("truth", '{"record":{"base_hash":"c"}}'),
        ("companions", json.dumps(["d" * 64])),
        ("challenge", "{}"),
    ],
)
def test_a_commitment_is_to_every_byte_of_a_case(column: str, value: str) -> None:
    nonce = bytes(32)
    assert seal.commitment(nonce, ROW) != seal.commitment(nonce, ROW | {column: value})
    assert len(seal.commitment(nonce, ROW)) == 64


def test_the_same_case_is_committed_to_differently_under_another_nonce() -> None:
    nonces = [Master.of_seed(seed).nonce("commit", "case-000") for seed in range(50)]
    assert len({seal.commitment(nonce, ROW) for nonce in nonces}) == 50


def test_cases_are_committed_to_before_the_first_auditor_starts(tmp_path: Path) -> None:
    seen: list[Event] = []

    def watch(event: Event) -> None:
        seen.append(event)
        if isinstance(event, CasesCommitted):
            (folder,) = tmp_path.iterdir()
            with read_run(folder) as store:
                assert (len(store.cases()), store.rounds()) == (len(CASES), ())
                assert store.run().commitments == event.digest
                rows = store.connection.execute("SELECT commitment FROM cases").fetchall()
                assert all(len(row["commitment"]) == 64 for row in rows)

    play_source(source(CASES), players(), 3, tmp_path, watch)
    kinds = [type(event) for event in seen]
    assert kinds.count(CasesCommitted) == 1
    assert kinds.index(CasesCommitted) < kinds.index(RoundStarted)


def test_an_open_run_is_committed_to_the_same_way_again_and_another_seed_s_is_not(tmp_path: Path) -> None:
    digests = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        with read_run(play(tmp_path / name, seed=seed).folder) as store:
            digests.append(store.run().commitments)
    assert digests[0] == digests[1] != digests[2]


def test_every_round_is_linked_to_the_one_before(tmp_path: Path) -> None:
    with read_run(play(tmp_path).folder) as store:
        run, rows = store.run(), store.connection.execute("SELECT * FROM round ORDER BY number").fetchall()
    previous = str(run.commitments)
    for number, row in enumerate(rows, 1):
        assert (row["number"], row["link"]) == (number, seal.link(previous, dict(row)))
        previous = row["link"]
    assert run.head == seal.head(previous, vars(run))


def test_the_rules_of_scoring_are_what_the_rooms_that_score_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    before = seal.scoring_rules(["detection"])
    assert json.loads(before)["constants"]["game.scoring.scores.FAILURE"] == 0.25
    assert seal.scoring_rules(["localisation"]) != before
    monkeypatch.setattr("game.scoring.scores.FAILURE", 0.5)
    assert seal.scoring_rules(["detection"]) != before


def test_a_finished_run_is_one_file_and_reveals_its_master(tmp_path: Path) -> None:
    folder = play(tmp_path).folder
    assert sorted(path.name for path in folder.iterdir()) == [
        "artifacts",
        "run.db",
        "run.lock",
        "seal.json",
        "transcripts",
    ]
    with read_run(folder) as store:
        assert store.run().master == Master.of_seed(3).key.hex()
        assert store.connection.execute("PRAGMA journal_mode").fetchone()[0] == "delete"
    with pytest.raises(StoreError, match="sealed; nothing can be added"), open_run(folder):
        pass


def test_a_rated_run_s_secret_is_its_owner_s_alone_and_gone_when_it_is_revealed(tmp_path: Path) -> None:
    modes: list[int] = []
    keys: list[bytes] = []

    def dealer(master: Master) -> Deal:
        (folder,) = tmp_path.iterdir()
        modes.extend(stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / MASTER))
        keys.extend((read_key(folder), master.key))
        return {case.id: case for case in CASES}.__getitem__

    folder = play(tmp_path, dataclasses.replace(source(CASES), dealer=dealer, rated=True)).folder
    assert modes == [0o700, 0o600]
    assert keys[0] == keys[1] != Master.of_seed(3).key
    assert not (folder / MASTER).exists()
    with read_run(folder) as store:
        assert store.run().master == keys[0].hex()
        assert store.run().master_hash == seal.master_hash(keys[0])


def test_two_rated_runs_of_one_seed_have_nothing_in_common(tmp_path: Path) -> None:
    folders = [rated(tmp_path / name).folder for name in "ab"]
    found = []
    for folder in folders:
        with read_run(folder) as store:
            found.append(store.run())
    assert found[0].digest == found[1].digest
    assert found[0].master != found[1].master
    assert found[0].commitments != found[1].commitments


def test_a_rated_run_replayed_with_its_seed_alone_deals_other_cases() -> None:
    suite = tiny_suite()
    plans = [plan_cases(suite, master) for master in (Master.of_seed(1), *(Master.fresh() for _ in range(5)))]
    assert len(set(plans)) == 6
    assert len({suite_source(suite).case_ids}) == 1  # only the names are the same
    seeds = {Master.fresh().seed("base", "facts-tiny", 0) for _ in range(5)} | {
        Master.of_seed(1).seed("base", "facts-tiny", 0)
    }
    assert len(seeds) == 6


def test_an_auditor_s_seed_never_depends_on_the_master_nor_an_open_run_s_on_its_seed() -> None:
    open_runs = [dataclasses.replace(RUN, seed=seed, config={"rated": False}) for seed in (1, 2)]
    rated_runs = [dataclasses.replace(RUN, seed=seed, config={"rated": True}) for seed in (1, 2)]
    first, second = (auditor_seed(run, "case-000", "a") for run in open_runs)
    assert first == second
    first, second = (auditor_seed(run, "case-000", "a") for run in rated_runs)
    assert first != second
    revealed = dataclasses.replace(rated_runs[0], master="ab" * 32)
    assert auditor_seed(revealed, "case-000", "a") == first


def test_a_rated_run_whose_secret_was_lost_or_changed_does_not_go_on(tmp_path: Path) -> None:
    with create_run(tmp_path, dataclasses.replace(RUN, config={"rated": True})) as store:
        store.save_case(CASES[0])
        commit(store, ("detection",))
        (store.folder / MASTER).write_text(f"{Master.of_seed(1).key.hex()}\n")
        with pytest.raises(StoreError, match="its master is not the one that was committed to"):
            master_of(store)
        (store.folder / MASTER).unlink()
        with pytest.raises(StoreError, match=r"master\.key: .* without it this run cannot go on"):
            master_of(store)


def test_a_secret_that_was_changed_while_cases_were_dealt_does_not_go_on(tmp_path: Path) -> None:
    with create_run(tmp_path, dataclasses.replace(RUN, config={"rated": True})) as store:
        assert master_of(store).key == read_key(store.folder)
        (store.folder / MASTER).write_text(f"{Master.of_seed(1).key.hex()}\n")
        with pytest.raises(StoreError, match="its master is not the one that was committed to"):
            master_of(store)


def killed(log_dir: Path, kind: str, at: str, number: int) -> None:
    """Play in a child that kills itself when the function of that path is called for that time."""
    child = os.fork()
    if child == 0:
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(at, fatal(pkgutil.resolve_name(at), number))
                rated(log_dir) if kind == "rated" else play(log_dir)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def fatal(kept: Callable[..., Any], number: int) -> Callable[..., Any]:
    calls: list[None] = []

    def called(*args: Any, **settings: Any) -> Any:
        calls.append(None)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return kept(*args, **settings)

    return called


@pytest.mark.parametrize("kind", ["open", "rated"])
@pytest.mark.parametrize(
    ("at", "number"),
    [
        # killed when this is called        the n-th time
        ("game.runs.store.Store.save_case", 1),  # before any case is dealt
        ("game.runs.store.Store.save_case", 3),  # while dealing
        ("game.runs.store.write_atomically", 2),  # before a model is on disk
        ("game.runs.tournament.commit", 1),  # between the last case and the commitments
        ("game.proof.seal.commitments_digest", 1),  # inside that transaction
        ("game.runs.tournament.recorded_round", 1),  # between the commitments and the first round
        ("game.runs.tournament.recorded_round", 6),  # between rounds
        ("game.runs.store.Store._add_round", 4),  # between a transcript and its row
        ("game.runs.tournament.seal_run", 1),  # after the last round
        ("game.proof.sealing.sweep", 1),  # revealed and the secret deleted, yet no seal
        ("game.proof.sealing.write_atomically", 1),  # before the seal is on disk
    ],
)
def test_a_driver_killed_anywhere_goes_on_with_the_same_command(
    kind: str, at: str, number: int, tmp_path: Path
) -> None:
    killed(tmp_path, kind, at, number)
    (before,) = tmp_path.iterdir()
    unsealed = [fault.what for fault in verify(before, Wanted()).faults]
    assert unsealed == (["unlike its seal", "revealed"] if at.startswith("game.proof.sealing.") else [])
    key = read_key(before) if kind == "rated" and (before / MASTER).exists() else None
    result = rated(tmp_path) if kind == "rated" else play(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [before.name] == [result.folder.name]
    assert len(result.rounds) == len(CASES) * len(players())
    assert verify(result.folder, Wanted()).faults == ()
    with read_run(result.folder) as store:
        assert key is None or store.run().master == key.hex()


def test_what_a_killed_driver_left_unfinished_is_swept_away_when_the_run_is_sealed(tmp_path: Path) -> None:
    def dealer(_master: Master) -> Deal:
        (folder,) = tmp_path.iterdir()
        for name in ("artifacts", "transcripts"):
            (folder / name).mkdir(exist_ok=True)
            (folder / name / ".writing-1").write_bytes(b"half")
        return {case.id: case for case in CASES}.__getitem__

    folder = play(tmp_path, dataclasses.replace(source(CASES), dealer=dealer)).folder
    assert not list(folder.rglob(".writing-*"))
    assert verify(folder, Wanted()).faults == ()


def test_cases_that_are_not_played_are_not_committed_to(tmp_path: Path) -> None:
    result = play(tmp_path, source(CASES).only("case-002"))
    with read_run(result.folder) as store:
        assert [case.id for case in store.cases()] == ["case-002"]
    assert verify(result.folder, Wanted()).faults == ()
