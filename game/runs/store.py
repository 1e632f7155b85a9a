"""The run store: one SQLite file and the delivered models beside it, written by one process at a time.

A case is on disk, its model first, before any round on it starts; a round is committed before the next one
starts. So a driver that is killed at any moment loses no finished round.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

from filelock import FileLock, Timeout

from game.api import Brief, Challenge
from game.brief_text import brief_from_json, brief_to_json
from game.case import Case, Truth
from game.dealing.master import Master
from game.proof import seal
from game.referee import RoundRecord
from game.runs.database import StoreError, connect, migrate, transaction
from game.runs.run_folder import (
    DATABASE,
    LOCK,
    PRIVATE,
    SEAL,
    artefact_path,
    folders_of,
    new_folder,
    transcript_path,
    write_key,
)
from game.runs.serialise import (
    challenge_from_json,
    challenge_to_json,
    record_from_row,
    report_to_json,
    to_json,
    truth_from_json,
    truth_to_json,
)
from game.toolbox.transcript import Transcript
from models.checkpoints import write_atomically

State = Literal["open", "finished"]


class RunInUseError(StoreError):
    """Another process is writing to the run."""


@dataclass(frozen=True)
class RunInfo:
    """What a run is a run of.

    Attributes:
        id: Name of its folder.
        suite: Name of the suite.
        digest: SHA-256 of the configuration; runs of one digest are the same run.
        config: Everything that the results depend on, as JSON-ready data.
        seed: The public seed.
        state: `finished` once every round is played.
        created: UTC, ISO 8601.
        versions: Of the software, as JSON-ready data.
        master_hash: Of the master; an open run's is None until every case is dealt.
        scoring: The rules of scoring, as `game.proof.seal.scoring_rules` has them; None until then, as is
            the next.
        commitments: The digest to publish before the first auditor starts.
        master: The master's key in hexadecimal digits; None until it is revealed.
        head: The digest to publish at the end; None until then.
    """

    id: str
    suite: str
    digest: str
    config: dict[str, Any]
    seed: int
    state: State
    created: str
    versions: dict[str, str]
    master_hash: str | None = None
    scoring: str | None = None
    commitments: str | None = None
    master: str | None = None
    head: str | None = None

    @property
    def rated(self) -> bool:
        """Whether its cases were drawn from a secret."""
        return bool(self.config.get("rated", False))

    @property
    def by_hand(self) -> bool:
        """Whether it is one case that a person or a script plays."""
        return bool(self.config.get("by_hand", False))

    @property
    def new_worlds(self) -> bool:
        """Whether worlds and training seeds were drawn from the secret too."""
        return bool(self.config.get("new_worlds", self.rated))


@dataclass(frozen=True)
class StoredCase:
    """A case as the store lists it: all but the weights, which `Store.case` reads."""

    id: str
    recipe: str
    base: str
    artefact: str
    brief: Brief
    truth: Truth
    companions: tuple[str, ...]
    challenge: Challenge | None

    @classmethod
    def of(cls, case: Case) -> Self:
        """A case without its weights."""
        artefact, *companions = (
            hashlib.sha256(data).hexdigest() for data in (case.artefact, *case.companions)
        )
        return cls(
            case.id,
            case.recipe,
            case.base,
            artefact,
            case.brief,
            case.truth,
            tuple(companions),
            case.challenge,
        )


@dataclass(frozen=True)
class Store:
    """A run on disk; see `create_run`, `open_run` and `read_run`."""

    folder: Path
    connection: sqlite3.Connection

    def run(self) -> RunInfo:
        """What the run is.

        Raises:
            StoreError: Its driver was killed before it wrote that down.
        """
        row = self.connection.execute("SELECT * FROM run").fetchone()
        if row is None:
            raise StoreError(f"{self.folder}: holds no run; it was killed before it began")
        return run_info(dict(row))

    def save_case(self, case: Case) -> None:
        """Keep a dealt case: first its weights, under their hash, then everything else.

        Raises:
            OSError: The artefact cannot be written.
        """
        stored = StoredCase.of(case)
        models = zip((stored.artefact, *stored.companions), (case.artefact, *case.companions), strict=True)
        for sha, data in models:
            write_atomically(artefact_path(self.folder, sha), data)
        with transaction(self.connection):
            _insert(self.connection, "cases", case_row(case))

    def case(self, case_id: str) -> Case | None:
        """A dealt case as it was saved, or None if it was not dealt yet.

        Raises:
            StoreError: Its weights are missing or not those that were saved.
        """
        row = self.connection.execute("SELECT * FROM cases WHERE id = ?", (case_id,)).fetchone()
        return None if row is None else case_of_row(self.folder, dict(row))

    def cases(self) -> tuple[StoredCase, ...]:
        """Every dealt case, by id."""
        return tuple(
            _stored_case(dict(row)) for row in self.connection.execute("SELECT * FROM cases ORDER BY id")
        )

    def save_round(self, key: str, record: RoundRecord, started: str, transcript: Transcript) -> None:
        """Keep a finished round, its transcript first; a second one of the same key is ignored.

        Args:
            key: What `round_key` returned.
            record: Its outcome.
            started: UTC, ISO 8601.
            transcript: Its calls, which end here.
        """
        if key in self.done():
            return
        report = report_to_json(record)
        transcript.add("report", {"sha256": hashlib.sha256(report.encode()).hexdigest()})
        transcript.add("close", {"status": record.status, "spent": record.spent})
        written = transcript.written(self.run().commitments or seal.UNSEALED)
        write_atomically(transcript_path(self.folder, key), written.data)
        row = {
            "key": key,
            "case_id": record.case_id,
            "auditor": record.auditor,
            "status": record.status,
            "error": _storable(record.error),
            "report": report,
            **asdict(record.score),
            "spent": record.spent,
            "wall_s": record.wall_s,
            "cpu_s": record.cpu_s,
            "started": started,
            "tier": record.tier,
            "readouts": to_json(record.readouts),
            "transcript": written.head,
            "lines": written.lines,
        }
        with transaction(self.connection):
            self._add_round(row)

    def _add_round(self, row: dict[str, Any]) -> None:
        """Add a round's row to the end of the chain; linked as SQLite gives it back."""
        number, previous = self.last_round()
        _insert(self.connection, "round", row | {"number": number + 1})
        stored = self.connection.execute("SELECT * FROM round WHERE key = ?", (row["key"],)).fetchone()
        link = seal.link(previous, dict(stored))
        self.connection.execute("UPDATE round SET link = ? WHERE key = ?", (link, row["key"]))

    def last_round(self) -> tuple[int, str]:
        """Number and link of the last round; where there is none, 0 and the digest of the commitments."""
        last = "SELECT number, link FROM round WHERE link IS NOT NULL ORDER BY number DESC LIMIT 1"
        row = self.connection.execute(last).fetchone()
        return (row[0], row[1]) if row else (0, self.run().commitments or seal.UNSEALED)

    def done(self) -> set[str]:
        """Keys of the finished rounds."""
        return {row["key"] for row in self.connection.execute("SELECT key FROM round")}

    def rounds(self) -> tuple[RoundRecord, ...]:
        """Every finished round, by case, in the order they were played."""
        rows = self.connection.execute("SELECT * FROM round ORDER BY case_id, rowid")
        return tuple(record_from_row(dict(row)) for row in rows)


