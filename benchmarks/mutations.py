"""Mutations of a finished run, generated: bytes, files, lines and rows, as a cheat would change them."""

import json
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from game.proof import seal
from game.runs.run_folder import DATABASE, SEAL
from models.checkpoints import write_atomically

Row = dict[str, Any]
TABLES = ("run", "cases", "round")
KEYS = {"run": "id", "cases": "id", "round": "key"}
Change = Callable[[Path, random.Random], str]


class Mutation(NamedTuple):
    """One way to cheat, carried out.

    Attributes:
        kind: What sort of change.
        what: What exactly was changed.
        chained: Whether everything inside fits together again, so that only a published digest tells.
    """

    kind: str
    what: str
    chained: bool


def mutate(folder: Path, seed: int) -> Mutation:
    """Change one thing in a copy of a finished run; which one follows from the seed.

    Everything else is made to fit where that needs no secret: the seal is written anew after every change of
    rows, so that it is the inner layers that must find it.
    """
    rng = random.Random(seed)
    kind = tuple(CHANGES)[seed % len(CHANGES)]
    return Mutation(kind, CHANGES[kind](folder, rng), kind in CHAINED)


def _flip(folder: Path, rng: random.Random, files: list[Path]) -> str:
    path = rng.choice(files)
    data = bytearray(path.read_bytes())
    place, bit = rng.randrange(len(data)), rng.randrange(8)
    data[place] ^= 1 << bit
    path.write_bytes(data)
    return f"{path.name}: bit {bit} of byte {place}"


def _all(folder: Path) -> list[Path]:
    return [*seal.sealed_files(folder), folder / SEAL]


def flip_database(folder: Path, rng: random.Random) -> str:
    return _flip(folder, rng, [folder / DATABASE])


def flip_seal(folder: Path, rng: random.Random) -> str:
    return _flip(folder, rng, [folder / SEAL])


def flip_model(folder: Path, rng: random.Random) -> str:
    return _flip(folder, rng, sorted((folder / "artifacts").iterdir()))


def flip_transcript(folder: Path, rng: random.Random) -> str:
    return _flip(folder, rng, sorted((folder / "transcripts").iterdir()))


def truncate(folder: Path, rng: random.Random) -> str:
    path = rng.choice(_all(folder))
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data))])
    return path.name


def append(folder: Path, rng: random.Random) -> str:
    path = rng.choice(_all(folder))
    path.write_bytes(path.read_bytes() + rng.randbytes(rng.randint(1, 40)))
    return path.name


def lines(folder: Path, rng: random.Random) -> str:
    """Swap, remove or double lines of a transcript, the seal made to fit."""
    path = rng.choice(sorted((folder / "transcripts").iterdir()))
    kept = path.read_bytes().splitlines(keepends=True)
    how = rng.choice(["swap", "remove", "double", "cut"])
    i, j = rng.sample(range(len(kept)), 2)
    if how == "swap":
        kept[i], kept[j] = kept[j], kept[i]
    elif how == "remove":
        del kept[i]
    elif how == "double":
        kept.insert(j, kept[i])
    else:
        kept = kept[: max(i, 1)]
    path.write_bytes(b"".join(kept))
    reseal(folder)
    return f"{path.name}: {how} {i} {j}"


def swap_files(folder: Path, rng: random.Random) -> str:
    """Two models or two transcripts trade places, the seal made to fit."""
    inner = sorted((folder / rng.choice(["artifacts", "transcripts"])).iterdir())
    one, other = rng.sample(inner, 2)
    first, second = one.read_bytes(), other.read_bytes()
    if first == second:
        second += b" "
    one.write_bytes(second)
    other.write_bytes(first)
    reseal(folder)
    return f"{one.name} {other.name}"


def remove_file(folder: Path, rng: random.Random) -> str:
    path = rng.choice(_all(folder))
    path.unlink()
    if path.parent != folder and rng.random() < 0.5:
        reseal(folder)
    return path.name


def add_file(folder: Path, rng: random.Random) -> str:
    path = folder / rng.choice(["artifacts", "transcripts", "."]) / f"{rng.randbytes(32).hex()}.jsonl"
    path.write_bytes(rng.randbytes(20))
    if path.parent != folder and rng.random() < 0.5:
        reseal(folder)
    return str(path.relative_to(folder))


