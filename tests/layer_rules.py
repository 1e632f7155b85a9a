"""The rules of the tree's layers, checked on source text alone: nothing is imported."""

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PACKAGES = ("models", "edits", "game", "auditors")

# A module's layer is the first prefix that fits; of our own modules it imports only what is below one of the
# prefixes beside it.
MAY_IMPORT = {
    "models": ("models",),
    "edits": ("edits", "models"),
    "auditors": ("game.api", "game.tools", "game.auditing", "auditors"),
    "game.auditing": ("game.auditing", "game.api", "game.tools"),
    "game.api": ("game.api", "models.components", "models.transformer"),
    "game.tools.kit.result": (
        "game.tools",
        "game.api",
        "game.drawing.figure",
    ),  # `figure()`, when it is called
    "game.drawing.figure": (
        "game.tools",
        "game.api",
        "game.drawing.panels",
        "game.drawing.colours",
    ),
    "game.drawing.panels": ("game.tools", "game.api"),
    "game.drawing.colours": ("game.drawing.panels",),
    "game.tools": ("game.tools", "game.api", "game.toolbox.prices", "game.toolbox.requests"),
    "game": ("game", "edits", "models"),
}
LOADED_BY_NAME_ONLY = ("auditors", "edits.strategies")
LIGHT = ("game", "game.cli")  # what --help pays for
SHAPELESS_NAMES = {"util", "utils", "helper", "helpers", "common", "core"}

FORBIDDEN_MODULES = ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve")
FORBIDDEN_NAMES = (
    "torch.load",
    "torch.serialization.load",
    "yaml.load",
    "yaml.load_all",
    "yaml.full_load",
    "yaml.full_load_all",
    "yaml.unsafe_load",
    "yaml.unsafe_load_all",
    "os.system",
    "os.popen",
    "builtins.eval",
    "builtins.exec",
)
FORBIDDEN_SWITCHES = ("shell", "allow_pickle")


@dataclass(frozen=True)
class Import:
    """A module that another one imports; `at_start` if merely importing the other one needs it."""

    target: str
    line: int
    at_start: bool


@dataclass(frozen=True)
class Module:
    """A source file of the tree."""

    name: str
    path: str
    tree: ast.Module
    tree_modules: frozenset[str]

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """Those within functions too."""
        at_start = set(_run_on_import(self.tree.body))
        nodes = [
            node for node in ast.walk(self.tree) if isinstance(node, ast.Import | ast.ImportFrom | ast.Call)
        ]
        return tuple(
            Import(target, node.lineno, node in at_start) for node in nodes for target in self._targets(node)
        )

    @cached_property
    def aliases(self) -> dict[str, str]:
        """What each imported name stands for, such as `np` for `numpy`."""
        found: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found |= {alias.asname: alias.name for alias in node.names if alias.asname}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        return found

    def _targets(self, node: ast.Import | ast.ImportFrom | ast.Call) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in self.tree_modules else node.module
        elif isinstance(node, ast.Call) and _last_name(node.func) in ("import_module", "__import__"):
            yield from (str(arg.value) for arg in node.args[:1] if isinstance(arg, ast.Constant))


def read_tree(root: Path) -> list[Module]:
    """Every module of those packages that exist below `root`."""
    files = [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]
    named = {path: _module_name(path.relative_to(root)) for path in files}
    names = frozenset(named.values())
    return [
        Module(name, str(path.relative_to(root)), ast.parse(path.read_text(encoding="utf-8")), names)
        for path, name in named.items()
    ]


def imports_point_one_way(modules: list[Module]) -> Iterator[str]:
    """What is imported against the layers' order."""
    for module in modules:
        layer = next(
            prefix for prefix in sorted(MAY_IMPORT, reverse=True) if _is_below(module.name, (prefix,))
        )
        for found in module.imports:
            ours = _is_below(found.target, PACKAGES)
            if ours and not _is_below(found.target, MAY_IMPORT[layer]):
                yield f"{module.path}:{found.line}: {layer} must not import {found.target}"


