"""Short human messages, each with the place it belongs to, from the errors that pydantic finds."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import ErrorDetails

from models.naming import listing, nearest, quoted, unknown
from models.yaml_nodes import Loc

Schema: TypeAlias = dict[str, Any]

_WANTED = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "none_required": "null",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_KINDS: dict[type[Any], str] = {bool: "a boolean", int: "an integer", float: "a number", str: "text"}

_WHAT_WAS_WANTED = re.compile(r"(?P<got>got .*?)(?:, wanted |; allowed: )(?P<wanted>.*)")


class Complaint(NamedTuple):
    """What is wrong at `path`; `key` is the key in the mapping there that is itself at fault, if one is."""

    path: Loc
    key: str | None
    message: str


def complaints(model: type[BaseModel], data: Any, errors: Iterable[ErrorDetails]) -> list[Complaint]:
    """One complaint for each fault; the members of a union that all refuse a value speak together."""
    schema = model.model_json_schema(schema_generator=_Lenient)
    walk = _Walk(schema, schema.get("$defs", {}), data)
    found = dict.fromkeys(_complaint(walk, error) for error in errors)
    together: dict[tuple[Loc, str | None, str], list[str]] = {}
    for path, key, message in found:
        absent = message if message.startswith("missing ") else ""  # each is a fault of its own
        together.setdefault((path, key, absent), []).append(message)
    return [Complaint(path, key, _joined(messages)) for (path, key, _), messages in together.items()]


class _Lenient(GenerateJsonSchema):
    """Leaves open what JSON Schema cannot say: it only lists names here, pydantic does the checking."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - pydantic's own name

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> Schema:
        return {}


class _Walk(NamedTuple):
    """A place in the document: what may stand there, and what does."""

    schema: Schema
    definitions: dict[str, Schema]
    data: Any
    path: Loc = ()

    def follow(self, loc: Loc) -> "_Walk":
        """The place at `loc`; parts that are neither keys nor items, such as union members, are skipped."""
        here, tags = self, self.tags()
        for part in loc:
            if part in tags:
                tags.remove(part)
            elif here.has(part):
                here = here.step(part)
                tags = here.tags()
        return here

    def has(self, part: str | int) -> bool:
        if isinstance(self.data, dict):
            return part in self.data
        return isinstance(self.data, list) and isinstance(part, int) and 0 <= part < len(self.data)

    def step(self, part: str | int) -> "_Walk":
        below = {"anyOf": [inner for option in self.options() if (inner := _below(option, part))]}
        return self._replace(schema=below, data=self.data[part], path=(*self.path, part))

    def options(self) -> list[Schema]:
        """What may stand here, without references and unions; in a tagged union what the tag says."""
        return [option for option, _ in self._expanded(self.schema, ())]

    def tags(self) -> list[str | int]:
        """The tags that pydantic puts into an error's `loc` on the way through tagged unions here."""
        return max((list(tags) for _, tags in self._expanded(self.schema, ())), key=len, default=[])

    def keys(self) -> list[str]:
        return list(dict.fromkeys(key for option in self.options() for key in option.get("properties", {})))

    def values(self) -> list[Any]:
        """Every literal that may stand here."""
        return [value for option in self.options() for value in _literals(option)]

    def _expanded(self, schema: Schema, tags: tuple[Any, ...]) -> Iterator[tuple[Schema, tuple[Any, ...]]]:
        if "$ref" in schema:
            yield from self._expanded(self.definitions[schema["$ref"].rpartition("/")[2]], tags)
            return
        tag = self._tag(schema)
        if tag is not None:
            yield from self._expanded({"$ref": schema["discriminator"]["mapping"][tag]}, (*tags, tag))
            return
        members = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]
        for member in members:
            yield from self._expanded(member, tags)
        if not members:
            yield schema, tags

    def _tag(self, schema: Schema) -> str | None:
        union = schema.get("discriminator", {})
        tag = self.data.get(union.get("propertyName")) if isinstance(self.data, dict) else None
        return tag if isinstance(tag, str) and tag in union.get("mapping", {}) else None


