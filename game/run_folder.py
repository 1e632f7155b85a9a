"""Where runs are kept: one folder each, `logs/<UTC>_<suite>_<8 hex digits>`."""

import re
import secrets
from datetime import UTC, datetime
from pathlib import Path

DATABASE = "run.db"
LOCK = "run.lock"
ARTIFACTS = "artifacts"


def new_folder(log_dir: Path, suite: str) -> Path:
    """A fresh, empty folder for a run that starts now.

    Raises:
        OSError: The folder cannot be made.
    """
    folder = log_dir / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}_{_as_file_name(suite)}_{secrets.token_hex(4)}"
    folder.mkdir(parents=True)
    return folder


def folders_of(log_dir: Path, suite: str) -> list[Path]:
    """The folders of a suite's runs, newest first."""
    databases = log_dir.glob(f"*_{_as_file_name(suite)}_*/{DATABASE}")
    return sorted((path.parent for path in databases), reverse=True)


def artefact_path(folder: Path, sha: str) -> Path:
    """Where a run keeps the delivered model of that hash."""
    return folder / ARTIFACTS / f"{sha}.safetensors"


def _as_file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text)[:60]
