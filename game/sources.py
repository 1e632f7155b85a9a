"""The files that make an auditor what it is: code, the fit beside it, the auditors it is made of."""

import ast
import hashlib
import inspect
from collections.abc import Iterator
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
    for file in (source, *_members(source, {source})):
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


def _members(source: Path, seen: set[Path]) -> Iterator[Path]:
    """The shipped auditors that a file imports, and those that they do."""
    for name in sorted(_imported(source)):
        member = ROOT / "auditors" / f"{name}.py"
        if member.is_file() and member not in seen:
            seen.add(member)
            yield member
            yield from _members(member, seen)


def _imported(source: Path) -> set[str]:
    """Names of the auditors that a file imports: `from auditors.x import X`, `import auditors.x`."""
    try:
        tree = ast.parse(source.read_bytes())
    except SyntaxError:
        return set()
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names]
    return {name.split(".")[1] for name in modules if name.startswith("auditors.")}
