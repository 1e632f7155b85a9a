"""Seccomp: the system calls that a jailed auditor may still make; every other one fails with EPERM.

A list of what is allowed, so that a call which a newer kernel adds is refused until somebody thinks about it.
No sockets, no processes or threads, no programs, no namespaces, no tracing, no change of a file's metadata.
"""

import ctypes
import errno
import os
import platform
import struct

from game.sandbox.kernel import MACHINES, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, KernelError, process_control
from game.sandbox.syscall_numbers import NUMBERS
from game.sandbox.tiers import IsolationError

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_OTHER_ABI = 0x40000000  # x86_64 answers to a second numbering above this
_ALLOW, _KILL, _ERROR, _FILTER = 0x7FFF0000, 0x80000000, 0x00050000, 2
_LOAD, _EQUAL, _ATLEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_DUPLICATE, _FLAGS, _DUPLICATE_CLOEXEC = 0, (1, 2, 3, 4), 1030
_TERMINAL_SIZE, _TERMINAL_MODE, _READY, _CLOSE_ON_EXEC, _NONBLOCKING = 0x5413, 0x5401, 0x541B, 0x5451, 0x5421

Instruction = tuple[int, int, int, int]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def lock_calls() -> None:
    """Refuse every call that is not on the list, for good.

    Raises:
        IsolationError: The kernel has no filters, or the machine's call numbers are not known.
    """
    machine = platform.machine()
    if machine not in MACHINES:
        raise IsolationError(f"seccomp: no call numbers for {machine}; known: {', '.join(MACHINES)}")
    packed = b"".join(struct.pack("=HBBI", *each) for each in filter_of(machine, os.getpid()))
    program = _Program(len(packed) // 8, packed)
    try:
        process_control(PR_SET_NO_NEW_PRIVS, 1)
        process_control(PR_SET_SECCOMP, _FILTER, ctypes.byref(program))
    except KernelError as error:
        raise IsolationError(f"seccomp: {error}") from error


def filter_of(machine: str, pid: int) -> list[Instruction]:
    """The filter for a process, as the kernel's little machine reads it: code, jumps, constant."""
    numbers = {name: pair[MACHINES.index(machine)] for name, pair in NUMBERS.items()}
    arguments = _allowed_arguments(pid)
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_ATLEAST, 0, 1, _OTHER_ABI),
        (_RETURN, 0, 0, _KILL),
    ]
    for name, number in numbers.items():
        if number is None or name == "clone3":
            continue
        passes = _checking(*arguments[name]) if name in arguments else [(_RETURN, 0, 0, _ALLOW)]
        program += [(_EQUAL, 0, len(passes), number), *passes]
    absent = numbers["clone3"]  # so that the C library falls back to `clone`, which is refused
    program += [(_EQUAL, 0, 1, absent or 0), (_RETURN, 0, 0, _ERROR | errno.ENOSYS)]
    return [*program, (_RETURN, 0, 0, _ERROR | errno.EPERM)]


def _allowed_arguments(pid: int) -> dict[str, tuple[int, tuple[int, ...]]]:
    """For calls that are harmless with some arguments only: which argument, and what it may be."""
    return {
        "kill": (0, (pid,)),
        "tgkill": (0, (pid,)),
        "prlimit64": (0, (0,)),  # its own limits
        "fcntl": (1, (_DUPLICATE, *_FLAGS, _DUPLICATE_CLOEXEC)),  # not: signals on behalf of a file
        "ioctl": (1, (_TERMINAL_MODE, _TERMINAL_SIZE, _READY, _CLOSE_ON_EXEC, _NONBLOCKING)),
    }


def _checking(argument: int, allowed: tuple[int, ...]) -> list[Instruction]:
    """Allow the call if the low word of an argument is one of those values, and refuse it otherwise."""
    tests = [(_EQUAL, len(allowed) - index, 0, value) for index, value in enumerate(allowed)]
    load = (_LOAD, 0, 0, _FIRST_ARGUMENT + 8 * argument)
    return [load, *tests, (_RETURN, 0, 0, _ERROR | errno.EPERM), (_RETURN, 0, 0, _ALLOW)]
