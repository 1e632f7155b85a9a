"""What a jail must read to run Python and torch at all, and how bubblewrap shows it nothing else."""

import shutil
import site
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from game.catalogue import ROOT

_SYSTEM = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
_MACHINE = ("/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu")
_PACKAGES = ("game", "models", "edits", "auditors")


def runtime_paths() -> tuple[str, ...]:
    """Interpreter, libraries, and our own packages; no other file of the folder that they lie in."""
    installed = [
        sys.prefix,
        sys.base_prefix,
        sys.exec_prefix,
        *sysconfig.get_paths().values(),
        *package_folders(),
    ]
    ours = [str(ROOT / package) for package in _PACKAGES]
    wanted = [path for path in (*installed, *ours) if path != "/" and Path(path).exists()]
    outer = [path for path in dict.fromkeys(wanted) if not _below_another(path, wanted)]
    return (*outer, *_SYSTEM, *_DEVICES, *_MACHINE)


def package_folders() -> list[str]:
    """Where installed packages lie, as this interpreter sees them."""
    known = {*site.getsitepackages(), site.getusersitepackages()}
    named = ("site-packages", "dist-packages")
    return [path for path in sys.path if path in known or Path(path).name in named]


def bubblewrap_command(shown: Iterable[str]) -> list[str]:
    """What comes before a command so that it runs where only those paths exist, read-only.

    Raises:
        FileNotFoundError: Bubblewrap is not installed.
    """
    program = shutil.which("bwrap")
    if program is None:
        raise FileNotFoundError("bwrap is not installed")
    binds = [
        word
        for path in (*shown, *_SYSTEM, *_MACHINE[2:])
        if not path.startswith(("/dev/", "/proc/"))
        for word in ("--ro-bind-try", path, path)
    ]
    apart = ["--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--chdir", "/"]
    return [program, *apart, *binds, "--proc", "/proc", "--dev", "/dev", "--"]


def _below_another(path: str, paths: Iterable[str]) -> bool:
    return any(path != other and Path(path).is_relative_to(other) for other in paths)
