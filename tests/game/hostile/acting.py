"""Auditors that change what is not theirs: files, processes, the kernel's idea of who they are."""

import _thread
import ctypes
import os
import resource
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from game.api import Brief, Report, Toolbox

Deed = Callable[[], object]
FOLDERS = ("/tmp", "/dev/shm", "/var/tmp", "/run", ".", "/")  # noqa: S108 - where one may usually write


def tried(*deeds: Deed) -> Report:
    """What came of doing all that; a deed escapes by coming through."""
    held = []
    for number, deed in enumerate(deeds):
        try:
            deed()
        except (OSError, RuntimeError, ValueError) as error:
            held.append(type(error).__name__)
            continue
        return Report(1.0, notes=f"ESCAPED with deed {number}")
    return Report(0.5, notes=f"held: {', '.join(held)}")


def system_call(number: int, *arguments: object) -> None:
    """Make a call, and raise only if the kernel refuses it for want of rights."""
    library = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    if library.syscall(ctypes.c_long(number), *words) < 0 and ctypes.get_errno() in (1, 38):  # EPERM, ENOSYS
        raise PermissionError(number)


@dataclass(frozen=True)
class Overwriter:
    """Overwrites, cuts, renames and removes the secret."""

    target: str = ""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        return tried(
            lambda: Path(self.target).write_text("mine"),
            lambda: os.truncate(self.target, 0),
            lambda: os.close(os.open(self.target, os.O_RDONLY | os.O_TRUNC)),
            lambda: os.rename(self.target, f"{self.target}.old"),
            lambda: os.unlink(self.target),
        )


@dataclass(frozen=True)
class Relabeller:
    """Changes a file's times, rights and owner, to be read by whoever can only look."""

    target: str = ""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        return tried(
            lambda: os.utime(self.target, (1, 1)),
            lambda: os.chmod(self.target, 0o600),
            lambda: os.chown(self.target, 1, 1),
            lambda: os.setxattr(self.target, "user.answer", b"1"),
        )


@dataclass(frozen=True)
class Linker:
    """Makes links to the secret, and pipes and folders, wherever it can."""

    target: str = ""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        places = [f"{folder}/audit-game-link-{os.getpid()}" for folder in FOLDERS]
        return tried(
            *(lambda place=place: os.symlink(self.target, place) for place in places),
            *(lambda place=place: os.link(self.target, place) for place in places),
            *(lambda place=place: os.mkfifo(place) for place in places),
            *(lambda place=place: os.mkdir(place) for place in places),
        )


@dataclass(frozen=True)
class Saboteur:
    """Opens the framework's own source to write into it."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        import torch

        import game.scoring.scores

        files = [game.scoring.scores.__file__, torch.__file__]
        return tried(
            *(lambda file=file: os.close(os.open(file, os.O_WRONLY | os.O_APPEND)) for file in files)
        )


@dataclass(frozen=True)
class DiskFiller:
    """Fills the disk, wherever it can."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        def fill(folder: str) -> None:
            path = Path(folder) / f"audit-game-fill-{os.getpid()}"
            try:
                path.write_bytes(b"x" * 2**20)
            finally:
                path.unlink(missing_ok=True)

        return tried(*(lambda folder=folder: fill(folder) for folder in FOLDERS))


@dataclass(frozen=True)
class ForkBomb:
    """Makes copies of itself for as long as it can."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        def fork() -> None:
            if os.fork() == 0:
                os._exit(0)

        return tried(fork, fork, lambda: system_call(58), lambda: system_call(435, None, 0))  # vfork, clone3


@dataclass(frozen=True)
class ThreadBomb:
    """Starts threads for as long as it can."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        return tried(lambda: _thread.start_new_thread(lambda: None, ()))


@dataclass(frozen=True)
class ProgramRunner:
    """Runs a program."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        return tried(
            lambda: subprocess.run(["/bin/true"], check=False),
            lambda: os.execv("/bin/true", ["true"]),  # noqa: S606
            lambda: os.posix_spawn("/bin/true", ["true"], {}),
            lambda: system_call(322, -1, b"/bin/true", None, None, 0),  # execveat
        )


@dataclass(frozen=True)
class Killer:
    """Sends signals to the referee, to the fork server, and to everyone."""

    referee: int = 0

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        return tried(
            lambda: os.kill(self.referee, signal.SIGKILL),
            lambda: os.kill(os.getppid(), signal.SIGKILL),
            lambda: os.kill(-1, signal.SIGKILL),
            lambda: os.kill(0, signal.SIGKILL),
            lambda: system_call(129, self.referee, signal.SIGKILL, None),  # rt_sigqueueinfo
            lambda: system_call(200, self.referee, int(signal.SIGKILL)),  # tkill
        )


@dataclass(frozen=True)
class Namespaces:
    """Makes namespaces, mounts, and roots of its own."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        return tried(
            lambda: system_call(272, 0x10000000),  # unshare: a user namespace
            lambda: system_call(165, b"none", b"/tmp", b"tmpfs", 0, None),
            lambda: os.chroot("/"),
            lambda: system_call(308, 3, 0),  # setns
            lambda: system_call(430, b"tmpfs", 0),  # fsopen
            lambda: system_call(155, b"/", b"/"),  # pivot_root
        )


@dataclass(frozen=True)
class KernelProber:
    """Tries parts of the kernel that no auditor needs."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        numbers = {
            "io_uring_setup": 425,
            "bpf": 321,
            "userfaultfd": 323,
            "perf_event_open": 298,
            "kexec": 246,
        }
        return tried(
            *(lambda number=number: system_call(number, 1, None, 0, 0, 0) for number in numbers.values())
        )


@dataclass(frozen=True)
class Usurper:
    """Takes back rights and raises limits that were taken from it."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        kinds = (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE)
        endless = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        return tried(
            *(lambda kind=kind: resource.setrlimit(kind, endless) for kind in kinds),
            lambda: os.sethostname("mine") if hasattr(os, "sethostname") else os.chroot("/nonexistent"),
            lambda: os.setgroups([4711]),
        )


@dataclass(frozen=True)
class Meddler:
    """Changes the referee's limits and its place on the processors."""

    referee: int = 0

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        return tried(
            lambda: resource.prlimit(self.referee, resource.RLIMIT_CPU, (1, 1)),
            lambda: os.sched_setaffinity(self.referee, {0}),
            lambda: os.setpriority(os.PRIO_PROCESS, self.referee, 19),
        )
