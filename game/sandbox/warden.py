"""The referee's hold on jails: starts the fork server, has a child made for each round, and ends both."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from game.catalogue import ROOT
from game.sandbox import kernel, landlock
from game.sandbox.runtime_paths import bubblewrap_command, package_folders, runtime_paths
from game.sandbox.tiers import ENVIRONMENT, PROMISES, Finding, IsolationError, Limits, Tier
from game.sandbox.wire import Channel, WireError

_PATIENCE = 60.0  # seconds until the fork server must have started, or answered
_LAUNCH = """
import sys
sys.path[:0] = sys.argv[2:3]
sys.path += [each for each in sys.argv[3:] if each not in sys.path]
sys.dont_write_bytecode = True
from game.sandbox.zygote import main
main(int(sys.argv[1]))
"""


@dataclass
class Child:
    """One round's process.

    Attributes:
        channel: To it; its deadline is the caller's to set.
        findings: What its self-test found.
        code: Once ended, its exit code, negative for a signal; None if nobody knows.
        cpu_s: Once ended, its CPU seconds.
    """

    channel: Channel
    findings: tuple[Finding, ...] = ()
    code: int | None = None
    cpu_s: float = 0.0


class Sandbox:
    """A fork server at one tier; started when first needed, and again if it was lost.

    Args:
        tier: At which every child is jailed.
        shown: Files of auditors that are to exist in its file system.
        limits: Of each round.
    """

    def __init__(self, tier: Tier, shown: Sequence[str] = (), limits: Limits | None = None) -> None:
        self.tier, self.limits = tier, limits or Limits()
        self._shown = tuple(shown)
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._runtime = runtime_paths()
        self._canary, self._words = _canary(), tempfile.TemporaryFile()  # noqa: SIM115 - closed with us

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the fork server and whatever it started."""
        self._stop()
        self._words.close()
        with suppress(OSError):
            self._canary.unlink()

    @contextmanager
    def child(
        self, seconds: float, readable: Sequence[str] = (), listed: Sequence[str] = ()
    ) -> Iterator[Child]:
        """A jailed process that waits for `start`; killed at the end, with all that it started.

        Args:
            seconds: The round's deadline, from which its CPU limit follows.
            readable: What it may read beside the runtime.
            listed: Folders of which it may know what is in them.

        Raises:
            IsolationError: It cannot be made, or its self-test found a hole; twice in a row.
        """
        try:
            child, pid = self._admitted(seconds, readable, listed)
        except IsolationError:
            self._stop()  # a fork server may have been lost; a broken jail stays broken
            child, pid = self._admitted(seconds, readable, listed)
        try:
            yield child
        finally:
            child.channel.close()
            self._end(child, pid)

    def _admitted(self, seconds: float, readable: Sequence[str], listed: Sequence[str]) -> tuple[Child, int]:
        """A child whose self-test held, and its process id."""
        if self._process is None:
            self._start()
        mine, theirs = socket.socketpair()
        with theirs:
            try:
                order = self._order(seconds, readable, listed)
                pid = int(self._ask({"do": "run", "order": order}, theirs)["pid"])
            except IsolationError:
                mine.close()
                raise
        child = Child(Channel(mine.detach(), deadline=time.monotonic() + _PATIENCE))
        try:
            child.findings = _checked(child.channel, self.tier)
        except BaseException:
            child.channel.close()
            self._end(child, pid)
            raise
        return child, pid

    def _order(self, seconds: float, readable: Sequence[str], listed: Sequence[str]) -> dict[str, Any]:
        return {
            "tier": self.tier,
            "seconds": seconds,
            "limits": asdict(self.limits),
            "readable": [*self._runtime, *readable],
            "listed": list(listed),
            "referee": os.getpid(),
            "canary": str(self._canary),
        }

    def _start(self) -> None:
        """A fork server that has imported everything, in an interpreter that inherits nothing of ours."""
        kept, given = socket.socketpair()
        kept.settimeout(_PATIENCE)
        python = [sys.executable, "-I", "-c", _LAUNCH, str(given.fileno()), str(ROOT), *package_folders()]
        with given, _told_as_isolation():
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
                [*self._outer(), *python],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._words,
                env=ENVIRONMENT,
                cwd="/",
                pass_fds=[given.fileno()],
                start_new_session=True,  # Ctrl-C is the referee's to handle
            )
        self._control = kept
        self._hear()

    def _outer(self) -> list[str]:
        if self.tier != "bubblewrap":
            return []
        try:
            return bubblewrap_command([*self._runtime, *self._shown])
        except FileNotFoundError as error:
            raise IsolationError(str(error)) from None

    def _ask(self, order: dict[str, Any], channel: socket.socket | None = None) -> dict[str, Any]:
        """The fork server's answer to an order.

        Raises:
            IsolationError: It is gone, or silent.
        """
        if self._control is None:
            raise IsolationError("the fork server is not running")
        text = json.dumps(order).encode() + b"\n"
        try:
            socket.send_fds(self._control, [text], [channel.fileno()] if channel else [])
        except OSError as error:
            raise IsolationError(f"the fork server is gone: {error.strerror}") from error
        return self._hear()

    def _hear(self) -> dict[str, Any]:
        text = b""
        try:
            while self._control and not text.endswith(b"\n"):
                if not (piece := self._control.recv(2**16)):
                    raise IsolationError(f"the fork server ended{self._last_words()}")
                text += piece
            answer: dict[str, Any] = json.loads(text)
        except (OSError, ValueError) as error:
            raise IsolationError(f"the fork server does not answer: {error}") from error
        return answer

    def _last_words(self) -> str:
        self._words.seek(0)
        lines = self._words.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1][:200]}" if lines else ""

    def _end(self, child: Child, pid: int) -> None:
        """Have a child killed and note how it ended; a lost fork server is started again when needed."""
        try:
            answer = self._ask({"do": "end", "pid": pid})
            child.code, child.cpu_s = int(answer["code"]), float(answer["cpu_s"])
        except IsolationError:
            self._stop()

    def _stop(self) -> None:
        process, control = self._process, self._control
        self._process = self._control = None
        if control is not None:
            control.close()  # which it takes as the order to end
        if process is None:
            return
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def unavailable(tier: Tier) -> str:
    """Why this machine cannot reach a tier, as far as can be told without trying; empty if it may."""
    if sys.platform != "linux":
        return f"needs Linux; this is {sys.platform}"
    if not kernel.supported():
        return f"no system call numbers for this machine; known: {', '.join(kernel.MACHINES)}"
    if tier == "process":
        return ""
    if landlock.version() < landlock.OLDEST:
        return f"Landlock version {landlock.version()}; wanted {landlock.OLDEST} or newer (Linux 6.2)"
    if tier == "bubblewrap":
        try:
            bubblewrap_command(())
        except FileNotFoundError as error:
            return str(error)
    return ""


