"""Every door stands a few inputs of each sort; `python -m benchmarks.fuzz` throws a hundred thousand."""

import time
from contextlib import suppress

import pytest
from hypothesis import strategies as st

from benchmarks.fuzz import DOORS
from benchmarks.fuzzing import door as doors
from benchmarks.fuzzing.door import Door, fuzzed


@pytest.mark.parametrize("door", DOORS, ids=[door.name for door in DOORS])
def test_a_door_stands(door: Door) -> None:
    tally = fuzzed(door, 40 if door.share < 0.02 else 120, of_seed=1)
    assert tally.fault == ""
    assert tally.inputs >= 40
    assert tally.taken < tally.inputs, "some inputs are refused"


def test_the_doors_shares_make_a_whole() -> None:
    assert sum(door.share for door in DOORS) >= 1


def test_a_crash_a_hang_and_a_false_claim_are_told_with_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(number: int) -> bool:
        return 1 // (number // 7) > 2

    tally = fuzzed(Door("crash", st.integers(0, 10**6), crash, 1.0), 50)
    assert tally.fault.startswith("ZeroDivisionError")
    assert "given_input=0" in tally.fault
    monkeypatch.setattr(doors, "SECONDS", 0.05)

    def hang(_number: int) -> bool:
        while True:
            with suppress(Exception):  # as a careless door would
                time.sleep(1)

    assert fuzzed(Door("hang", st.just(0), hang, 1.0), 1).fault.startswith("Hang: more than 0.05 s")


def test_as_many_inputs_are_thrown_as_were_asked_for() -> None:
    tally = fuzzed(Door("all", st.binary(max_size=30), lambda data: len(data) > 3, 1.0), 250)
    assert tally.inputs >= 250
    assert 0 < tally.taken < tally.inputs