def any_column(folder: Path, rng: random.Random) -> str:
    """Another value in any column of any row."""
    with closing(_opened(folder)) as connection:
        table = rng.choice(TABLES)
        row = _row(connection, table, rng)
        column = rng.choice(list(row))
        values = [] if column == KEYS[table] else [each[column] for each in _rows(connection, table)]
        new = _other(row[column], values, rng)
        _set(connection, table, row, column, new)
    reseal(folder)
    return f"{table}.{column}: {str(row[column])[:40]} -> {str(new)[:40]}"


def json_column(folder: Path, rng: random.Random) -> str:
    """Another leaf inside a column of JSON: a truth, a brief, a report, the configuration."""
    columns = (("cases", "truth"), ("cases", "brief"), ("round", "report"), ("run", "config"))
    with closing(_opened(folder)) as connection:
        table, column = rng.choice(columns)
        row = _row(connection, table, rng)
        data = json.loads(row[column])
        what = _leaf(data, rng)
        _set(connection, table, row, column, json.dumps(data))
    reseal(folder)
    return f"{table}.{column}: {what}"


def score(folder: Path, rng: random.Random) -> str:
    """Another score, other credits or seconds."""
    with closing(_opened(folder)) as connection:
        told = _add(
            connection, rng, ("detection", "localisation", "log_score_bits", "spent", "wall_s", "cpu_s")
        )
    reseal(folder)
    return told


def forged(folder: Path, rng: random.Random) -> str:
    """Another score, and every link, the head and the seal made to fit: the report tells."""
    with closing(_opened(folder)) as connection:
        told = _add(connection, rng, ("detection", "localisation", "log_score_bits", "spent"))
        _chain(connection)
    reseal(folder)
    return told


def rows(folder: Path, rng: random.Random) -> str:
    """A row less, or one more."""
    with closing(_opened(folder)) as connection:
        table = rng.choice(TABLES)
        row, key = _row(connection, table, rng), KEYS[table]
        how = rng.choice(["delete", "double"])
        if how == "delete":
            connection.execute(f"DELETE FROM {table} WHERE {key} = ?", (row[key],))  # noqa: S608
        else:
            again = row | {key: rng.randbytes(32).hex()}
            names, marks = ", ".join(again), ", ".join("?" * len(again))
            statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608
            connection.execute(statement, tuple(again.values()))
        connection.commit()
    reseal(folder)
    return f"{how} {table}"


def swap_rows(folder: Path, rng: random.Random) -> str:
    """Two rows trade a column: numbers, reports, truths, models."""
    with closing(_opened(folder)) as connection:
        table = rng.choice(["cases", "round"])
        found = _rows(connection, table)
        column = rng.choice([each for each in found[0] if len({row[each] for row in found}) > 1])
        one = rng.choice(found)
        other = rng.choice([row for row in found if row[column] != one[column]])
        if column == KEYS[table]:
            _set(connection, table, one, column, "between")
            _set(connection, table, other, column, one[column])
            _set(connection, table, one | {column: "between"}, column, other[column])
        else:
            _set(connection, table, one, column, other[column])
            _set(connection, table, other, column, one[column])
    reseal(folder)
    return f"{table}.{column}"


def schema(folder: Path, rng: random.Random) -> str:
    """A table, a trigger or a view that should not be there."""
    statement = rng.choice(
        [
            "CREATE TABLE hidden(text TEXT)",
            "CREATE VIEW best AS SELECT * FROM round WHERE detection > 0",
            "CREATE TRIGGER late AFTER INSERT ON round BEGIN DELETE FROM round; END",
            "CREATE INDEX fast ON round(auditor)",
            "ALTER TABLE round ADD COLUMN bonus REAL",
            "PRAGMA user_version = 3",
        ]
    )
    with closing(_opened(folder)) as connection:
        connection.execute(statement)
        connection.commit()
    reseal(folder)
    return statement


def chained(folder: Path, rng: random.Random) -> str:
    """Another score, and every link, the head and the seal made to fit: only what was published tells."""
    with closing(_opened(folder)) as connection:
        row = _row(connection, "round", rng)
        column = rng.choice(["wall_s", "cpu_s", "started", "tier", "error"])
        new = row[column] + 1.0 if isinstance(row[column], float) else f"{row[column]}!"
        _set(connection, "round", row, column, new)
        _chain(connection)
    reseal(folder)
    return f"round.{column}"


