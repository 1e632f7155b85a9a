"""Finding an auditor by reference: a shipped name, an installed entry point, or `file.py@Class`."""

import ast
import dataclasses
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from game.api import Auditor
from game.catalogue import ROOT
from models.naming import one_line, unknown

GROUP = "audit_game.auditors"


class LoadError(ValueError):
    """No auditor can be made from a reference; the message says why, and where in a file."""


@dataclass(frozen=True)
class LoadedAuditor:
    """An auditor ready to play.

    Attributes:
        name: As it appears in tables.
        auditor: The plug-in, with its settings.
        yardstick: Whether it is shown but never ranked, and sees the exact reference unmetered.
    """

    name: str
    auditor: Auditor
    yardstick: bool


def load_auditor(reference: str, settings: Mapping[str, Any]) -> LoadedAuditor:
    """The auditor of a reference, with some of its fields set.

    Args:
        reference: A shipped name, an entry point's name, or `path/to/file.py@Class`.
        settings: Field values; text is read as the field's type, so that a command line can give them.

    Raises:
        LoadError: Nothing there, it does not import, it is no auditor, or a setting does not fit.
    """
    strategy = _strategy(reference)
    name = strategy.__name__ if "@" in reference else reference
    auditor = _with_settings(reference, strategy, settings)
    return LoadedAuditor(name, auditor, bool(getattr(strategy, "yardstick", False)))


def _strategy(reference: str) -> type[Any]:
    path, at, class_name = reference.rpartition("@")
    if at:
        return _checked(reference, _member(reference, _module_of(Path(path)), class_name))
    installed = {entry.name: entry for entry in entry_points(group=GROUP)}
    shipped = [file.stem for file in (ROOT / "auditors").glob("*.py") if not file.stem.startswith("_")]
    if reference in shipped:
        module = _imported(reference, lambda: importlib.import_module(f"auditors.{reference}"))
        return _only_auditor(reference, module)
    if reference in installed:
        return _checked(reference, _imported(reference, installed[reference].load))
    raise LoadError(unknown("auditor", reference, [*shipped, *installed]))


def _imported(reference: str, load: Any) -> Any:
    """What `load` imports; whatever a plug-in raises on import becomes one message."""
    try:
        return load()
    except SyntaxError as error:
        raise LoadError(f"auditor {reference}: {error.filename}:{error.lineno}: {error.msg}") from error
    except Exception as error:
        raise LoadError(
            f"auditor {reference}: fails on import: {type(error).__name__}: {one_line(str(error))}"
        ) from error


def _module_of(path: Path) -> Any:
    """A file's module under a private name, so that it shadows none of ours."""
    if not path.is_file():
        raise LoadError(f"auditor {path}: no such file")
    name = f"_auditor_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"

    def load() -> Any:
        ast.parse(path.read_bytes(), str(path))
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError("not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    return _imported(str(path), load)


def _member(reference: str, module: Any, class_name: str) -> Any:
    found = [name for name, value in vars(module).items() if inspect.isclass(value)]
    if class_name not in found:
        raise LoadError(f"auditor {reference}: {unknown('class', class_name, found)}")
    return getattr(module, class_name)


def _only_auditor(reference: str, module: Any) -> type[Any]:
    own = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and value.__module__ == module.__name__ and hasattr(value, "audit")
    ]
    if len(own) != 1:
        raise LoadError(f"auditor {reference}: wanted one class with `audit`, found {len(own)}")
    return _checked(reference, own[0])


def _checked(reference: str, strategy: Any) -> type[Any]:
    """The class, if it can play.

    Raises:
        LoadError: Not a frozen dataclass, or `audit` cannot be called as `audit(toolbox, brief)`.
    """
    if not (inspect.isclass(strategy) and dataclasses.is_dataclass(strategy)):
        raise LoadError(f"auditor {reference}: wanted a dataclass whose fields are its settings")
    audit = getattr(strategy, "audit", None)
    if not callable(audit):
        raise LoadError(f"auditor {reference}: has no method `audit(toolbox, brief)`")
    try:
        inspect.signature(audit).bind(None, None, None)
    except TypeError as error:
        raise LoadError(f"auditor {reference}: `audit` must take (toolbox, brief): {error}") from error
    return strategy


def _with_settings(reference: str, strategy: type[Any], settings: Mapping[str, Any]) -> Auditor:
    fields = [field.name for field in dataclasses.fields(strategy) if field.init]
    for name in settings:
        if name not in fields:
            raise LoadError(f"auditor {reference}: {unknown('setting', name, fields)}")
    hints = get_type_hints(strategy)
    try:
        values = {name: _read(hints[name], value) for name, value in settings.items()}
    except ValidationError as error:
        fault = error.errors()[0]
        raise LoadError(f"auditor {reference}: setting {fault['input']!r}: {fault['msg']}") from error
    return _imported(reference, lambda: strategy(**values))  # type: ignore[no-any-return]


def _read(hint: Any, value: Any) -> Any:
    """A setting as its field's type; text such as `0.5` becomes a number where one is wanted."""
    return TypeAdapter(hint, config=ConfigDict(allow_inf_nan=False)).validate_python(value)
