"""Where the code of a reference is: `file.py@Class`, or a folder with a manifest.

Read from text alone; no plug-in is imported.
"""

from dataclasses import dataclass
from pathlib import Path

from game.plugins.digest import FolderError, folder_digest
from game.plugins.manifest import Manifest, read_manifest
from game.plugins.reference import is_folder
from game.sources import digest_of
from models.naming import quoted
from models.strict_yaml import ConfigError


class PlaceError(ValueError):
    """A reference leads nowhere, or to a folder that is no plug-in; one line a fault."""


@dataclass(frozen=True)
class Place:
    """Where a plug-in's code is.

    Attributes:
        name: As it appears in tables.
        file: With the class.
        class_name: Of the strategy.
        folder: Of the plug-in; None for a single file.
        manifest: Of the folder; None for a single file.
    """

    name: str
    file: Path
    class_name: str
    folder: Path | None = None
    manifest: Manifest | None = None

    @property
    def absolute(self) -> str:
        """The same place as a reference that holds wherever it is read."""
        if self.folder is not None:
            return f"{self.folder.resolve()}/"
        return f"{self.file.resolve()}@{self.class_name}"

    @property
    def code(self) -> Path:
        """The file, or the folder with all that belongs to it."""
        return (self.folder or self.file).resolve()

    def digest(self) -> str:
        """SHA-256 of the file with its fit, or of the folder; another one is another competitor.

        Raises:
            PlaceError: It cannot be read, or the folder holds what no plug-in may.
        """
        try:
            if self.folder is not None:
                return folder_digest(self.folder)
            return digest_of(self.file)
        except FolderError as error:
            raise PlaceError(str(error)) from error
        except OSError as error:
            raise PlaceError(f"{self.file}: cannot be read: {error.strerror}") from error


def place_of(manifest_name: str, reference: str) -> Place | None:
    """Where the code of a reference is; None if it is neither a file's nor a folder's.

    Args:
        manifest_name: What a folder of this role must hold, such as `auditor.yaml`.
        reference: As the user wrote it.

    Raises:
        PlaceError: No such file or folder, or a folder without a sound manifest.
    """
    if is_folder(reference):
        return _in_folder(Path(reference), manifest_name)
    path, at, class_name = reference.rpartition("@")
    if not at:
        return None
    if not Path(path).is_file():
        raise PlaceError(f"{path}: no such file")
    return Place(class_name, Path(path), class_name)


def _in_folder(folder: Path, manifest_name: str) -> Place:
    if not folder.is_dir():
        raise PlaceError(
            f"{folder}: no such folder; allowed: a folder with {manifest_name}, or file.py@Class"
        )
    if not (folder / manifest_name).is_file():
        raise PlaceError(f"{folder}: holds no {quoted(manifest_name)}; audit-game new writes one")
    try:
        manifest = read_manifest(folder / manifest_name)
    except ConfigError as error:
        raise PlaceError(str(error)) from error
    return Place(manifest.name, folder / manifest.file, manifest.class_name, folder, manifest)