def dropped(folder: Path, rng: random.Random) -> str:
    """An auditor's rounds left out, the configuration and everything after it made to fit."""
    with closing(_opened(folder)) as connection:
        names = sorted({row["auditor"] for row in _rows(connection, "round")})
        name = str(rng.choice(names))
        for row in _rows(connection, "round"):
            if row["auditor"] == name:
                (folder / "transcripts" / f"{row['key']}.jsonl").unlink()
        connection.execute("DELETE FROM round WHERE auditor = ?", (name,))
        for number, row in enumerate(_rows(connection, "round"), 1):
            _set(connection, "round", row, "number", number)
        _chain(connection)
    reseal(folder)
    return name


CHANGES: dict[str, Change] = {
    change.__name__: change
    for change in (
        flip_database,
        flip_seal,
        flip_model,
        flip_transcript,
        truncate,
        append,
        lines,
        swap_files,
        remove_file,
        add_file,
        any_column,
        json_column,
        score,
        rows,
        swap_rows,
        schema,
        chained,
        forged,
        dropped,
    )
}
CHAINED = (chained.__name__,)


def reseal(folder: Path) -> None:
    """Write the seal anew for what is there now."""
    with closing(sqlite3.connect(f"file:{folder / DATABASE}?immutable=1", uri=True)) as connection:
        told = connection.execute("SELECT commitments, head FROM run").fetchone() or ("", "")
    write_atomically(folder / SEAL, seal.seal_text(folder, *told))


def copied(run: Path, to: Path) -> Path:
    """A copy of a run to spoil."""
    return Path(shutil.copytree(run, to / run.name))


def _opened(folder: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / DATABASE)
    connection.row_factory = sqlite3.Row
    return connection


def _rows(connection: sqlite3.Connection, table: str) -> list[Row]:
    order = "number" if table == "round" else "id"
    return [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY {order}")]  # noqa: S608


def _row(connection: sqlite3.Connection, table: str, rng: random.Random) -> Row:
    return rng.choice(_rows(connection, table))


def _set(connection: sqlite3.Connection, table: str, row: Row, column: str, value: object) -> None:
    key = KEYS[table]
    connection.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (value, row[key]))  # noqa: S608
    connection.commit()


def _add(connection: sqlite3.Connection, rng: random.Random, columns: tuple[str, ...]) -> str:
    """Something to a number of a round, little or much."""
    row, column = _row(connection, "round", rng), rng.choice(columns)
    _set(connection, "round", row, column, row[column] + rng.choice([-1, 1]) * rng.choice([1e-12, 0.1, 1]))
    return f"round.{column}"


def _other(value: Any, values: list[Any], rng: random.Random) -> Any:
    """Another value of the same type, taken from another row where that helps to look right."""
    others = [each for each in values if each != value and type(each) is type(value)]
    if others and rng.random() < 0.5:
        return rng.choice(others)
    if value is None:
        return 0  # which SQLite takes for text too
    if isinstance(value, int | float):
        return value + rng.choice([-1, 1, 2])
    if value == "finished":
        return "open"
    place = rng.randrange(len(value)) if value else 0
    digit = str(rng.choice([each for each in "0123456789abcdef" if each != value[place : place + 1]]))
    return value[:place] + digit + value[place + 1 :]


def _leaf(data: Any, rng: random.Random) -> str:
    """Change one leaf of nested data in place; its path."""
    path: list[str] = []
    while True:
        keys: list[Any] = list(data) if isinstance(data, dict) else list(range(len(data)))
        key = rng.choice(keys)
        path.append(str(key))
        old = data[key]
        if isinstance(old, dict | list) and old:
            data = old
            continue
        if isinstance(old, bool):
            data[key] = not old
        else:
            data[key] = old + 0.25 if isinstance(old, int | float) else f"{old}x"
        return ".".join(path)


def _chain(connection: sqlite3.Connection) -> None:
    """Link every round anew, and the head."""
    (run,) = _rows(connection, "run")
    last = run["commitments"]
    for row in _rows(connection, "round"):
        last = seal.link(last, row)
        _set(connection, "round", row, "link", last)
    _set(connection, "run", run, "head", seal.head(last, run))
