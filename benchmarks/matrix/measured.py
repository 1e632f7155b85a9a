"""All pairs of one kind on one model, with every tool on each: what one process does."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.matrix.cells import Desk, Read
from benchmarks.matrix.pairs import Pair, Planter
from benchmarks.matrix.records import Cell, Ledger, Refused, code_of_cell, code_of_pairs
from edits.base import Edited
from models.training import one_thread

PATIENCE = 15  # draws for each pair that is wanted; the rarest kind passes its gates one time in twelve


def measure(kind: str, recipe: str, seed: int, wanted: int, tools: Sequence[str], folder: Path) -> list[Cell]:
    """The cells of so many pairs, measured as far as the folder's lines do not have them.

    Args:
        kind: Of edits.
        recipe: Name of the model's.
        seed: Its world and training seed.
        wanted: Pairs; fewer where too few draws pass their gates.
        tools: Their names.
        folder: Where lines are kept.
    """
    ledger, found = Ledger(folder, kind, seed), 0
    with one_thread(), TemporaryDirectory() as scratch:
        bench: _Bench | None = None
        for attempt in range(PATIENCE * wanted):
            if found == wanted:
                break
            if ledger.refused(attempt):
                continue
            known = ledger.of(attempt)
            todo = [tool for tool in tools if tool not in known]
            if todo:
                bench = bench or _Bench(Planter(kind, recipe, seed), Path(scratch))
                pair = bench.planter.pair(attempt)
                if isinstance(pair, str):
                    ledger.add(Refused(attempt, code_of_pairs(), pair))
                    continue
                for cell in bench.cells(pair, todo):
                    ledger.add(cell)
            found += 1
    return [cell for cell in ledger.cells() if cell.tool in tools]


class _Bench:
    """One model's edits, and the desks at which they are looked at.

    Args:
        planter: Makes the pairs.
        scratch: For files that are thrown away.
    """

    def __init__(self, planter: Planter, scratch: Path) -> None:
        self.planter, self._scratch = planter, scratch
        self._untouched: Desk | None = None  # the same model every time, so it is looked at once

    def cells(self, pair: Pair, tools: Sequence[str]) -> Iterator[Cell]:
        """Every tool on both models."""
        edit, sham = self._desk(pair.edit, pair.attempt), self._control(pair)
        for tool in tools:
            started = time.process_time()
            found, idle = edit.read(tool), sham.read(tool)
            seconds = round(time.process_time() - started, 3)
            yield _cell(pair, tool, seconds, found, idle)

    def _desk(self, made: Edited, name: object) -> Desk:
        folder = self._scratch / f"{name}-{made.record.kind}"
        folder.mkdir()
        return Desk(self.planter.subject(made), folder)

    def _control(self, pair: Pair) -> Desk:
        if pair.control != "untouched":
            return self._desk(pair.sham, pair.attempt)
        self._untouched = self._untouched or self._desk(pair.sham, "once")
        return self._untouched


def _cell(pair: Pair, tool: str, seconds: float, found: Read | str, idle: Read | str) -> Cell:
    about = (pair.kind, pair.seed, pair.attempt, pair.control, tool, code_of_cell(tool), seconds)
    if isinstance(found, str) or isinstance(idle, str):
        return Cell(*about, missing=found if isinstance(found, str) else str(idle))
    return Cell(
        *about,
        edit=found.value,
        sham=idle.value,
        ranks=_ranks(found, pair.written),
        sham_ranks=_ranks(idle, pair.written),
        written=len(pair.written),
        places=len(found.suspects),
    )


def _ranks(read: Read, components: Sequence[str]) -> tuple[int, ...]:
    return tuple(rank for rank in map(read.rank, components) if rank is not None)
