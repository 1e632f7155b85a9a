"""The forms that a reference to a plug-in takes."""

from pathlib import Path


def is_folder(reference: str) -> bool:
    """Whether a reference is that of a folder, by its form; it may hold no plug-in, or not be there."""
    name = reference.rpartition("/")[2]
    return "@" not in name and ("/" in reference or reference in (".", "..") or Path(reference).is_dir())
