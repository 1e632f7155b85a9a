"""The outer layer: the seal, and the files that it covers."""

import json
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from game.proof import seal
from game.proof.evidence import Evidence
from game.proof.findings import Check, Fault, Rule, differing, guarded
from game.runs.database import VERSION, schema_of
from game.runs.run_folder import ARTIFACTS, DATABASE, LOCK, PANEL, RESULTS, SEAL, TRANSCRIPTS
from game.runs.serialise import to_json

# What is made from a run and its seal does not cover: pictures, pages, and of a case that was played by hand
# the results that were kept and what auditors made of it afterwards.
BESIDE = ("*.png", "*.svg", "*.html", RESULTS, PANEL)


def ordinary(folder: Path) -> Check:
    """Whether a folder holds files and folders only: a link may lead anywhere, and a pipe never end."""
    paths = sorted(folder.rglob("*"))
    found = [path for path in paths if path.is_symlink() or not (path.is_file() or path.is_dir())]
    faults = [Fault(path.relative_to(folder).as_posix(), "kind of file", "a file", "none") for path in found]
    return Check("files are files", len(paths), tuple(faults))


def sealed(folder: Path) -> Check:
    """Whether a folder's files are those of its seal; the one check that needs no database."""
    there = (folder / SEAL).exists()
    count = len(_found(folder)) if there else 0
    return guarded("files are those of the seal", count, lambda: _faults(folder) if there else iter(()))


def _faults(folder: Path) -> Iterator[Fault]:
    """What is wrong with the seal itself, and with each file."""
    data = (folder / SEAL).read_bytes()
    told = json.loads(data)
    yield from differing(SEAL, "not canonical", to_json(told).encode() + b"\n", data)
    yield from differing(SEAL, "keys", ["commitments", "files", "head", "version"], sorted(told))
    yield from differing(SEAL, "version", 1, told["version"])
    found = _found(folder)
    for name in sorted(told["files"].keys() - found.keys()):
        yield Fault(name, "missing", "a file", "none")
    for name, path in found.items():
        if name not in told["files"]:
            yield Fault(name, "not in the seal", "no such file", "a file")
        else:
            yield from differing(name, "SHA-256", told["files"][name], seal.file_hash(path))
    yield from _strangers(folder)


def _strangers(folder: Path) -> Iterator[Fault]:
    known = (DATABASE, SEAL, LOCK, ARTIFACTS, TRANSCRIPTS)
    for path in sorted(folder.iterdir()):
        if path.name not in known and not any(fnmatch(path.name, pattern) for pattern in BESIDE):
            yield Fault(path.name, "not in the seal", "no such file", "a file")


def _found(folder: Path) -> dict[str, Path]:
    """The files there are that a seal covers."""
    return {path.relative_to(folder).as_posix(): path for path in seal.sealed_files(folder) if path.exists()}


def _sealed_row(evidence: Evidence, name: str) -> Iterator[Fault]:
    told = json.loads((evidence.folder / SEAL).read_bytes())
    yield from differing(SEAL, name, evidence.run[name], told[name])


def _schema(evidence: Evidence, version: int) -> Iterator[Fault]:
    if not 1 <= version <= VERSION:
        yield Fault(DATABASE, "version", f"1 to {VERSION}", str(version))
        return
    wanted = schema_of(version)
    for kind, name, _ in sorted(evidence.schema ^ wanted, key=str):
        yield Fault(f"{DATABASE}: {kind} {name}", "definition", "as this version makes it", "another")


SEALED = Rule(
    "the seal tells of this run", lambda e: ["commitments", "head"] if e.sealed else [], _sealed_row
)
SCHEMA = Rule("the database is laid out as it should be", lambda evidence: [evidence.version], _schema)
