"""The version of this framework, which is part of what a run's results depend on."""

import hashlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("models", "edits", "game")


def framework_version() -> str:
    """Version of the installed distribution, and a hash of the code, so that a run never mixes two."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import, and --help needs it not

    try:
        name = version("audit-game")
    except PackageNotFoundError:
        name = "0"
    files = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    digest = hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
    return f"{name}+{digest[:12]}"
