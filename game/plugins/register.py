"""The local register of submitted plug-ins: one JSON file of the user's own, read without importing any."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from game.catalogue import Entry
from game.plugins.digest import FolderError, folder_digest
from models.folders import data_folder

Status = Literal["listed", "checked", "stale", "broken"]

VERSION = 1
FILE, LOCK = "submitted.json", "submitted.lock"
OWN = 0o600  # for its owner alone


class RegisterError(RuntimeError):
    """The register is damaged, or cannot be written; the message names its file."""


@dataclass(frozen=True)
class Submission:
    """A plug-in as it was submitted.

    Attributes:
        name: Of its manifest.
        version: Of its manifest.
        folder: Absolute.
        digest: Of the folder, then; another one is another competitor.
        status: `listed` once the contract held, `checked` once the logged rounds ended well too, `broken`
            if either did not.
        summary: What it says it does; if broken, what is wrong.
        tier: At which it was played.
        run: Folder of its logged rounds; empty without.
        submitted: UTC, ISO 8601.
    """

    name: str
    version: str
    folder: str
    digest: str
    status: Status
    summary: str
    tier: str
    run: str
    submitted: str

    def now(self) -> Status:
        """The status today: `stale` if a file changed since, `broken` if the folder is gone or refused."""
        try:
            return self.status if folder_digest(Path(self.folder)) == self.digest else "stale"
        except FolderError:
            return "broken"

    def entry(self) -> Entry:
        """As `audit-game list` shows it."""
        status = self.now()
        words = {"stale": "its folder changed since it was submitted", "broken": self._wrong()}
        return Entry(self.name, words.get(status, self.summary), status)

    def _wrong(self) -> str:
        return self.summary if self.status == "broken" else f"{self.folder}: no plug-in is there any more"


def submissions() -> tuple[Submission, ...]:
    """The latest submission of every name, in the order of names; older ones stay in the file.

    Raises:
        RegisterError: The register is damaged.
    """
    latest = {each.name: each for each in history()}
    return tuple(latest[name] for name in sorted(latest))


def submission(name: str) -> Submission | None:
    """The latest submission of that name.

    Raises:
        RegisterError: The register is damaged.
    """
    return next((each for each in submissions() if each.name == name), None)


def history() -> tuple[Submission, ...]:
    """Every digest that was ever submitted, the latest last; none where there is no register to be read.

    Raises:
        RegisterError: The register is damaged.
    """
    path = data_folder() / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return ()
    try:
        data = json.loads(text)
        if data["version"] != VERSION:
            raise ValueError(f"version {data['version']}")
        return tuple(Submission(**each) for each in data["submissions"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise RegisterError(f"{path}: is no register of version {VERSION}: {error}") from error


def keep(found: Submission) -> None:
    """Write a submission down, in place of one of the same name and digest.

    Raises:
        RegisterError: The register is damaged, or cannot be written.
    """
    with _alone() as path:
        from models.checkpoints import write_atomically

        others = [each for each in history() if (each.name, each.digest) != (found.name, found.digest)]
        data = {"version": VERSION, "submissions": [asdict(each) for each in (*others, found)]}
        write_atomically(path, (json.dumps(data, indent=1) + "\n").encode())
        path.chmod(OWN)


@contextmanager
def _alone() -> Iterator[Path]:
    """The register's file, while nobody else writes to it.

    Raises:
        RegisterError: It cannot be written.
    """
    from filelock import FileLock

    folder = data_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK, mode=OWN):
            yield folder / FILE
    except OSError as error:
        raise RegisterError(f"{folder / FILE}: cannot be written: {error.strerror}") from error
