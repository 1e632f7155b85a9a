"""YAML text to located nodes and plain values: the YAML 1.2 core schema, every surprise refused."""

import math
import re
from typing import Any, TypeAlias

import yaml

from models.naming import quoted

Loc: TypeAlias = tuple[str | int, ...]
Mark: TypeAlias = Any  # with `line` and `column` from 0; the marks of PyYAML's two parsers share no type
Resolvers: TypeAlias = dict[str, list[tuple[str, re.Pattern[str]]]]

MAX_DEPTH = 32  # nested mappings and lists
MAX_NODES = 100_000  # keys, values and containers in one document
MAX_DIGITS = 100  # of a number, far below Python's own limit on reading and printing integers

_TAG = "tag:yaml.org,2002:"
_NULL, _BOOL, _INT, _FLOAT, _STR = (_TAG + kind for kind in ("null", "bool", "int", "float", "str"))
_CORE_SCHEMA = (
    (_NULL, r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    (_BOOL, r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    (_INT, r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        _FLOAT,
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
)
# Line and paragraph separators end a YAML 1.1 comment unseen; direction marks make text look like other text.
_UNSEEN = "\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff"
_FORBIDDEN = re.compile(f"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f{_UNSEEN}]")


class Refused(yaml.MarkedYAMLError):
    """A fault in the text and where it is."""

    def __init__(self, message: str, mark: Mark) -> None:
        super().__init__(problem=message, problem_mark=mark)


def compose(text: str) -> yaml.MappingNode:
    """The document as nodes that know their line and column.

    Raises:
        yaml.MarkedYAMLError: The text is no single mapping within the limits.
    """
    _refuse_forbidden(text)
    loader = _CoreLoader(text)
    try:
        root = loader.get_single_node()
    except (
        ValueError,
        OverflowError,
    ) as error:  # escapes such as "\UFFFFFFFF" slip past the scanner's own checks
        raise Refused("malformed escape or directive", loader.get_mark()) from error
    if root is None:
        raise Refused("the file is empty, wanted a mapping", None)
    if not isinstance(root, yaml.MappingNode):
        raise Refused(f"got {_kind(root)} at the top, wanted a mapping", root.start_mark)
    return root


def plain(node: yaml.Node) -> Any:
    """The node's value as dict, list, str, int, float, bool or None.

    Raises:
        Refused: A number is not finite or has too many digits, or a text holds control characters.
    """
    if isinstance(node, yaml.MappingNode):
        return {plain(key): plain(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [plain(item) for item in node.value]
    return _scalar(node)


def key_and_value(root: yaml.Node, loc: Loc) -> tuple[yaml.Node, yaml.Node]:
    """The nodes of the key and of the value at `loc`, or those of its nearest parent that exists.

    An item of a list has no key: its value stands for both.
    """
    key = value = root
    for part in loc:
        below = _below(value, part)
        if below is None:
            break
        key, value = below
    return key, value


def _resolvers() -> Resolvers:
    """The core schema in PyYAML's form: for each first character, the kinds that may begin with it."""
    table: Resolvers = {}
    for tag, pattern, starts in _CORE_SCHEMA:
        for start in starts:
            table.setdefault(start, []).append((tag, re.compile(rf"(?:{pattern})\Z")))
    return table


class _CoreLoader(yaml.SafeLoader):
    """Composes with the core schema's resolvers, and stops at the first node that is not allowed."""

    yaml_implicit_resolvers = _resolvers()

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._nodes = 0

    def compose_document(self) -> yaml.Node | None:
        start: yaml.DocumentStartEvent = self.peek_event()  # type: ignore[no-untyped-call]
        if start.version or start.tags:
            raise Refused("a % directive is not allowed; the file is read as YAML 1.2", start.start_mark)
        return super().compose_document()

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        self._refuse_event(event)
        inner = isinstance(event, yaml.CollectionStartEvent)
        self._depth += inner
        node = super().compose_node(parent, index)
        self._depth -= inner
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            _refuse_key(key)
            name, mark = key.value, key.start_mark
            if name in lines:
                raise Refused(f"duplicate key {quoted(name)}; first on line {lines[name]}", mark)
            lines[name] = mark.line + 1
        return node

    def _refuse_event(self, event: Any) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise Refused(f"more than {MAX_NODES} keys and values", event.start_mark)
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise Refused("anchors and aliases (& and *) are not allowed; write it out", event.start_mark)
        if event.tag is not None:
            tag = event.tag.replace(_TAG, "!!")
            raise Refused(f"explicit tag {quoted(tag)} is not allowed", event.start_mark)
        if isinstance(event, yaml.CollectionStartEvent) and self._depth >= MAX_DEPTH:
            raise Refused(f"nested deeper than {MAX_DEPTH} levels", event.start_mark)


def _refuse_forbidden(text: str) -> None:
    found = _FORBIDDEN.search(text)
    if found:
        before = re.split(r"\r\n|\r|\n", text[: found.start()])
        mark = yaml.Mark("", found.start(), len(before) - 1, len(before[-1]), None, 0)
        raise Refused(f"character U+{ord(found[0]):04X} is not allowed", mark)


def _refuse_key(key: yaml.Node) -> None:
    if key.tag != _STR:
        shown = f"{quoted(key.value)} " if isinstance(key, yaml.ScalarNode) else ""
        raise Refused(f"key {shown}is {_kind(key)}; keys are text in quotes", key.start_mark)


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    names = {_NULL: "null", _BOOL: "a boolean", _INT: "an integer", _FLOAT: "a number"}
    return names.get(node.tag, "text")


def _scalar(node: yaml.Node) -> Any:
    if node.tag == _NULL:
        return None
    if node.tag == _BOOL:
        return node.value.lower() == "true"
    return _text(node) if node.tag == _STR else _number(node)


def _text(node: yaml.Node) -> str:
    found = _FORBIDDEN.search(node.value)
    if found:
        raise Refused(f"text with the character U+{ord(found[0]):04X}, which is not allowed", node.start_mark)
    return str(node.value)


def _number(node: yaml.Node) -> int | float:
    text = node.value
    if len(text) > MAX_DIGITS:
        raise Refused(f"number of {len(text)} characters; at most {MAX_DIGITS}", node.start_mark)
    if node.tag == _INT:
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    value = math.inf if "n" in text.lower() else float(text)  # .inf or .nan, to Python no numbers
    if not math.isfinite(value):
        raise Refused(f"got {text}; numbers must be finite", node.start_mark)
    return value


def _below(node: yaml.Node, part: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and 0 <= part < len(node.value):
        return node.value[part], node.value[part]
    return None
