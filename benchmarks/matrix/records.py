"""What was measured, as lines of JSON, so that a killed run goes on and a finished one can be extended."""

import ast
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.matrix import cells, pairs
from benchmarks.matrix.readings import READINGS
from game import tools
from game.dealing.acceptance import code_of_edits
from models.zoo import code_of

_TOOLS = Path(tools.__path__[0])
_EXAMPLES = _TOOLS / "kit" / "example.py"  # they document a tool, and no cell depends on them
_ROOM = "game.tools."


@dataclass(frozen=True)
class Cell:
    """One tool on one pair.

    Attributes:
        kind, seed, attempt, control: Of the pair.
        tool: Its name.
        code: Which code measured it.
        cpu_s: CPU seconds, on both models together.
        edit, sham: The tool's statistic on either; None where it could not be run.
        ranks, sham_ranks: From 1, of the components that the edit wrote to, on either model; those that the
            tool ranks.
        written: How many components the edit wrote to.
        places: How many components the tool ranks.
        missing: Why it could not be run.
    """

    kind: str
    seed: int
    attempt: int
    control: str
    tool: str
    code: str
    cpu_s: float
    edit: float | None = None
    sham: float | None = None
    ranks: tuple[int, ...] = ()
    sham_ranks: tuple[int, ...] = ()
    written: int = 1
    places: int = 0
    missing: str = ""


@dataclass(frozen=True)
class Refused:
    """A draw that came to no pair.

    Attributes:
        attempt: Its number.
        code: Which code tried it.
        refused: Why.
    """

    attempt: int
    code: str
    refused: str


class Ledger:
    """The lines of one kind on one model.

    Args:
        folder: Where they are kept.
        kind: Of edits.
        seed: Of the model.
    """

    def __init__(self, folder: Path, kind: str, seed: int) -> None:
        self._path = folder / f"{kind}-{seed}.jsonl"
        self._cells: dict[tuple[int, str], Cell] = {}
        self._refused: set[int] = set()
        if self._path.exists():
            whole = self._path.read_bytes()
            kept = whole[: whole.rfind(b"\n") + 1]  # the last line of a killed run may be a part of one
            if kept != whole:
                self._path.write_bytes(kept)
            for line in kept.decode().splitlines():
                self._take(json.loads(line))

    def refused(self, attempt: int) -> bool:
        """Whether the attempt is known to come to no pair."""
        return attempt in self._refused

    def of(self, attempt: int) -> Mapping[str, Cell]:
        """What is known of an attempt, by tool."""
        return {tool: cell for (number, tool), cell in self._cells.items() if number == attempt}

    def cells(self) -> Iterator[Cell]:
        """Every measured cell, in the order of attempts."""
        yield from (self._cells[key] for key in sorted(self._cells))

    def add(self, entry: Cell | Refused) -> None:
        """Remember and write."""
        data = asdict(entry)
        self._take(data)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(data, allow_nan=False) + "\n")

    def _take(self, data: Mapping[str, Any]) -> None:
        """Lines of other code, or of tools that are no more, count as never written."""
        if "refused" in data:
            refused = Refused(**data)
            if refused.code == code_of_pairs():
                self._refused.add(refused.attempt)
            return
        cell = _cell_of(data)
        if cell is not None:
            self._cells[cell.attempt, cell.tool] = cell


def saved_cells(folder: Path) -> list[Cell]:
    """All cells that a folder of ledgers holds, which is only read; a run may be writing there."""
    lines = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines(True)]
    told = [json.loads(line) for line in lines if line.endswith("\n")]
    cells = [_cell_of(data) for data in told if "refused" not in data]
    return [cell for cell in cells if cell is not None]


def _cell_of(data: Mapping[str, Any]) -> Cell | None:
    """The cell; none if other code measured it, or the tool is no more."""
    ranks = {name: tuple(data[name]) for name in ("ranks", "sham_ranks")}
    cell = Cell(**{**data, **ranks})
    return cell if cell.tool in READINGS and cell.code == code_of_cell(cell.tool) else None


@cache
def code_of_pairs() -> str:
    """What decides which pairs are drawn, hashed."""
    return _hashed(code_of_edits(), code_of(Path(pairs.__file__)))


@cache
def code_of_cell(tool: str) -> str:
    """What decides a cell, hashed: the pairs, the tool with all that it imports, and how it is run."""
    files = sorted(_imported(_TOOLS / f"{tool}.py", {_EXAMPLES}) - {_EXAMPLES})
    sources = [_code(file) for file in files]
    return _hashed(code_of_pairs(), repr(READINGS[tool]), code_of(Path(cells.__file__)), *sources)


def _code(file: Path) -> str:
    """What a file of the tools does, without its example."""
    text = code_of(file)
    for node in ast.parse(file.read_bytes()).body:
        if "Example" in ast.dump(node):
            text = text.replace(f"{ast.dump(node)}, ", "")
    return text


def _imported(file: Path, known: set[Path]) -> set[Path]:
    """A file of the tools with those of them that it imports, and so on."""
    known.add(file)
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(_ROOM):
            place = _TOOLS.joinpath(*(node.module or "").removeprefix(_ROOM).split("."))
            for name in [place, *(place / alias.name for alias in node.names)]:
                if (other := name.with_suffix(".py")).is_file() and other not in known:
                    _imported(other, known)
    return known


def _hashed(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
