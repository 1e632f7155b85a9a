"""Checks a finished run's seal and chains with Python's own library alone: python check_chain.py RUN."""

import hashlib
import json
import sqlite3
import sys
from pathlib import Path


def sha256(data: bytes) -> str:
    """Hexadecimal digits of a hash."""
    return hashlib.sha256(data).hexdigest()


def canonical(data: object) -> bytes:
    """JSON as the run hashes it: sorted, without spaces, ASCII only."""
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def check(folder: Path) -> str:
    """The head of a run that holds; an AssertionError names what does not."""
    seal = json.loads((folder / "seal.json").read_bytes())
    for name, told in seal["files"].items():
        assert sha256((folder / name).read_bytes()) == told, name
    database = sqlite3.connect(f"file:{folder / 'run.db'}?immutable=1", uri=True)
    database.row_factory = sqlite3.Row
    run = dict(database.execute("SELECT * FROM run").fetchone())
    rounds = [dict(row) for row in database.execute("SELECT * FROM round ORDER BY number")]
    database.close()
    previous = run["commitments"]
    for row in rounds:
        line_hash = run["commitments"]
        for line in (folder / "transcripts" / f"{row['key']}.jsonl").read_bytes().splitlines(keepends=True):
            assert json.loads(line)["prev"] == line_hash, row["key"]
            line_hash = sha256(line)
        assert line_hash == row["transcript"], row["key"]
        link = row.pop("link")
        told = b"audit-game/round/v1\0" + bytes.fromhex(previous) + canonical(row)
        assert link == sha256(told), row["key"]
        previous = link
    ending = {name: run[name] for name in ("id", "created", "master")}
    head = sha256(b"audit-game/head/v1\0" + bytes.fromhex(previous) + canonical(ending))
    assert head == run["head"] == seal["head"], "head"
    return head


if __name__ == "__main__":
    print("holds, head", check(Path(sys.argv[1])))
