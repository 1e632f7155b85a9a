"""Every kind of edit and control that the folder holds, found in its modules, and the door for their YAML."""

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from edits.base import Control, EditError, EditSpec, Family
from models.naming import unknown
from models.strict_yaml import ConfigError, Document

FOLDER = Path(__file__).parent
NO_KINDS = ("edits.camouflage.", "edits.strategies.")  # rooms of other plug-ins


def edit_kinds() -> dict[str, type[EditSpec]]:
    """Every kind, edits and controls, by name."""
    found = [value for value in _classes() if issubclass(value, EditSpec) and _is_kind(value)]
    return {spec.kind(): spec for spec in sorted(found, key=lambda spec: spec.kind())}


def control_kinds() -> dict[str, type[Control]]:
    """The kinds that are controls, by name."""
    return {name: spec for name, spec in edit_kinds().items() if issubclass(spec, Control)}


def families() -> dict[str, type[Family]]:
    """What a suite's group can deal, by kind."""
    found = [value for value in _classes() if issubclass(value, Family) and _literal(value)]
    return {_kind_of(family): family for family in sorted(found, key=_kind_of)}


def load_spec(document: Document) -> EditSpec:
    """The specification that a document holds.

    Raises:
        ConfigError: Every fault, with its place.
    """
    kinds = edit_kinds()
    spec = document.validate(kinds[kind_at(document, ("edit",), kinds)])
    for name, bound in spec.gates.items():
        if name not in spec.floor:
            raise document.error(("gates", name), unknown("gate", name, spec.floor))
        if not bound.no_looser_than(spec.floor[name]):
            floor = spec.floor[name].model_dump(exclude_none=True)
            raise document.error(("gates", name), f"looser than this kind's floor, {floor}")
    return spec


def located(document: Document, error: EditError) -> ConfigError:
    """The error of a specification that a base refuses, at its place in the document.

    Messages begin with the path of what is wrong; as much of it as the document has is pointed at.
    """
    path, _, message = str(error).partition(": ")
    loc: list[str | int] = []
    value: Any = document.data
    for step in path.split("."):
        key: str | int = int(step) if step.isdigit() else step
        inside = isinstance(value, dict) and key in value
        if not inside and not (isinstance(value, list) and isinstance(key, int) and key < len(value)):
            break
        value = value[key]
        loc.append(key)
    return document.error(tuple(loc), message if ".".join(map(str, loc)) == path else str(error))


def kind_at(document: Document, loc: tuple[str | int, ...], allowed: dict[str, Any]) -> str:
    """The `kind` of the mapping at a place in a document.

    Raises:
        ConfigError: There is none, or it is not allowed.
    """
    value: Any = document.data
    for step in loc:
        value = value.get(step) if isinstance(value, dict) else value[step]
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str):
        example = f"wanted a mapping with a kind, such as {{kind: {next(iter(allowed))}}}"
        raise document.error((*loc, "kind") if isinstance(value, dict) else loc, example)
    if kind not in allowed:
        raise document.error((*loc, "kind"), unknown("edit kind", kind, allowed))
    return kind


def _kind_of(family: type[Family]) -> str:
    (kind,) = _literal(family)
    return str(kind)


def _is_kind(spec: type[EditSpec]) -> bool:
    """Whether a specification is a kind of its own, and not what several kinds share."""
    block = spec.model_fields.get("edit")
    return block is not None and "kind" in getattr(block.annotation, "model_fields", {})


def _literal(block: type[Any]) -> tuple[Any, ...]:
    """What `kind: Literal[...]` allows; nothing where it is any text."""
    return get_args(block.model_fields["kind"].annotation)


def _classes() -> Iterator[type[Any]]:
    """The classes that the modules of the folder and of its rooms define."""
    for found in pkgutil.walk_packages([str(FOLDER)], "edits."):
        if not found.ispkg and found.name != __name__ and not found.name.startswith(NO_KINDS):
            module = importlib.import_module(found.name)
            own = (value for value in vars(module).values() if isinstance(value, type))
            yield from (value for value in own if value.__module__ == module.__name__)