@contextmanager
def _told_as_isolation() -> Iterator[None]:
    """Turn a program that cannot be started into `IsolationError`."""
    try:
        yield
    except OSError as error:
        raise IsolationError(f"the fork server cannot be started: {error}") from error


def _canary() -> Path:
    """A new file of the referee's, for self-tests to aim at."""
    descriptor, path = tempfile.mkstemp(prefix="audit-game-")
    with os.fdopen(descriptor, "w") as file:
        file.write("nobody in a jail reads this\n")
    return Path(path)


def _checked(channel: Channel, tier: Tier) -> tuple[Finding, ...]:
    """The findings of a child's self-test.

    Raises:
        IsolationError: The jail could not be built, or does not hold what its tier promises.
    """
    try:
        header = channel.receive().header
    except WireError as error:
        raise IsolationError(f"{tier}: no word from the jail: {error}") from error
    if header.get("type") != "hello":
        raise IsolationError(f"{tier}: {header.get('error', 'the jail says something else than hello')}")
    findings = tuple(Finding(**each) for each in header["findings"])
    holes = [
        f"{each.attempt} ({each.detail})"
        for each in findings
        if each.attempt in PROMISES[tier] and not each.held
    ]
    if holes:
        raise IsolationError(f"{tier}: the self-test could {', '.join(holes)}")
    return findings
