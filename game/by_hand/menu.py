"""Tools as a menu offers them: found in the folder, their arguments read off signature and docstring."""

import importlib
import inspect
import re
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from torch import Tensor

from game.api import Samples, TransformerConfig
from game.catalogue import tools
from game.tools.kit.arguments import Meaning, Means
from game.tools.kit.example import Example
from game.tools.kit.result import ToolResult
from models.naming import unknown

Form = Meaning | Literal["int", "float", "bool", "text", "choice", "samples", "several", "unreadable"]
REQUIRED = inspect.Parameter.empty
_PLAIN: Mapping[Any, Form] = {int: "int", float: "float", bool: "bool", str: "text", Samples: "samples"}


class MenuError(ValueError):
    """No such tool, or a file that is none."""


@dataclass(frozen=True)
class Parameter:
    """Something that is asked of the user.

    Attributes:
        name: Of the tool's argument, or of a field of the dataclass that is the argument.
        owner: Name of the argument that it is a field of; empty if it is the argument itself.
        form: How it is given in words.
        within: Of `several`, the form of each; of `choice`, nothing.
        choices: Of `choice`.
        default: `REQUIRED`, or what the tool takes if nothing is given.
        text: Its line in the docstring.
    """

    name: str
    owner: str
    form: Form
    within: Form
    choices: tuple[str, ...]
    default: Any
    text: str

    @property
    def flag(self) -> str:
        """Such as `--top`."""
        return "--" + self.name.replace("_", "-")


@dataclass(frozen=True)
class Tool:
    """A tool with its arguments.

    Attributes:
        name: Of its module and function.
        function: The tool.
        estimate: Its price in credits, if it has one.
        example: With which it is documented, if it has one.
        groups: Arguments that are dataclasses, by name.
        parameters: In the order of the signature, fields in the place of their dataclass.
    """

    name: str
    function: Callable[..., ToolResult]
    estimate: Callable[..., float] | None
    example: Example | None
    groups: Mapping[str, type[Any]]
    parameters: tuple[Parameter, ...]

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Required arguments for which there are no words; with any, the tool is for programs only."""
        wanted = (each for each in self.parameters if each.form == "unreadable" and each.default is REQUIRED)
        return tuple(each.name for each in wanted)


def load_tool(name: str) -> Tool:
    """The tool of that name.

    Raises:
        MenuError: There is none, or its file is broken.
    """
    entries = {entry.name: entry for entry in tools()}
    if name not in entries:
        raise MenuError(unknown("tool", name, entries))
    if entries[name].broken:
        raise MenuError(f"tool {name} is broken: {entries[name].summary}")
    module = importlib.import_module(f"game.tools.{name}")
    return tool_of(module)


def tool_of(module: types.ModuleType) -> Tool:
    """The tool that a module defines."""
    name = module.__name__.rpartition(".")[2]
    function = getattr(module, name)
    hints, told = get_type_hints(function, include_extras=True), _sections(function)
    groups: dict[str, type[Any]] = {}
    parameters: list[Parameter] = []
    for each in list(inspect.signature(function).parameters.values())[1:]:
        hint = hints[each.name]
        if is_dataclass(hint) and hint is not Samples:
            groups[each.name] = hint  # type: ignore[assignment]  # a class, not an instance
            parameters += _fields(each.name, hint)  # type: ignore[arg-type]
        else:
            parameters.append(_parameter(each.name, "", hint, each.default, told))
    return Tool(
        name,
        function,
        getattr(module, "estimate", None),
        getattr(module, "EXAMPLE", None),
        groups,
        tuple(parameters),
    )


def price(
    tool: Tool, config: TransformerConfig, arguments: Mapping[str, Any], tokens: Tensor | None
) -> float | None:
    """Credits that the tool says it will take; None if it does not say.

    Args:
        tool: The tool.
        config: Of the model.
        arguments: Of the tool, by name.
        tokens: The first prompts among them, `[row, pos]`, of which there are `rows` or `pairs` of some
            `length`.
    """
    if tool.estimate is None:
        return None
    sizes = {} if tokens is None else dict(zip(("rows", "length"), tokens.shape, strict=True))
    known = {**sizes, "pairs": sizes.get("rows"), **arguments}
    wanted = list(inspect.signature(tool.estimate).parameters)[1:]
    return tool.estimate(config, **{name: known[name] for name in wanted if name in known})


def _fields(owner: str, group: type[Any]) -> Iterator[Parameter]:
    hints, told = get_type_hints(group, include_extras=True), _sections(group)
    for each in fields(group):
        default = REQUIRED if each.default is MISSING and each.default_factory is MISSING else each.default
        yield _parameter(each.name, owner, hints[each.name], default, told)


def _parameter(name: str, owner: str, hint: Any, default: Any, told: Mapping[str, str]) -> Parameter:
    form, within, choices = _form(hint)
    return Parameter(name, owner, form, within, choices, default, told.get(name, ""))


def _form(hint: Any) -> tuple[Form, Form, tuple[str, ...]]:
    """How a type is given in words; `X | None` as X."""
    if get_origin(hint) in (Union, types.UnionType):
        inner = [each for each in get_args(hint) if each is not type(None)]
        return _form(inner[0]) if len(inner) == 1 else ("unreadable", "unreadable", ())
    for mark in getattr(hint, "__metadata__", ()):
        if isinstance(mark, Means):
            return mark.meaning, mark.meaning, ()
    if get_origin(hint) is Literal:
        return "choice", "choice", tuple(map(str, get_args(hint)))
    if get_origin(hint) is tuple and get_args(hint)[1:] == (...,):
        within = _form(get_args(hint)[0])[0]
        return "unreadable" if within == "unreadable" else "several", within, ()
    form = _PLAIN.get(hint, "unreadable")
    return form, form, ()


def _sections(documented: object) -> dict[str, str]:
    """The lines of a docstring's `Args` or `Attributes`, by name."""
    body = inspect.getdoc(documented) or ""
    section = re.search(r"^(?:Args|Attributes):\n((?:    .*\n?|\n)+)", body, re.MULTILINE)
    entries = re.findall(
        r"^    (\w+(?:, \w+)*): (.*(?:\n {8,}.*)*)", section[1] if section else "", re.MULTILINE
    )
    return {name: " ".join(text.split()) for names, text in entries for name in names.split(", ")}
