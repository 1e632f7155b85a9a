"""Checkpoint files in the cache: how they are named, written, read, checked and thrown away."""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from models.checkpoints import (
    WRITING,
    Checkpoint,
    CheckpointError,
    from_bytes,
    to_bytes,
    write_atomically,
)
from models.folders import cache_folder
from models.strict_yaml import StrictModel

UNFINISHED, CURVE = ".unfinished", ".png"  # beside a checkpoint: the state of a run, the picture of its loss


class Note(StrictModel):
    """What is known of a kept checkpoint.

    Attributes:
        recipe: The recipe as data.
        world_seed, seed: Which of its checkpoints.
        origin: What decides the weights beside recipe and seeds: `torch`'s version, a hash of the training
            `code`, and what it `continues`.
        sha256: Of the file.
        metrics: The task's own measures.
        curve: Step, running loss on answers (nats) and running accuracy, every few steps of training.
        cpu_s: CPU seconds of training, of the last sitting if it was interrupted.
        task_file: The module of the task on this machine.
    """

    recipe: dict[str, Any]
    world_seed: int
    seed: int
    origin: dict[str, str]
    sha256: str
    metrics: dict[str, float]
    curve: tuple[tuple[int, float, float], ...] = ()
    cpu_s: float = 0.0
    task_file: str = ""

    @property
    def name(self) -> str:
        """Such as `facts-small@3.7`: recipe, world seed, training seed."""
        return f"{self.recipe.get('name')}@{self.world_seed}.{self.seed}"

    @property
    def key(self) -> str:
        """What the weights depend on, hashed; part of the file's name."""
        return key_of(self.recipe, self.world_seed, self.seed, self.origin)

    @property
    def hash(self) -> str:
        """What the weights depend on and the weights themselves, hashed."""
        return hashlib.sha256(f"{self.key}:{self.sha256}".encode()).hexdigest()


@dataclass(frozen=True)
class Kept:
    """A checkpoint file.

    Attributes:
        path: Where.
        size: Bytes.
        note: What is known of it, or None if that is missing or damaged.
    """

    path: Path
    size: int
    note: Note | None

    @property
    def intact(self) -> bool:
        """Whether the file is what its note says."""
        return read(self.path) is not None


def key_of(recipe: Mapping[str, Any], world_seed: int, seed: int, origin: Mapping[str, str]) -> str:
    """What weights depend on, hashed; a recipe's name and words are not among it."""
    settings = {key: value for key, value in recipe.items() if key not in ("name", "description")}
    text = json.dumps([settings, world_seed, seed, dict(origin)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def stem(note: Note) -> str:
    """A kept checkpoint's file name, without its ending."""
    return f"{note.recipe.get('name')}-{note.world_seed}-{note.seed}-{note.key}"


def folder() -> Path:
    """Where checkpoints are kept."""
    return cache_folder() / "zoo"


def write(path: Path, checkpoint: Checkpoint, note: Note) -> None:
    """Keep a checkpoint; the note comes last, so that a file without one is not taken for whole.

    Raises:
        OSError: The folder cannot be written to.
    """
    write_atomically(path, to_bytes(checkpoint))
    write_atomically(path.with_suffix(".json"), note.model_dump_json().encode())
    path.with_suffix(UNFINISHED).unlink(missing_ok=True)


def read(path: Path) -> tuple[Checkpoint, Note] | None:
    """A kept checkpoint, or None if it is absent or damaged."""
    note = read_note(path)
    try:
        data = path.read_bytes()
        if note is None or hashlib.sha256(data).hexdigest() != note.sha256:
            return None
        return from_bytes(data), note
    except (OSError, CheckpointError):
        return None


def read_note(path: Path) -> Note | None:
    """A checkpoint file's note, or None if it is absent, damaged or another file's."""
    try:
        note = Note.model_validate_json(path.with_suffix(".json").read_bytes())
    except (OSError, ValidationError):
        return None
    return note if path.stem == stem(note) else None


def kept() -> list[Kept]:
    """Every checkpoint file, by name."""
    files = ((path, size_of(path)) for path in sorted(folder().glob("*.safetensors")))
    return [Kept(path, size, read_note(path)) for path, size in files if size]


def size_of(path: Path) -> int:
    """Bytes of a file, 0 if it is gone."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def leftovers() -> list[Path]:
    """Files that belong to no kept checkpoint: unfinished training, half-written files, orphaned notes."""
    whole = {path.stem for path in folder().glob("*.safetensors")}
    files = [path for path in sorted(folder().glob("*")) if path.suffix != ".safetensors" and path.is_file()]
    return [path for path in files if path.stem not in whole and not _in_use(path)]


def _in_use(path: Path) -> bool:
    """Whether somebody is writing a file, or training the checkpoint that it belongs to."""
    if path.name.startswith(WRITING):
        return path.exists() and time.time() - path.stat().st_mtime < 60
    lock = path.with_suffix(".lock")
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True


def remove(path: Path) -> bool:
    """Delete a checkpoint file and what belongs to it, unless somebody is training it just now."""
    try:
        with FileLock(path.with_suffix(".lock"), timeout=0):
            for suffix in (".json", ".safetensors", CURVE, UNFINISHED):
                path.with_suffix(suffix).unlink(missing_ok=True)
    except Timeout:
        return False
    path.with_suffix(".lock").unlink(missing_ok=True)
    return True
