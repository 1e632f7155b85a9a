"""What a plug-in's folder says of itself in `auditor.yaml` or `red.yaml`, read without running any of it."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from game.api import League
from models.strict_yaml import Document, StrictModel, read_document

AUDITOR_FILE, RED_FILE = "auditor.yaml", "red.yaml"

Need = Literal["weights", "gradients", "activations", "siblings", "reference"]


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    """The same names.

    Raises:
        ValueError: One of them is there twice.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{twice[0]} is listed twice")
    return names


class Manifest(StrictModel):
    """What every plug-in says.

    Attributes:
        name: As it appears in tables; a folder is known by it once it is submitted.
        version: Of the plug-in, such as 0.1.0; for people.
        api: Of the game that it was written for.
        entry: File and class, such as `mine.py@Mine`, relative to the folder and inside of it.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    version: str = Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")
    api: Literal[1]
    entry: str = Field(pattern=r"^[A-Za-z_]\w*(/[A-Za-z_]\w*)*\.py@[A-Za-z_]\w*$")

    @property
    def file(self) -> str:
        """The entry's file."""
        return self.entry.partition("@")[0]

    @property
    def class_name(self) -> str:
        """The entry's class."""
        return self.entry.partition("@")[2]


class AuditorManifest(Manifest):
    """What an auditor says too; `audit-game check` holds it to that.

    Attributes:
        leagues: Where it may know more than the prior; elsewhere it is expected to fall back on that.
        needs: What it may ask a toolbox for beside logits and the public corpus.
        budget: The most credits that it spends in a round.
    """

    leagues: Annotated[tuple[League, ...], AfterValidator(_each_once)] = Field(min_length=1)
    needs: Annotated[tuple[Need, ...], AfterValidator(_each_once)]
    budget: float = Field(ge=0)


class RedManifest(Manifest):
    """What a red strategy says."""


MANIFESTS: dict[str, type[Manifest]] = {AUDITOR_FILE: AuditorManifest, RED_FILE: RedManifest}


def manifest_file(folder: Path) -> str | None:
    """The name of the manifest that a folder holds; None if it holds none."""
    return next((name for name in MANIFESTS if (folder / name).is_file()), None)


def read_manifest(path: Path) -> Manifest:
    """The manifest in that file.

    Raises:
        ConfigError: With every fault, each with line and column; one of them may be an entry that is no file.
    """
    document = read_document(path)
    return manifest_of(document, path.name, path.parent)


def manifest_of(document: Document, file_name: str, folder: Path) -> Manifest:
    """The manifest in a document that was read already.

    Raises:
        ConfigError: As `read_manifest`.
    """
    manifest = document.validate(MANIFESTS[file_name])
    if not (folder / manifest.file).is_file():
        raise document.error(("entry",), f"no such file: {folder / manifest.file}")
    return manifest
