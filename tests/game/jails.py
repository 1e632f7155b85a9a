"""Sandboxes for tests: one of each tier in a run, started when first asked for."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from game.sandbox.check import reach
from game.sandbox.tiers import IsolationError, Limits, Tier
from game.sandbox.warden import Sandbox, unavailable

HOSTILE = Path(__file__).parent / "hostile"
HAND_MADE = Path(__file__).parent / "hand_made.py"
OUTSPOKEN = Path(__file__).parent / "outspoken.py"
ASKING = Path(__file__).parent / "asking.py"
EXAMPLE = Path(__file__).parent.parent.parent / "docs" / "examples" / "norm_outlier.py"
LIMITS = Limits(memory=2**29)

SandboxAt = Callable[[Tier], Sandbox]


@pytest.fixture(scope="module")
def sandbox_at() -> Iterator[SandboxAt]:
    """The sandbox of a tier; the test is skipped, with the reason, where this machine does not reach it."""
    opened: dict[Tier, Sandbox] = {}
    shown = [str(path) for path in (*HOSTILE.glob("*.py"), HAND_MADE, OUTSPOKEN, ASKING, EXAMPLE)]
    with ExitStack() as stack:

        def at(tier: Tier) -> Sandbox:
            if reason := unavailable(tier):
                pytest.skip(f"{tier}: {reason}")
            if tier not in opened:
                try:
                    opened[tier] = stack.enter_context(reach([tier], shown, LIMITS))
                except IsolationError as error:
                    pytest.skip(str(error))
            return opened[tier]

        yield at
