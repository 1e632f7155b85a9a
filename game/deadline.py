"""A deadline that interrupts Python code wherever it is, so that the place can be told."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_AGAIN = 0.5  # seconds until the next interruption, for those who swallow one


class OutOfTimeError(BaseException):
    """Raised inside an auditor at its deadline; no `except Exception` stops it."""


@contextmanager
def interrupted_after(seconds: float) -> Iterator[None]:
    """Interrupt the block after that long, where the platform and the thread allow it.

    Raises:
        OutOfTimeError: Inside the block.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def interrupt(_signal: int, _frame: Any) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
