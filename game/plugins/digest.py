"""The digest of a plug-in's folder: another digest is another competitor."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

MOST_BYTES = 64 * 2**20
MOST_FILES = 1000
LEFT_OUT = ("__pycache__",)  # made by running it; hidden files and folders are left out too
_FORM = b"audit-game/plugin/v1\0"


class FolderError(ValueError):
    """A folder cannot be a plug-in's; the message names what is in the way."""


def folder_digest(folder: Path) -> str:
    """SHA-256 over the sorted (relative path, size, SHA-256) of every file in the folder.

    Hidden files and folders and `__pycache__` are left out: they are what tools leave behind.

    Raises:
        FolderError: It holds a link or something that is no file, more than 64 MiB or 1000 files, or cannot
            be read.
    """
    try:
        entries = [(path, size, _hash(folder / path)) for path, size in _covered(folder)]
    except OSError as error:
        raise FolderError(f"{error.filename or folder}: cannot be read: {error.strerror}") from error
    return hashlib.sha256(_FORM + json.dumps(entries, separators=(",", ":")).encode()).hexdigest()


def folder_files(folder: Path) -> tuple[Path, ...]:
    """The files that the digest covers; what a jailed plug-in reads of its folder is these alone.

    Raises:
        FolderError: As `folder_digest`.
    """
    try:
        return tuple(folder / path for path, _ in _covered(folder))
    except OSError as error:
        raise FolderError(f"{error.filename or folder}: cannot be read: {error.strerror}") from error


def _covered(folder: Path) -> list[tuple[str, int]]:
    return sorted(_files(folder, folder))


def _files(folder: Path, top: Path) -> Iterator[tuple[str, int]]:
    """Relative path and size of each file below the folder.

    Raises:
        FolderError: As `folder_digest`.
    """
    number, total = 0, 0
    for path, size in _walked(folder, top):
        number, total = number + 1, total + size
        if total > MOST_BYTES:
            raise FolderError(f"{top}: more than {MOST_BYTES // 2**20} MiB of files; a plug-in holds less")
        if number > MOST_FILES:
            raise FolderError(f"{top}: more than {MOST_FILES} files; a plug-in holds fewer")
        yield path, size


def _walked(folder: Path, top: Path) -> Iterator[tuple[str, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name in LEFT_OUT:
                continue
            if entry.is_symlink():
                raise FolderError(f"{entry.path}: is a link; a plug-in's files are in its own folder")
            if entry.is_dir():
                yield from _walked(Path(entry.path), top)
            elif entry.is_file():
                yield Path(entry.path).relative_to(top).as_posix(), entry.stat().st_size
            else:
                raise FolderError(f"{entry.path}: is no file; a plug-in holds files and folders")


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
