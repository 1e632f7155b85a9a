"""Auditors that take time, memory, descriptors and output without end, and those that end badly."""

import ctypes
import os
import signal
import sys
import time
from dataclasses import dataclass

from game.api import Brief, Report, Toolbox


@dataclass(frozen=True)
class Hog:
    """Takes memory until there is no more."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        held = []
        while True:
            held.append(bytearray(2**26))


@dataclass(frozen=True)
class HandleHoarder:
    """Opens files until it may not."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        held: list[int] = []
        try:
            while len(held) < 100_000:
                held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            return Report(0.5, notes=f"held: {len(held) < 100}")
        return Report(1.0, notes="ESCAPED")


@dataclass(frozen=True)
class Chatterbox:
    """Prints without measure, on every way out that it has."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        for _ in range(1000):
            print("flood" * 2000)
            print("flood" * 2000, file=sys.stderr)
            os.write(1, b"flood" * 2000)
            os.write(2, b"flood" * 2000)
        return Report(0.5, notes="held: nobody listens")


@dataclass(frozen=True)
class Sleeper:
    """Never comes back."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        while True:
            time.sleep(1)


@dataclass(frozen=True)
class Spinner:
    """Never comes back, and swallows whatever is raised."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        while True:
            try:
                while True:
                    pass
            except BaseException:  # noqa: S112
                continue


@dataclass(frozen=True)
class Deaf:
    """Ignores every signal that can be ignored, and never comes back."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        for each in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(each, signal.SIG_IGN)
        while True:
            pass


@dataclass(frozen=True)
class Stopped:
    """Stops itself, so that nothing but a kill moves it."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        os.kill(os.getpid(), signal.SIGSTOP)
        return Report(0.5)


@dataclass(frozen=True)
class Quitter:
    """Leaves without a word, as if all were well."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        os._exit(0)


@dataclass(frozen=True)
class Crasher:
    """Reads where nothing is."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        ctypes.string_at(0)
        return Report(0.5)


@dataclass(frozen=True)
class Suicide:
    """Kills itself."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        os.kill(os.getpid(), signal.SIGKILL)
        return Report(0.5)


@dataclass(frozen=True)
class DeepDiver:
    """Recurses until the stack ends."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        def dive(depth: int) -> int:
            return dive(depth + 1) + 1

        return Report(0.5, notes=str(dive(0)))
