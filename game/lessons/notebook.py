"""How far a learner is; kept in one small file."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from models.checkpoints import write_atomically
from models.folders import data_folder


@dataclass(frozen=True)
class Mark:
    """How far one lesson is.

    Attributes:
        answered: Steps that were answered.
        tries: Wrong answers so far.
        hints: Hints that were asked for.
    """

    answered: int = 0
    tries: int = 0
    hints: int = 0


class Notebook:
    """Marks by lesson.

    Args:
        path: Of the file; the user's data folder has it unless told.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or data_folder() / "lessons.json"

    def marks(self, names: Iterable[str]) -> dict[str, Mark]:
        """How far each lesson is; a damaged file is one that was never written."""
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            return {name: Mark(**kept.get(name, {})) for name in names}
        except (OSError, ValueError, TypeError, AttributeError):
            return {name: Mark() for name in names}

    def write(self, name: str, mark: Mark) -> None:
        """Keep a mark.

        Raises:
            OSError: The file cannot be written.
        """
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            kept = {}
        if not isinstance(kept, dict):
            kept = {}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, json.dumps({**kept, name: vars(mark)}, indent=1).encode())
