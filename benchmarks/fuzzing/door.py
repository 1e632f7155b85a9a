"""A door, and how it is fuzzed: each input ends in time, is taken or refused, and leaves no trace then."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

SECONDS = 5.0  # that one input may take


class Hang(BaseException):
    """An input took longer than that; no `except Exception` stops it."""


@dataclass(frozen=True)
class Door:
    """One way in.

    Attributes:
        name: For the table.
        inputs: What is thrown at it.
        take: Whether an input is taken. It fails on what must not be: an exception that is not documented,
            something taken that does not come back the same, something refused that left a trace.
        share: Of all inputs.
    """

    name: str
    inputs: st.SearchStrategy[Any]
    take: Callable[[Any], bool]
    share: float


@dataclass(frozen=True)
class Tally:
    """What came of fuzzing a door.

    Attributes:
        inputs, taken: How many, and how many of them were taken.
        slowest: Seconds of the slowest.
        fault: What went wrong, with the input that hypothesis shrank it to; empty if nothing did.
    """

    name: str
    inputs: int
    taken: int
    slowest: float
    fault: str = ""


def fuzzed(door: Door, inputs: int, of_seed: int = 0) -> Tally:
    """The tally of a door after that many inputs; fewer only after a fault, or where no more exist."""
    counted, taken, slowest, before = 0, 0, 0.0, -1

    def one(given_input: Any) -> None:
        nonlocal counted, taken, slowest
        started = time.perf_counter()
        with _time_limit(SECONDS):
            taken += door.take(given_input)
        counted, slowest = counted + 1, max(slowest, time.perf_counter() - started)

    rounds = 0
    while before < counted < inputs:  # hypothesis ends early where it believes to have seen everything
        before, rounds = counted, rounds + 1
        run = settings(
            max_examples=inputs - counted,
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )(given(door.inputs)(one))
        try:
            seed(of_seed + 1000 * rounds)(run)()
        except (Exception, Hang) as error:
            notes = "; ".join(getattr(error, "__notes__", ()))
            return Tally(
                door.name, counted, taken, slowest, f"{type(error).__name__}: {error} {notes}"[:2000]
            )
    return Tally(door.name, counted, taken, slowest)


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def interrupt(_signal: int, _frame: Any) -> None:
        raise Hang(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def mutated(pool: list[bytes]) -> st.SearchStrategy[bytes]:
    """Good bytes with a few places overwritten, cut out, doubled, or spliced from other good bytes."""
    place, piece = st.integers(0, 2**16), st.binary(max_size=6)
    damage = st.tuples(st.sampled_from(("write", "cut", "insert", "double", "splice")), place, place, piece)
    return st.builds(_damaged, st.sampled_from(pool), st.lists(damage, min_size=1, max_size=4), st.just(pool))


def _damaged(data: bytes, damages: list[tuple[str, int, int, bytes]], pool: list[bytes]) -> bytes:
    for kind, one, other, piece in damages:
        start = one % (len(data) + 1)
        end = min(len(data), start + other % 64)
        if kind == "write":
            data = data[:start] + piece + data[start + len(piece) :]
        elif kind == "cut":
            data = data[:start] + data[end:]
        elif kind == "insert":
            data = data[:start] + piece + data[start:]
        elif kind == "double":
            data = data[:end] + data[start:]
        else:
            other_data = pool[other % len(pool)]
            data = data[:start] + other_data[one % (len(other_data) + 1) :]
    return data
