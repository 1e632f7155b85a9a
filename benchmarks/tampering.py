"""Is every change of a finished run found?

A small run of the tiny suite is played, then copied and spoiled again and again: bytes, files, lines of
transcripts, and any column of any row with the seal written anew, so that the inner layers must find it.
Where everything was made to fit again, the head that was published must tell.

    python -m benchmarks.tampering [--json] [--mutations N] [--seed N]
"""

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.figures import Figure, print_json, show, spread_of
from benchmarks.mutations import CHANGES, copied, mutate
from game.loader import load_auditor
from game.proof.verify import Wanted, verify
from game.runs.tournament import run_tournament
from tests.tiny_suite import tiny_suite

AUDITORS = ("prior", "random_guess", "spectral_spike")
MUTATIONS = 1200


def main() -> None:
    """Play, spoil, verify, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--mutations", type=int, default=MUTATIONS, help=f"how many (default {MUTATIONS})")
    parser.add_argument("--seed", type=int, default=0, help="of the first; each has the next one")
    args = parser.parse_args()
    rows, note = mutated(range(args.seed, args.seed + args.mutations))
    if args.json:
        print_json(rows)
    else:
        show("tampering", rows, note)


def mutated(seeds: range) -> tuple[dict[str, Figure], str]:
    """How many mutations of a small run were found, and the kinds of those that were not."""
    with tempfile.TemporaryDirectory() as folder:
        return caught(played(Path(folder)), seeds)


def played(log_dir: Path) -> Path:
    """The folder of a small finished run."""
    players = [load_auditor(name, {}) for name in AUDITORS]
    return run_tournament(tiny_suite(), players, 0, log_dir).folder


def caught(run: Path, seeds: range) -> tuple[dict[str, Figure], str]:
    """How many mutations there were and were found, and how long it took to say so."""
    whole = verify(run, Wanted())
    assert not whole.faults, whole.faults
    missed: Counter[str] = Counter()
    seconds: list[float] = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            spoiled = copied(run, Path(folder))
            mutation = mutate(spoiled, seed)
            started = time.perf_counter()
            found = verify(spoiled, Wanted(whole.head if mutation.chained else ""))
            seconds.append(1000 * (time.perf_counter() - started))
        if not found.faults:
            missed[f"{mutation.kind} ({seed}: {mutation.what})"] += 1
    total = len(seeds)
    rows = {
        "tamper_caught": _count(total - missed.total()),
        "tamper_total": _count(total),
        "verify_ms": spread_of(seconds, "ms"),
    }
    words = f"{len(CHANGES)} kinds of mutations"
    return rows, f"{words}; missed: {', '.join(missed)}" if missed else words


def _count(number: int) -> Figure:
    return Figure(number, "mutations", number, number)


if __name__ == "__main__":
    main()