def plugins_are_loaded_by_name(modules: list[Module]) -> Iterator[str]:
    """Who imports an auditor or a red strategy; only an auditor may be made of others."""
    for module in modules:
        for found in module.imports:
            team = _is_below(module.name, ("auditors",)) and _is_below(found.target, ("auditors",))
            if _is_below(found.target, LOADED_BY_NAME_ONLY) and not team:
                yield f"{module.path}:{found.line}: nobody imports {found.target}, it is loaded by name"


def the_command_line_starts_light(modules: list[Module]) -> Iterator[str]:
    """What `--help` would pay for beyond the standard library."""
    for module in modules:
        if module.name not in LIGHT:
            continue
        for found in module.imports:
            if found.at_start and found.target.partition(".")[0] not in sys.stdlib_module_names:
                yield f"{module.path}:{found.line}: {found.target} slows the start of every command"


def imports_run_in_no_circle(modules: list[Module]) -> Iterator[str]:
    """Every circle of modules that need each other to be imported, once."""
    needs = {
        module.name: sorted(
            {found.target for found in module.imports if found.at_start} & module.tree_modules
        )
        for module in modules
    }
    done: set[str] = set()
    for name in needs:
        yield from _circles(name, needs, [], done)


def no_import_is_relative(modules: list[Module]) -> Iterator[str]:
    """Every `from . import`."""
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                yield f"{module.path}:{node.lineno}: relative import"


def names_explain(modules: list[Module]) -> Iterator[str]:
    """Modules and folders whose name says nothing, or is that of a standard-library module."""
    for module in modules:
        for part in module.name.split("."):
            if part in SHAPELESS_NAMES:
                yield f"{module.path}: {part} says nothing"
            if part in sys.stdlib_module_names:
                yield f"{module.path}: {part} is a module of the standard library"


def nothing_runs_data_as_code(modules: list[Module]) -> Iterator[str]:
    """Uses of what runs, or may run, code that comes as data."""
    for module in modules:
        for found in module.imports:
            if _is_below(found.target, FORBIDDEN_MODULES):
                yield f"{module.path}:{found.line}: {found.target}"
        for node in ast.walk(module.tree):
            yield from (f"{module.path}:{use}" for use in _dangerous_uses(node, module.aliases))


RULES: tuple[Callable[[list[Module]], Iterator[str]], ...] = (
    imports_point_one_way,
    plugins_are_loaded_by_name,
    the_command_line_starts_light,
    imports_run_in_no_circle,
    no_import_is_relative,
    names_explain,
    nothing_runs_data_as_code,
)


def _module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_below(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _run_on_import(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Every node that runs on import: no bodies of functions, nothing for the type checker alone."""
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and _last_name(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _circles(name: str, needs: dict[str, list[str]], trail: list[str], done: set[str]) -> Iterator[str]:
    if name in trail:
        yield " -> ".join([*trail[trail.index(name) :], name])
    elif name not in done:
        for needed in needs[name]:
            yield from _circles(needed, needs, [*trail, name], done)
        done.add(name)


def _dangerous_uses(node: ast.AST, aliases: dict[str, str]) -> Iterator[str]:
    if isinstance(node, ast.Name | ast.Attribute):
        name = _meaning(node, aliases)
        if name in FORBIDDEN_NAMES or f"builtins.{name}" in FORBIDDEN_NAMES:
            yield f"{node.lineno}: {name}"
    if isinstance(node, ast.Call):
        for switch in node.keywords:
            on = not (isinstance(switch.value, ast.Constant) and not switch.value.value)
            if switch.arg in FORBIDDEN_SWITCHES and on:
                yield f"{node.lineno}: {switch.arg}={ast.unparse(switch.value)}"


def _meaning(node: ast.expr, aliases: dict[str, str]) -> str:
    """The dotted name that an expression stands for, aliases resolved; empty if it is no plain name."""
    if isinstance(node, ast.Name):
        return aliases.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        owner = _meaning(node.value, aliases)
        return f"{owner}.{node.attr}" if owner else ""
    return ""
