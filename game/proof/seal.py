"""What makes a run provable: commitments before it starts, a chain of its rounds, a seal when it is over.

Everything here is a pure function of bytes as they are stored, never of what they are parsed to. Each hash
is SHA-256 over a domain of its own, so that none can stand in for another.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from game import rules
from game.runs.run_folder import ARTIFACTS, DATABASE, TRANSCRIPTS
from game.runs.serialise import to_json
from game.scoring import scores as scoring
from game.toolbox import prices
from game.toolbox.transcript import canonical

UNSEALED = "0" * 64  # what the first round refers to where nothing was committed
_COMMIT = b"audit-game/commit/v1\0"
_LIST = b"audit-game/commitments/v1\0"
_LINK = b"audit-game/round/v1\0"
_HEAD = b"audit-game/head/v1\0"
_REPORT = b"audit-game/report/v1\0"


def commitment(nonce: bytes, case: Mapping[str, Any]) -> str:
    """A hash that tells nothing of a case, and that no other case has.

    Args:
        nonce: 32 bytes from the master, without which short secrets could be tried one after the other.
        case: Its row in the store: what blue sees, what only the referee knows, hashes of the models.
    """
    card = "\0".join((case["recipe"], case["brief"], case["challenge"] or ""))  # no NUL in JSON text
    hidden = "\0".join((case["base"], case["truth"]))
    base = json.loads(case["truth"])["record"].get("base_hash", "")
    companions = b"".join(map(bytes.fromhex, json.loads(case["companions"])))
    parts = [_sha(each.encode()) for each in (card, hidden, base)]
    parts += [bytes.fromhex(case["artefact"]), _sha(companions)]
    return hashlib.sha256(_COMMIT + nonce + b"".join(parts) + case["id"].encode()).hexdigest()


def commitments_digest(run: Mapping[str, Any], cases: Mapping[str, str]) -> str:
    """The one figure to publish before the first auditor starts: it covers all that must not change later.

    An open run that is played again has the same one.

    Args:
        run: The run's row: configuration, public seed, the hash of the master, the rules of scoring.
        cases: The commitment of each case, by id.
    """
    covered = ("suite", "digest", "config", "seed", "versions", "master_hash", "scoring")
    told = {"run": {name: run[name] for name in covered}, "cases": dict(cases)}
    return hashlib.sha256(_LIST + to_json(told).encode()).hexdigest()


def link(previous: str, row: Mapping[str, Any]) -> str:
    """The hash of a round and of all rounds before it.

    Args:
        previous: The link of the round before, or the digest of the commitments.
        row: Every column of the round's row as the store gives it back, but for the link itself.
    """
    told = {name: value for name, value in row.items() if name != "link"}
    return hashlib.sha256(_LINK + bytes.fromhex(previous) + to_json(told).encode()).hexdigest()


def head(last: str, run: Mapping[str, Any]) -> str:
    """The one figure to publish at the end: it covers every round, and the master revealed.

    Args:
        last: The last round's link.
        run: The run's row: its name, when it began, and the master.
    """
    told = {name: run[name] for name in ("id", "created", "master")}
    return hashlib.sha256(_HEAD + bytes.fromhex(last) + to_json(told).encode()).hexdigest()


def report_digest(nonce: bytes, report: Mapping[str, Any]) -> str:
    """What commits to a report that was handed in by hand, before its challenge is shown.

    Args:
        nonce: 32 bytes from the master.
        report: As JSON-ready data.
    """
    return hashlib.sha256(_REPORT + nonce + canonical(report).encode()).hexdigest()


def master_hash(key: bytes) -> str:
    """What is told of the master before it is revealed."""
    return _sha(key).hex()


def scoring_rules(parts: Iterable[str]) -> str:
    """What scores depend on beside report and truth, as canonical JSON: constants of the rooms that score."""
    names = sorted(f"{rules.__name__}.{found.name}" for found in iter_modules(rules.__path__))
    rooms = [prices, scoring, *map(import_module, names)]
    constants = {
        f"{room.__name__}.{name}": value
        for room in rooms
        for name, value in vars(room).items()
        if name.isupper() and isinstance(value, int | float | str | tuple)
    }
    return to_json({"parts": list(parts), "constants": constants})


def seal_text(folder: Path, commitments: str, run_head: str) -> bytes:
    """What `seal.json` says of a finished run as it lies on disk: the hash of every file that belongs to it.

    Raises:
        OSError: A file cannot be read.
    """
    files = {path.relative_to(folder).as_posix(): file_hash(path) for path in sealed_files(folder)}
    told = {"version": 1, "commitments": commitments, "head": run_head, "files": files}
    return to_json(told).encode() + b"\n"


def sealed_files(folder: Path) -> list[Path]:
    """The files of a run that its seal covers."""
    inner = (path for name in (ARTIFACTS, TRANSCRIPTS) for path in (folder / name).rglob("*"))
    return sorted([folder / DATABASE, *(path for path in inner if not path.is_dir())])


def file_hash(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
