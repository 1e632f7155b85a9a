"""Where runs are kept: one folder each, `logs/<UTC>_<suite>_<8 hex digits>`."""

import os
import re
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

DATABASE = "run.db"
LOCK = "run.lock"
ARTIFACTS = "artifacts"
TRANSCRIPTS = "transcripts"
SEAL = "seal.json"
MASTER = "master.key"  # of a rated run, until it is revealed
RESULTS = "results"  # of tools, in a case that is played by hand
PANEL = "panel.json"  # what auditors made of such a case, once it was over
PRIVATE = 0o700


def new_folder(log_dir: Path, suite: str, mode: int = 0o777) -> Path:
    """A fresh, empty folder for a run that starts now.

    Raises:
        OSError: The folder cannot be made.
    """
    folder = log_dir / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}_{_as_file_name(suite)}_{secrets.token_hex(4)}"
    log_dir.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=mode)
    return folder


def folders_of(log_dir: Path, suite: str) -> list[Path]:
    """The folders of a suite's runs, newest first."""
    databases = log_dir.glob(f"*_{_as_file_name(suite)}_*/{DATABASE}")
    return sorted((path.parent for path in databases), reverse=True)


def artefact_path(folder: Path, sha: str) -> Path:
    """Where a run keeps the delivered model of that hash."""
    return folder / ARTIFACTS / f"{sha}.safetensors"


def transcript_path(folder: Path, key: str) -> Path:
    """Where a run keeps the transcript of the round of that key."""
    return folder / TRANSCRIPTS / f"{key}.jsonl"


def write_key(folder: Path, key: bytes) -> None:
    """Keep a master's key in a file that only its owner can read.

    Raises:
        OSError: It cannot be written, or is there already.
    """
    descriptor = os.open(folder / MASTER, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{key.hex()}\n")
        file.flush()
        os.fsync(file.fileno())


def read_key(folder: Path) -> bytes:
    """The key that `write_key` kept.

    Raises:
        OSError: It cannot be read.
        ValueError: It is damaged.
    """
    return bytes.fromhex((folder / MASTER).read_text().strip())


def sweep(folder: Path, wanted: Iterable[Path]) -> None:
    """Delete what a killed driver left among models and transcripts: whatever is none of the wanted files.

    Raises:
        OSError: A file cannot be deleted.
    """
    kept = set(wanted)
    for name in (ARTIFACTS, TRANSCRIPTS):
        for path in (folder / name).glob("*"):
            if path not in kept:
                path.unlink()


def _as_file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text)[:60]
