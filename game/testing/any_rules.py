"""Rules that every plug-in keeps to, and what they need."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch

from game.loader import LoadError
from game.testing.contract import Rule
from game.testing.source import LONGEST, SHORTEST, Source


class Subject(Protocol):
    """A plug-in that could be loaded."""

    @property
    def source(self) -> Source: ...
    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Its settings where those are given.

        Raises:
            LoadError: They do not fit.
        """
        ...


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The global generators of this process start from that number, and are put back."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


def _text(subject: Subject) -> Iterator[str]:
    source = subject.source
    place = f"{source.file}:{source.line}"
    if not source.frozen:
        yield f"{place}: wanted a frozen dataclass: @dataclass(frozen=True)"
    if not SHORTEST < len(source.summary) <= LONGEST or not source.summary.endswith("."):
        yield (
            f"{place}: the first line of its docstring has {len(source.summary)} characters; wanted a "
            f"sentence of {SHORTEST + 1} to {LONGEST} that says what it does, with a full stop"
        )


def _settings(subject: Subject) -> Iterator[str]:
    """Numbers and switches, given as the text that a command line has, must be what they were."""
    own = subject.settings({})
    given = {name: str(value) for name, value in own.items() if isinstance(value, bool | int | float)}
    try:
        again = subject.settings(given)
    except LoadError as error:
        yield str(error)
        return
    yield from (
        f"setting {name}: its default is {own[name]}, and given as text it is {again[name]}"
        for name in own
        if own[name] != again[name]
    )


TEXT: Rule[Subject] = Rule("its class is a frozen dataclass that says what it does in one sentence", _text)
SETTINGS: Rule[Subject] = Rule("every setting can be given as text", _settings)
