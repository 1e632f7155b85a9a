"""System calls that Python has no function for, through ctypes; Linux only."""

import ctypes
import os
import platform
import sys
from functools import cache
from typing import Any

PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_SECCOMP = 1, 24, 22
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38
_NUMBERS = {  # call: (x86_64, aarch64)
    "process_vm_readv": (310, 270),
    "ptrace": (101, 117),
    "capset": (126, 91),
    "landlock_create_ruleset": (444, 444),
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
}
MACHINES = ("x86_64", "aarch64")


class KernelError(OSError):
    """The kernel refused a call."""


@cache
def library() -> Any:
    """The C library of this process."""
    return ctypes.CDLL(None, use_errno=True)


def supported() -> bool:
    """Whether this is Linux on a machine whose call numbers are known."""
    return sys.platform == "linux" and platform.machine() in MACHINES


def call(name: str, *arguments: Any) -> int:
    """The result of a system call by name.

    Raises:
        KernelError: It failed; `errno` says why.
    """
    number = _NUMBERS[name][MACHINES.index(platform.machine())]
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return _checked(name, library().syscall(ctypes.c_long(number), *words))


def process_control(option: int, *arguments: Any) -> int:
    """The result of `prctl`.

    Raises:
        KernelError: It failed.
    """
    words = [ctypes.c_ulong(each) if isinstance(each, int) else each for each in arguments]
    padding = [ctypes.c_ulong(0)] * (4 - len(words))
    return _checked("prctl", library().prctl(option, *words, *padding))


def drop_capabilities() -> None:
    """Give up every special right of root, for good; an ordinary user has none to give up."""
    for number in range(64):
        try:
            process_control(PR_CAPBSET_DROP, number)
        except KernelError:
            break  # beyond the last one, or not ours to drop
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
    call("capset", ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)()))


def _checked(name: str, result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise KernelError(code, f"{name}: {os.strerror(code)}")
    return result
