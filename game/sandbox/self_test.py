"""The self-test: trusted code inside a finished jail tries what an auditor must not be able to do.

It runs before the auditor's code is loaded, so its findings can be believed.
"""

import _thread
import ctypes
import errno
import mmap
import os
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from game.sandbox.kernel import KernelError, call
from game.sandbox.tiers import ATTEMPTS, ENVIRONMENT, Finding, Limits

_PEEK = 2  # ptrace: read a word of a process that is traced already; the referee is not
_NOWHERE = "/nonexistent/program"


@dataclass(frozen=True)
class Targets:
    """What the self-test aims at.

    Attributes:
        referee: Process id of the referee.
        canary: A file of the referee's that nobody else needs.
        limits: What the jail should hold.
    """

    referee: int
    canary: str
    limits: Limits


class _Succeeded(Exception):
    """An attempt came through; the message says how."""


def findings(targets: Targets) -> tuple[Finding, ...]:
    """What every attempt came to, in the order of `ATTEMPTS`."""
    return tuple(_tried(attempt, targets) for attempt in ATTEMPTS)


def _tried(attempt: str, targets: Targets) -> Finding:
    try:
        _DEEDS[attempt](targets)
    except _Succeeded as success:
        return Finding(attempt, False, str(success))
    except (OSError, MemoryError, RuntimeError, ValueError) as error:
        code = getattr(error, "errno", None) or 0
        return Finding(attempt, True, errno.errorcode.get(code, str(error)[:80]))
    return Finding(attempt, False, "it worked")


def _inherit_environment(_targets: Targets) -> None:
    strangers = sorted(set(os.environ) - set(ENVIRONMENT))
    if not strangers:
        raise ValueError("clean")
    raise _Succeeded(f"{len(strangers)} variables, {strangers[0]} first")


def _inherit_file(_targets: Targets) -> None:
    for descriptor in range(4, 1024):
        try:
            os.fstat(descriptor)
        except OSError:
            continue
        raise _Succeeded(f"descriptor {descriptor} is open")
    raise ValueError("none")


def _take_memory(targets: Targets) -> None:
    mmap.mmap(-1, targets.limits.memory + 2**20).close()


def _write_large_file(_targets: Targets) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if (soft, hard) == (0, 0):
        raise ValueError("limit 0")
    raise _Succeeded(f"limit {soft}")


def _read_passwd(_targets: Targets) -> None:
    Path("/etc/passwd").read_bytes()


def _read_canary(targets: Targets) -> None:
    Path(targets.canary).read_bytes()


def _write_beside(targets: Targets) -> None:
    path = Path(f"{targets.canary}.{os.getpid()}")
    path.touch(exist_ok=False)
    path.unlink()


def _change_times(targets: Targets) -> None:
    os.utime(targets.canary)


def _open_socket(_targets: Targets) -> None:
    import socket

    socket.socket().close()


def _start_process(_targets: Targets) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _run_program(_targets: Targets) -> None:
    try:
        os.execv(_NOWHERE, [_NOWHERE])  # noqa: S606 - there is no such program
    except FileNotFoundError:
        raise _Succeeded("it was looked for") from None


def _start_thread(_targets: Targets) -> None:
    _thread.start_new_thread(lambda: None, ())


def _signal_referee(targets: Targets) -> None:
    os.kill(targets.referee, 0)


def _read_memory(targets: Targets) -> None:
    try:
        os.close(os.open(f"/proc/{targets.referee}/mem", os.O_RDONLY))
    except OSError:
        pass
    else:
        raise _Succeeded("/proc let it")
    word = (ctypes.c_size_t * 2)(0, 8)
    _refused("process_vm_readv", targets.referee, ctypes.byref(word), 1, ctypes.byref(word), 1, 0)


def _trace_referee(targets: Targets) -> None:
    _refused("ptrace", _PEEK, targets.referee, 0, 0)


def _see_canary(targets: Targets) -> None:
    size = Path(targets.canary).stat().st_size
    raise _Succeeded(f"{size} bytes")


def _refused(name: str, *arguments: object) -> None:
    """Make a call that fails in any case, and tell permission from other reasons."""
    try:
        call(name, *arguments)
    except KernelError as error:
        if error.errno == errno.EPERM:
            raise
        raise _Succeeded(f"allowed; {errno.errorcode.get(error.errno or 0, 'failed')} here") from None


_DEEDS: dict[str, Callable[[Targets], None]] = {
    "inherit an environment": _inherit_environment,
    "inherit a file": _inherit_file,
    "take memory without end": _take_memory,
    "write a large file": _write_large_file,
    "read /etc/passwd": _read_passwd,
    "read the referee's file": _read_canary,
    "write beside it": _write_beside,
    "change its times": _change_times,
    "open a socket": _open_socket,
    "start a process": _start_process,
    "run a program": _run_program,
    "start a thread": _start_thread,
    "signal the referee": _signal_referee,
    "read the referee's memory": _read_memory,
    "trace the referee": _trace_referee,
    "see the referee's file": _see_canary,
}
