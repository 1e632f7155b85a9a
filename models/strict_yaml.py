"""The one door for YAML: recipes, edit specs and suites are read, located and validated here."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from models.naming import one_line
from models.schema_messages import complaints
from models.yaml_nodes import Loc, Mark, compose, key_and_value, plain

__all__ = ["MAX_BYTES", "ConfigError", "Document", "Fault", "StrictModel", "parse_document", "read_document"]

MAX_BYTES = 1 << 20

M = TypeVar("M", bound=BaseModel)


class StrictModel(BaseModel):
    """A frozen model that converts nothing, takes no unknown key and only finite numbers."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Fault:
    """One thing wrong in a file.

    Attributes:
        where: The file, as the reader knows it.
        line: From 1; None if the fault is the file itself.
        column: In characters, from 1; None with the line.
        path: Dotted keys and item numbers down to the fault, such as `groups.0.edit.kind`.
        message: What was got, and what is allowed.
    """

    where: str
    line: int | None
    column: int | None
    path: str
    message: str

    def __str__(self) -> str:
        place = self.where if self.line is None else f"{self.where}:{self.line}:{self.column}"
        return one_line(": ".join(part for part in (place, self.path, self.message) if part))


class ConfigError(ValueError):
    """Everything that is wrong in a configuration: one line a fault, in file order."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(
            sorted(faults, key=lambda fault: (fault.where, fault.line or 0, fault.column or 0))
        )
        super().__init__(self.faults)

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults)


@dataclass(frozen=True)
class Document:
    """A file's values, which still know where they stand in it."""

    where: str
    data: dict[str, Any]
    _root: yaml.MappingNode = field(repr=False, compare=False)

    def validate(self, model: type[M], at: Loc = ()) -> M:
        """The model built from the value at `at`, the whole document unless told.

        Raises:
            ConfigError: With every fault that the model finds.
        """
        data = self._value(at)
        try:
            return model.model_validate_json(json.dumps(data, allow_nan=False))
        except ValidationError as error:
            found = complaints(model, data, error.errors(include_url=False))
        raise ConfigError(self._located((*at, *path), key, message) for path, key, message in found)

    def error(self, loc: Loc, message: str) -> ConfigError:
        """To be raised by a caller that checks more than a model can."""
        return ConfigError([self.fault(loc, message)])

    def fault(self, loc: Loc, message: str) -> Fault:
        """A fault at the value at `loc`, or at its nearest parent that exists."""
        return self._located(loc, None, message)

    def _located(self, loc: Loc, key: str | None, message: str) -> Fault:
        node = key_and_value(self._root, loc)[1] if key is None else key_and_value(self._root, (*loc, key))[0]
        return _fault(self.where, node.start_mark, ".".join(str(part) for part in loc), message)

    def _value(self, at: Loc) -> Any:
        value: Any = self.data
        for part in at:
            value = value[part]
        return value


def read_document(path: Path) -> Document:
    """The YAML file at `path`.

    Raises:
        ConfigError: It cannot be read, or `parse_document` refuses what it holds.
    """
    where = str(path)
    content = _content(path, where)
    try:
        return parse_document(content.decode(), where)
    except UnicodeDecodeError as error:
        before = content[: error.start].decode().split("\n")
        raise ConfigError(
            [Fault(where, len(before), len(before[-1]) + 1, "", "is not UTF-8 text")]
        ) from error


def parse_document(text: str, where: str) -> Document:
    """The document in `text`, whose messages name it `where`.

    Raises:
        ConfigError: The text is not a single mapping of the YAML 1.2 core schema, or holds something refused:
            aliases, tags, duplicate or non-text keys, numbers that are not finite, control characters, more
            than 1 MiB or 32 levels.
    """
    _refuse_size(text.encode(errors="surrogatepass"), where)
    try:
        root = compose(text.removeprefix("\ufeff"))
        return Document(where, plain(root), root)
    except yaml.MarkedYAMLError as error:
        message = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError([_fault(where, error.problem_mark or error.context_mark, "", message)]) from error


def _content(path: Path, where: str) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)  # bounded here: a device or a pipe has no size to ask for
    except FileNotFoundError:
        raise _whole_file(where, "no such file") from None
    except IsADirectoryError:
        raise _whole_file(where, "is a directory, wanted a YAML file") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise _whole_file(where, f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    _refuse_size(content, where)
    return content


def _refuse_size(content: bytes, where: str) -> None:
    if len(content) > MAX_BYTES:
        raise _whole_file(where, f"larger than {MAX_BYTES} bytes")


def _whole_file(where: str, message: str) -> ConfigError:
    return ConfigError([_fault(where, None, "", message)])


def _fault(where: str, mark: Mark, path: str, message: str) -> Fault:
    if mark is None:
        return Fault(where, None, None, path, message)
    return Fault(where, mark.line + 1, mark.column + 1, path, message)
