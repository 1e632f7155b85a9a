"""What a jail may use: descriptors, seconds of CPU, memory, files and processes."""

import os
import resource
from math import ceil
from pathlib import Path

from game.sandbox.tiers import Limits


def keep_only(descriptor: int) -> int:
    """Close every descriptor but one, which becomes 3; 0, 1 and 2 are the null device from now on."""
    os.dup2(descriptor, 3)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.closerange(4, max(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 256))
    return 3


def limit(limits: Limits, seconds: float) -> None:
    """Take those limits, soft and hard alike.

    Args:
        limits: Of the round.
        seconds: The brief's deadline; CPU time may exceed it by two, for the referee holds the clock.
    """
    wanted = {
        resource.RLIMIT_CPU: ceil(seconds) + 2,
        resource.RLIMIT_AS: address_space() + limits.memory,
        resource.RLIMIT_NOFILE: limits.files,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: _own_tasks() + limits.processes,
    }
    for kind, most in wanted.items():
        hard = resource.getrlimit(kind)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (allowed, allowed))


def address_space() -> int:
    """Bytes of address space that this process takes."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()


def _own_tasks() -> int:
    """Threads of this user, which the limit on processes counts."""
    return sum(_tasks(folder) for folder in Path("/proc").iterdir() if folder.name.isdecimal())


def _tasks(process: Path) -> int:
    try:
        return len(list((process / "task").iterdir())) if process.stat().st_uid == os.getuid() else 0
    except OSError:
        return 0  # ended meanwhile, or hidden