def case_row(case: Case) -> dict[str, Any]:
    """A case as the store keeps it and a commitment covers it; models stand by their hashes."""
    stored = StoredCase.of(case)
    return {
        "id": case.id,
        "recipe": case.recipe,
        "base": case.base,
        "artefact": stored.artefact,
        "brief": brief_to_json(case.brief),
        "truth": truth_to_json(case.truth),
        "companions": to_json(stored.companions),
        "challenge": None if case.challenge is None else challenge_to_json(case.challenge),
    }


def round_key(digest: str, case_id: str, player: str) -> str:
    """The identity of a round.

    Args:
        digest: Of the run's configuration.
        case_id: Of the case.
        player: The auditor's name and settings, as canonical text.
    """
    return hashlib.sha256("\x1f".join((digest, case_id, player)).encode()).hexdigest()


@contextmanager
def create_run(log_dir: Path, run: RunInfo) -> Iterator[Store]:
    """A new run in a new folder, open for writing; the folder's name becomes its id.

    A rated run's folder is for its owner alone, and holds its master until that is revealed.

    Raises:
        OSError: The folder cannot be made.
    """
    folder = new_folder(log_dir, run.suite, PRIVATE if run.rated else 0o777)
    config, versions = to_json(run.config), to_json(run.versions)
    row = asdict(run) | {"id": folder.name, "config": config, "versions": versions}
    if run.rated:
        key = Master.fresh().key
        write_key(folder, key)
        row["master_hash"] = seal.master_hash(key)  # so that none but this key goes on with it
    with open_run(folder) as store:
        with transaction(store.connection):
            _insert(store.connection, "run", row)
        yield store


