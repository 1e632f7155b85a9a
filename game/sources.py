"""The files that make an auditor what it is: code, the fit beside it, the auditors it is made of."""

import ast
import hashlib
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path

from game.catalogue import ROOT


def source_of(auditor: object) -> Path:
    """The Python file of an auditor's class."""
    return Path(inspect.getfile(type(auditor)))


def files_of(source: Path) -> tuple[Path, ...]:
    """The files of an auditor, its own first.

    Args:
        source: The Python file of its class.
    """
    found: dict[Path, None] = {}
    for file in (source, *imported_by(source, ["auditors"])):
        found |= {each: None for each in (file, fit_file(file)) if each.is_file()}
    return tuple(found)


def fit_file(source: Path) -> Path:
    """Where the fit of an auditor lies, if it has one."""
    return source.with_suffix(".json")


def digest_of(source: Path) -> str:
    """SHA-256 of an auditor's files: changed in any of them, it is another competitor."""
    own, *others = files_of(source)
    digest = hashlib.sha256(own.read_bytes())
    for file in others:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def imported_by(source: Path, packages: Sequence[str]) -> tuple[Path, ...]:
    """The files of our packages that a file imports, and those that they do, without running any of it.

    Args:
        source: A Python file.
        packages: Whose files count, such as `auditors` or `game.tools`.
    """
    found: dict[Path, None] = {}
    left = [source]
    while left:
        for file in _imported(left.pop(), packages):
            if file not in found and file != source:
                found[file] = None
                left.append(file)
    return tuple(sorted(found))


def _imported(source: Path, packages: Sequence[str]) -> Iterator[Path]:
    """What a file itself imports; nothing, if it is no Python."""
    try:
        tree = ast.parse(source.read_bytes())
    except SyntaxError:
        return
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
        for name in names:
            file = (ROOT / name.replace(".", "/")).with_suffix(".py")
            if any(name == package or name.startswith(f"{package}.") for package in packages):
                yield from [file] if file.is_file() else []
