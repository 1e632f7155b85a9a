"""Does any input break a door through which somebody else's bytes come in?

Frames, calls of the toolbox, reports, judgements, and YAML: bytes at random, good ones damaged, and made-up
ones that are nearly good. Each must end in time, be taken or refused with the documented error, come back the
same if it was taken, and have charged and changed nothing if it was not.

    python -m benchmarks.fuzz [--inputs N] [--seed N] [--json]
"""

import argparse
import json
import sys
from dataclasses import asdict
from math import ceil

from rich.console import Console
from rich.table import Table

from benchmarks.fuzzing import calls, documents, wire, words
from benchmarks.fuzzing.door import Tally, fuzzed
from models.training import one_thread

DOORS = (*wire.DOORS, *calls.DOORS, *words.DOORS, *documents.DOORS)
INPUTS = 100_000


def main() -> None:
    """Throw, print; exit 1 if a door broke."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=INPUTS, help=f"in all, at least (default {INPUTS})")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs (default 0)")
    parser.add_argument("--json", action="store_true", help="one JSON object a door instead of a table")
    args = parser.parse_args()
    tallies = thrown(args.inputs, args.seed)
    if args.json:
        for tally in tallies:
            print(json.dumps(asdict(tally)))
    else:
        _show(tallies)
    sys.exit(any(tally.fault for tally in tallies))


def thrown(inputs: int, seed: int = 0) -> list[Tally]:
    """A tally of each door, after that many inputs in all."""
    with one_thread():
        return [fuzzed(door, ceil(door.share * inputs), seed) for door in DOORS]


def _show(tallies: list[Tally]) -> None:
    table = Table("door", "inputs", "taken", "slowest, ms", "fault")
    for each in tallies:
        slowest = f"{1000 * each.slowest:.0f}"
        table.add_row(each.name, str(each.inputs), str(each.taken), slowest, each.fault or "none")
    table.add_section()
    table.add_row("all", str(sum(each.inputs for each in tallies)), str(sum(each.taken for each in tallies)))
    Console(width=max(Console().width, 110)).print(table, markup=False)


if __name__ == "__main__":
    main()
