"""Ctrl-C and SIGTERM, held back while a round is played so that it can be finished and kept."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A signal asked for an end; the exit code is the shell's, 130 for Ctrl-C and 143 for SIGTERM."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.exit_code = 128 + signum


class Interrupts:
    """Remembers the first signal while protected; otherwise, and for the second, raises at once."""

    def __init__(self) -> None:
        self._pending: int | None = None
        self._protected = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Handle the signals inside; outside the main thread, where Python allows no handlers, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {signum: signal.signal(signum, self._receive) for signum in SIGNALS}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    @contextmanager
    def protected(self) -> Iterator[None]:
        """Let what is inside finish after a first signal, and only then raise.

        Raises:
            Stopped: A signal came meanwhile.
        """
        self._protected = True
        try:
            yield
        finally:
            self._protected = False
        if self._pending is not None:
            raise Stopped(self._pending)

    def _receive(self, signum: int, _frame: FrameType | None) -> None:
        if not self._protected or self._pending is not None:
            raise Stopped(signum)
        self._pending = signum
