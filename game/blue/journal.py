"""The journal of a case that is played by hand: ledger and transcript in one chained file.

It is a transcript (`game.toolbox.transcript`) that is written as it grows, with lines of its own between the
calls: what was charged, which tools were run, notes, beliefs, and the report when it was handed in.

The order on disk is: a call is checked, its charge is written and synchronised, the model is asked, the call
is written, the answer is shown. So whatever was shown is charged, and nothing twice: a call that was charged
and whose process was killed before the answer is answered again for nothing.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from game.runs.database import StoreError
from game.toolbox.transcript import (
    Kind,
    Line,
    Transcript,
    TranscriptError,
    canonical,
    line_of,
    read_lines,
)

ENDS: tuple[Kind, ...] = ("report", "close")  # which the store adds when the round is over


class Journal(Transcript):
    """A transcript on disk, and the ledger (`game.toolbox.meter.Ledger`) of its charges.

    Args:
        path: The file; its folder must exist.
        first: What its first line refers to: the digest of the case's commitment.

    Raises:
        StoreError: What is there does not hang together.
    """

    def __init__(self, path: Path, first: str) -> None:
        super().__init__()
        self._path, self._prev, self._size = path, first, 0
        self.lines: list[Line] = []
        path.parent.mkdir(exist_ok=True)
        for line in read_journal(path, first):
            self._remember(line)
        if path.exists():  # what a killed process had not finished
            os.truncate(path, self._size)

    def add(self, kind: Kind, body: Mapping[str, Any]) -> None:
        """Keep what happened, in memory and at the end of the file."""
        data = self._remember(Line(kind, dict(body)))
        with self._path.open("ab") as file:
            file.write(data)
            file.flush()
            if kind != "call":  # what was paid, said and noted outlives a power failure too
                os.fsync(file.fileno())

    def paid(self) -> Mapping[bytes, float]:
        """Credits charged, by call."""
        found: dict[bytes, float] = {}
        for kind, body in self.lines:
            if kind == "charge":
                found[bytes.fromhex(body["call"])] = float(body["credits"])
            elif kind == "refund":
                found.pop(bytes.fromhex(body["call"]), None)
        return found

    def charge(self, key: bytes, price: float) -> None:
        """Keep a charge; it is on disk when this returns."""
        self.add("charge", {"call": key.hex(), "credits": price})

    def take_back(self, key: bytes) -> None:
        """Undo the charge of a call that could not be answered."""
        self.add("refund", {"call": key.hex()})

    def bodies(self, kind: Kind) -> Iterator[dict[str, Any]]:
        """What was kept of one kind, in order."""
        return (line.body for line in self.lines if line.kind == kind)

    def closed(self) -> Transcript:
        """The same as a transcript in memory, to which the store adds how it ended."""
        found = Transcript()
        for line in self.lines:
            found.add(cast(Kind, line.kind), line.body)
        return found

    @property
    def head(self) -> str:
        """The hash of the last line, which covers all that happened so far."""
        return self._prev

    def _remember(self, line: Line) -> bytes:
        """The line as it is written."""
        super().add(cast(Kind, line.kind), line.body)
        data = line_of(len(self.lines), line.kind, canonical(line.body), self._prev)
        self._prev = hashlib.sha256(data).hexdigest()
        self.lines.append(line)
        self._size += len(data)
        return data


def read_journal(path: Path, first: str) -> tuple[Line, ...]:
    """The lines of a journal as far as a killed process had written them; none of a file that is not there.

    Raises:
        StoreError: They do not hang together.
    """
    data = path.read_bytes() if path.exists() else b""
    try:
        lines, _ = read_lines(data[: data.rfind(b"\n") + 1], first)
    except TranscriptError as error:
        raise StoreError(f"{path}: {error}; the file was changed or damaged") from error
    return tuple(line for line in lines if line.kind not in ENDS)