def _below(schema: Schema, part: str | int) -> Schema | None:
    if isinstance(part, int):
        items = schema.get("prefixItems", [])
        below = items[part] if part < len(items) else schema.get("items")
    else:
        below = schema.get("properties", {}).get(part, schema.get("additionalProperties"))
    return below if isinstance(below, dict) else None


def _literals(schema: Schema) -> list[Any]:
    return schema["enum"] if "enum" in schema else [schema["const"]] if "const" in schema else []


def _complaint(walk: _Walk, error: ErrorDetails) -> Complaint:
    kind, loc = error["type"], error["loc"]
    if kind == "extra_forbidden":
        parent = walk.follow(loc[:-1])
        key = str(loc[-1])
        return Complaint(parent.path, key, unknown("key", key, parent.keys()))
    if kind == "missing":
        return Complaint(walk.follow(loc[:-1]).path, None, _missing(loc[-1]))
    if kind.startswith("union_tag_"):
        return _tag_complaint(walk.follow(loc), error)
    if loc and loc[-1] == "[key]":
        message = _message(None, error).removeprefix("got ")
        return Complaint(walk.follow(loc[:-2]).path, str(loc[-2]), f"key {message}")
    here = walk.follow(loc)
    return Complaint(here.path, None, _message(here, error))


def _missing(part: str | int) -> str:
    return f"missing key {quoted(part)}" if isinstance(part, str) else f"missing item {part}"


def _tag_complaint(here: _Walk, error: ErrorDetails) -> Complaint:
    context = error.get("ctx", {})
    name = str(context["discriminator"]).strip("'")
    tags = _names_in(str(context.get("expected_tags", "")))
    if not isinstance(here.data, dict) or name not in here.data:
        return Complaint(here.path, None, _missing(name))
    tag = here.data[name]
    if not isinstance(tag, str):
        return Complaint((*here.path, name), None, f"got {_shown(tag)}; allowed: {listing('', tags)}")
    return Complaint((*here.path, name), None, unknown(name, tag, tags))


def _names_in(expected: str) -> list[str]:
    """The names in pydantic's own `'rome', 'memit' or 'finetune'`."""
    return re.findall(r"'([^']*)'", expected)


def _message(here: _Walk | None, error: ErrorDetails) -> str:
    kind, got = error["type"], error["input"]
    if kind in _WANTED:
        return f"got {_with_kind(got)}, wanted {_WANTED[kind]}"
    if kind in ("literal_error", "enum"):
        expected = str(error.get("ctx", {}).get("expected", ""))
        return _not_allowed(got, (here.values() if here else []) or _names_in(expected), expected)
    if kind in ("value_error", "assertion_error"):
        return str(error.get("ctx", {}).get("error", error["msg"]))
    if error["msg"].startswith("Input should "):
        return f"got {_shown(got)}; {error['msg'].removeprefix('Input ')}"
    return error["msg"]


def _not_allowed(got: Any, values: list[Any], expected: str) -> str:
    names = [value for value in values if isinstance(value, str)]
    if isinstance(got, str) and len(names) == len(values) > 0:
        allowed = listing(got, [quoted(name) for name in names])
        return f"got {quoted(got)}; allowed: {allowed}{nearest(got, names)}"
    allowed = listing("", [json.dumps(value) for value in values]) if values else expected
    return f"got {_shown(got)}; allowed: {allowed}"


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return json.dumps(value)


def _with_kind(value: Any) -> str:
    kind = _KINDS.get(type(value))
    return f"{_shown(value)} ({kind})" if kind else _shown(value)


def _joined(messages: list[str]) -> str:
    """One message; those that differ only in what was wanted say together what that is."""
    parts = [_WHAT_WAS_WANTED.fullmatch(message) for message in messages]
    wants = [part["wanted"] for part in parts if part]
    if len(messages) == 1 or len(wants) < len(messages):
        return "; or ".join(messages)
    got = max((part["got"] for part in parts if part), key=len)
    return f"{got}, wanted {' or '.join(wants)}"