@contextmanager
def open_run(folder: Path) -> Iterator[Store]:
    """A run open for writing; nobody else writes to it meanwhile.

    Raises:
        RunInUseError: Another process is writing to it.
        StoreError: It is sealed, or no store that this version can write.
    """
    if (folder / SEAL).exists():
        raise StoreError(f"{folder}: sealed; nothing can be added to a finished run")
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunInUseError(f"{folder}: another process plays this run; wait for it or stop it") from None
    try:
        with closing(connect(folder / DATABASE, "rwc")) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            migrate(connection)
            yield Store(folder, connection)
    finally:
        lock.release()


@contextmanager
def read_run(folder: Path) -> Iterator[Store]:
    """A run open for reading, also while another process plays it.

    Raises:
        StoreError: It is no store that this version can read.
    """
    with closing(connect(folder / DATABASE, "ro")) as connection:
        yield Store(folder, connection)


def find_unfinished(log_dir: Path, suite: str, digest: str) -> Path | None:
    """The folder of the newest unfinished run of that configuration, or None."""
    for folder in folders_of(log_dir, suite):
        try:
            with read_run(folder) as store:
                run = store.run()
        except (StoreError, sqlite3.Error):
            continue  # damaged, of another version or hardly begun: no run to go on with
        sealed = run.commitments is None or (folder / SEAL).exists()  # an older version's has no seal
        if run.digest == digest and (run.state == "open" or not sealed):
            return folder
    return None


def _insert(
    connection: sqlite3.Connection, table: Literal["run", "cases", "round"], row: Mapping[str, Any]
) -> None:
    """Add a row; one that is there already stays."""
    columns, values = ", ".join(row), ", ".join("?" * len(row))
    statement = f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({values})"  # noqa: S608 - our own names
    connection.execute(statement, tuple(row.values()))


def case_of_row(folder: Path, row: Mapping[str, Any]) -> Case:
    """The case of a row, with its models.

    Raises:
        StoreError: A model is missing or not the one that was saved.
    """
    stored = _stored_case(row)
    return Case(
        stored.id,
        stored.recipe,
        stored.base,
        _artefact(folder, stored.artefact),
        stored.brief,
        stored.truth,
        tuple(_artefact(folder, sha) for sha in stored.companions),
        stored.challenge,
    )


def run_info(row: Mapping[str, Any]) -> RunInfo:
    """What a run's row says."""
    config, versions = json.loads(row["config"]), json.loads(row["versions"])
    return RunInfo(**{**row, "config": config, "versions": versions})


def _artefact(folder: Path, sha: str) -> bytes:
    path = artefact_path(folder, sha)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != sha:
        raise StoreError(f"{path}: the bytes are not those that were saved")
    return data


def _stored_case(row: Mapping[str, Any]) -> StoredCase:
    read = {"companions": "[]", "challenge": None} | dict(row)  # a file of an older version has neither
    read.pop("commitment", None)
    parsed = {
        "brief": brief_from_json(read["brief"]),
        "truth": truth_from_json(read["truth"]),
        "companions": tuple(json.loads(read["companions"])),
        "challenge": None if read["challenge"] is None else challenge_from_json(read["challenge"]),
    }
    return StoredCase(**read | parsed)


def _storable(text: str) -> str:
    """The text with lone surrogates, which no UTF-8 file can hold, as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
