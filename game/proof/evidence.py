"""A run as it lies on disk, for whoever does not trust it: rows as they are stored, nothing repaired."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from game.case import Case
from game.dealing.master import Master
from game.runs.database import StoreError, connect
from game.runs.run_folder import DATABASE, SEAL
from game.runs.store import RunInfo, case_of_row, run_info

Row = dict[str, Any]
SEALABLE = 4  # the first version of the store that holds what can be verified


@dataclass(frozen=True)
class Evidence:
    """What there is of a run.

    Attributes:
        folder: Where it lies.
        schema: Type, name and definition of each table, index and the like.
        version: Of the store.
        run: The run's row.
        cases: Rows, by id.
        rounds: Rows, in the order they were played.
    """

    folder: Path
    schema: frozenset[tuple[str, str, str]]
    version: int
    run: Row
    cases: tuple[Row, ...]
    rounds: tuple[Row, ...]
    _opened: dict[str, Case] = field(default_factory=dict)

    def case(self, case_id: str) -> Case:
        """A case with its models; the last one asked for is remembered.

        Raises:
            StoreError: There is none, or a model is not the one that was saved.
        """
        if case_id not in self._opened:
            row = next((row for row in self.cases if row["id"] == case_id), None)
            if row is None:
                raise StoreError(f"{case_id}: no such case")
            self._opened.clear()
            self._opened[case_id] = case_of_row(self.folder, row)
        return self._opened[case_id]

    @cached_property
    def info(self) -> RunInfo:
        """The run's row, its JSON parsed."""
        return run_info(self.run)

    @property
    def sealed(self) -> bool:
        """Whether it claims to be finished."""
        return (self.folder / SEAL).exists()

    @property
    def master(self) -> Master | None:
        """What the cases were drawn from; None of a rated run before it is revealed."""
        if self.info.master is not None:
            return Master(bytes.fromhex(self.info.master), self.info.new_worlds)
        return None if self.info.rated else Master.of_seed(self.info.seed)


def read_evidence(folder: Path) -> Evidence:
    """What there is of a run; a sealed one is not written to in any way.

    Raises:
        StoreError: Its database cannot be read.
    """
    mode = "ro&immutable=1" if (folder / SEAL).exists() else "ro"
    try:
        with closing(connect(folder / DATABASE, mode)) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version < SEALABLE:
                raise StoreError(f"{DATABASE}: store version {version}, from before runs were sealed")
            schema = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
            runs, cases, rounds = (
                tuple(dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY {order}"))  # noqa: S608
                for table, order in (("run", "id"), ("cases", "id"), ("round", "number, key"))
            )
    except (sqlite3.Error, ValueError) as error:  # the latter for messages that are no UTF-8 themselves
        raise StoreError(f"{DATABASE}: cannot be read: {error}") from error
    if len(runs) != 1:
        raise StoreError(f"{DATABASE}: holds {len(runs)} runs, wanted 1")
    return Evidence(folder, frozenset(map(tuple, schema)), version, runs[0], cases, rounds)
