"""The tiers of isolation and what each of them promises."""

from dataclasses import dataclass
from typing import Literal

Tier = Literal["in process", "process", "landlock", "bubblewrap"]
JAILS: tuple[Tier, ...] = ("process", "landlock", "bubblewrap")  # from the weakest to the strongest

# What the self-test tries, and the tiers at which it must not succeed.
_PLAIN = {
    "inherit an environment": "environment variables of the referee",
    "inherit a file": "descriptors beyond the channel and the null device",
    "take memory without end": "the limit on address space",
    "write a large file": "the limit on file size",
}
_LOCKED = {
    "read /etc/passwd": "a file that every user may read",
    "read the referee's file": "a file that the referee made for this",
    "write beside it": "a new file in the same folder",
    "change its times": "metadata, which needs no permission to write",
    "open a socket": "the network",
    "start a process": "fork",
    "run a program": "exec",
    "start a thread": "clone",
    "signal the referee": "kill",
    "read the referee's memory": "/proc and process_vm_readv",
    "trace the referee": "ptrace",
}
_HIDDEN = {"see the referee's file": "whether a path exists, and how long the file is"}
ATTEMPTS: dict[str, str] = _PLAIN | _LOCKED | _HIDDEN
PROMISES: dict[Tier, tuple[str, ...]] = {
    "in process": (),
    "process": tuple(_PLAIN),
    "landlock": (*_PLAIN, *_LOCKED),
    "bubblewrap": (*_PLAIN, *_LOCKED, *_HIDDEN),
}

ENVIRONMENT = {  # all that a jail inherits
    "LANG": "C.UTF-8",
    "LC_CTYPE": "C.UTF-8",
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


class IsolationError(RuntimeError):
    """A jail cannot be built, or does not hold what its tier promises; no fault of an auditor."""


@dataclass(frozen=True)
class Limits:
    """What one round in a jail may use beside the brief's seconds.

    Attributes:
        memory: Bytes of address space above what the runtime itself takes.
        files: Open descriptors.
        processes: Processes and threads; counted for ordinary users only, and none at `landlock` or better.
        calls: Calls of the toolbox, the free ones included.
    """

    memory: int = 2 * 2**30
    files: int = 64
    processes: int = 32
    calls: int = 1_000_000


@dataclass(frozen=True)
class Finding:
    """What one attempt of the self-test came to.

    Attributes:
        attempt: A key of `ATTEMPTS`.
        held: Whether it failed, as it should.
        detail: What the kernel said, in a few words.
    """

    attempt: str
    held: bool
    detail: str
