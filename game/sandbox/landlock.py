"""Landlock: from now on this process reads below a few folders and writes nothing; Linux 6.2 or newer."""

import ctypes
import os
from collections.abc import Iterable

from game.sandbox.kernel import PR_SET_NO_NEW_PRIVS, KernelError, call, process_control
from game.sandbox.tiers import IsolationError

OLDEST = 3  # the first version that also guards truncation
_READ_FILE, _READ_DIR, _WRITE_FILE = 1 << 2, 1 << 3, 1 << 1
_RIGHTS = {3: 15, 4: 15, 5: 16}  # version: number of rights over files; newer ones as the last
_RULE_PATH, _VERSION_FLAG = 1, 1


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _PathRule(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("rights", ctypes.c_uint64), ("descriptor", ctypes.c_int32))


def version() -> int:
    """The kernel's version of Landlock; 0 if it has none."""
    try:
        return call("landlock_create_ruleset", None, 0, _VERSION_FLAG)
    except KernelError:
        return 0


def lock_files(
    readable: Iterable[str], listed: Iterable[str] = (), devices: Iterable[str] = ("/dev/null",)
) -> None:
    """Let this process read below those paths, write to those devices, and nothing else, for good.

    Of folders that are listed it learns the names of what is in them, as importing from them takes, no more.

    Paths that do not exist are left out. Network and signals beyond the jail are refused too, where the
    kernel's version knows them.

    Raises:
        IsolationError: The kernel has no Landlock, or too old a one.
    """
    known = version()
    if known < OLDEST:
        raise IsolationError(f"Landlock version {known}; wanted {OLDEST} or newer (Linux 6.2)")
    ruleset = _ruleset(known)
    for path in readable:
        _allow(ruleset, path, _READ_FILE | _READ_DIR)
    for path in listed:
        _allow(ruleset, path, _READ_DIR)
    for path in devices:
        _allow(ruleset, path, _READ_FILE | _WRITE_FILE)
    process_control(PR_SET_NO_NEW_PRIVS, 1)
    call("landlock_restrict_self", ruleset, 0)
    os.close(ruleset)


def _ruleset(known: int) -> int:
    wanted = _Ruleset(
        files=(1 << _RIGHTS[min(known, 5)]) - 1,
        network=0b11 if known >= 4 else 0,  # bind and connect
        scopes=0b11 if known >= 6 else 0,  # abstract sockets and signals
    )
    size = 24 if known >= 6 else 16 if known >= 4 else 8
    return call("landlock_create_ruleset", ctypes.byref(wanted), size, 0)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not os.path.isdir(path):
        rights &= ~_READ_DIR
    rule = _PathRule(rights, descriptor)
    call("landlock_add_rule", ruleset, _RULE_PATH, ctypes.byref(rule), 0)
    os.close(descriptor)
