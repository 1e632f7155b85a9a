"""The SQLite side of the run store: schema, migrations, connections and transactions."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

# One entry for each version of the store, applied in order to a file of an older version; never edited.
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE run(
            id TEXT PRIMARY KEY, suite TEXT NOT NULL, digest TEXT NOT NULL, config TEXT NOT NULL,
            seed INTEGER NOT NULL, state TEXT NOT NULL CHECK (state IN ('open', 'finished')),
            created TEXT NOT NULL, versions TEXT NOT NULL) STRICT""",
        """CREATE TABLE cases(
            id TEXT PRIMARY KEY, recipe TEXT NOT NULL, base TEXT NOT NULL, artefact TEXT NOT NULL,
            brief TEXT NOT NULL, truth TEXT NOT NULL) STRICT""",
        """CREATE TABLE round(
            key TEXT PRIMARY KEY, case_id TEXT NOT NULL REFERENCES cases(id), auditor TEXT NOT NULL,
            status TEXT NOT NULL, error TEXT NOT NULL, report TEXT NOT NULL, detection REAL NOT NULL,
            localisation REAL NOT NULL, log_score_bits REAL NOT NULL, spent REAL NOT NULL,
            wall_s REAL NOT NULL, cpu_s REAL NOT NULL, started TEXT NOT NULL) STRICT""",
    ),
    (
        "ALTER TABLE round ADD COLUMN tier TEXT NOT NULL DEFAULT 'in process'",
    ),  # as all rounds were until then
    (
        "ALTER TABLE cases ADD COLUMN companions TEXT NOT NULL DEFAULT '[]'",
        "ALTER TABLE cases ADD COLUMN challenge TEXT",
        "ALTER TABLE round ADD COLUMN behaviour REAL",
        "ALTER TABLE round ADD COLUMN repair REAL",
        "ALTER TABLE round ADD COLUMN readouts TEXT NOT NULL DEFAULT '{}'",
    ),
    (
        "ALTER TABLE run ADD COLUMN master_hash TEXT",
        "ALTER TABLE run ADD COLUMN scoring TEXT",
        "ALTER TABLE run ADD COLUMN commitments TEXT",
        "ALTER TABLE run ADD COLUMN master TEXT",
        "ALTER TABLE run ADD COLUMN head TEXT",
        "ALTER TABLE cases ADD COLUMN commitment TEXT",
        "ALTER TABLE round ADD COLUMN number INTEGER",
        "ALTER TABLE round ADD COLUMN transcript TEXT",
        "ALTER TABLE round ADD COLUMN lines INTEGER",
        "ALTER TABLE round ADD COLUMN link TEXT",
    ),
)
VERSION = len(_MIGRATIONS)


class StoreError(RuntimeError):
    """A run that cannot be read or written: damaged, of a newer version, or in use."""


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """A connection that commits only what `transaction` brackets.

    Args:
        path: The database file.
        mode: `ro`, `rwc` to write and create, or `ro&immutable=1` for what nobody writes to any more.

    Raises:
        StoreError: The file is no store, or a newer one than this version knows.
    """
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True, isolation_level=None)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: cannot be opened: {error}") from error
    try:
        _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a file of an older version, or an empty one, to this version's schema.

    Raises:
        StoreError: SQLite itself is too old.
    """
    if sqlite3.sqlite_version_info < (3, 37):
        raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old; wanted 3.37 or newer")
    with transaction(connection):
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        for statement in (each for step in _MIGRATIONS[version:] for each in step):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")


def schema_of(version: int) -> frozenset[tuple[str, str, str]]:
    """Type, name and definition of what a store of that version consists of."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in (each for step in _MIGRATIONS[:version] for each in step):
            connection.execute(statement)
        return frozenset(connection.execute("SELECT type, name, sql FROM sqlite_master"))


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    try:
        for pragma in ("busy_timeout = 30000", "foreign_keys = ON", "synchronous = NORMAL"):
            connection.execute(f"PRAGMA {pragma}")
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path}: not a run store: {error}") from error
    if version > VERSION:
        known = f"this audit-game knows up to {VERSION}"
        raise StoreError(f"{path}: store version {version}, and {known}; update audit-game")
    connection.row_factory = sqlite3.Row


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of the statements inside or none, other writers kept out from the start."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
