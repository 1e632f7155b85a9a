"""What the folders hold, read from source text alone: no plug-in is imported, and a broken file is a row."""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Entry:
    """One thing that can be named on the command line.

    Attributes:
        name: As one writes it.
        summary: Its own first sentence; for a broken file, what is wrong with it.
        mark: `yardstick`, `control`, `imported` or `broken` where that applies, otherwise empty.
    """

    name: str
    summary: str
    mark: str = ""

    @property
    def broken(self) -> bool:
        """Whether it can be listed but not used."""
        return self.mark == "broken"


def auditors(folder: Path = ROOT / "auditors") -> list[Entry]:
    """Auditors by module name: the file's one public dataclass with `audit`; a file without is no auditor."""
    return _from_modules(folder, _auditor)


def edits(folder: Path = ROOT / "edits") -> list[Entry]:
    """Kinds of edits and controls: `kind: Literal["..."]` of what a specification has as its `edit`."""
    rooms = [folder, *(room for room in sorted(folder.iterdir()) if room.is_dir())]
    found = [entry for room in rooms for entry in _from_modules(room, _kinds)]
    return sorted(found, key=lambda entry: (entry.mark, entry.name))


def camouflage(folder: Path = ROOT / "edits" / "camouflage") -> list[Entry]:
    """Camouflage passes: `kind: Literal["..."]` of a class."""
    return _from_modules(folder, _passes)


def strategies(folder: Path = ROOT / "edits" / "strategies") -> list[Entry]:
    """Red strategies by module name: the file's one public dataclass with `plan`."""
    return _from_modules(folder, _planner)


def tasks(folder: Path = ROOT / "models" / "tasks") -> list[Entry]:
    """Tasks by module name."""
    return [entry for entry in _from_modules(folder, _module) if entry.name != "base"]


def tools(folder: Path = ROOT / "game" / "tools") -> list[Entry]:
    """Tools by module name: the file's function of that name that returns a `ToolResult`."""
    return _from_modules(folder, _function)


def tool_prices(folder: Path = ROOT / "game" / "tools") -> dict[str, str]:
    """What each tool's docstring says behind `Price:`."""
    return {entry.name: entry.summary for entry in _from_modules(folder, _price) if not entry.broken}


def recipes(folder: Path = ROOT / "models" / "recipes") -> list[Entry]:
    """Shipped recipes by file name, then those of imported models."""
    from models.folders import data_folder

    imported = _from_yaml(data_folder() / "recipes")
    return _from_yaml(folder) + [replace(entry, mark=entry.mark or "imported") for entry in imported]


def suites(folder: Path = ROOT / "game" / "suites") -> list[Entry]:
    """Shipped suites by file name."""
    return _from_yaml(folder)


def public_classes(path: Path, method: str) -> list[str]:
    """Names of the public classes of a file that have that method; none of a file that cannot be read."""
    try:
        module = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return []
    return [each.name for each in _public_classes(module) if _has_method(each, method)]


CATALOGUES: dict[str, Callable[[], list[Entry]]] = {
    function.__name__: function
    for function in (auditors, camouflage, edits, strategies, tasks, recipes, suites, tools)
}

_Reader = Callable[[str, ast.Module], Iterator[Entry]]


def _from_modules(folder: Path, read: _Reader) -> list[Entry]:
    """What `read` finds in each public module of the folder."""
    return [entry for path in _files(folder, ".py") for entry in _from_module(path, read)]


def _from_module(path: Path, read: _Reader) -> list[Entry]:
    try:
        return list(read(path.stem, ast.parse(path.read_bytes())))
    except SyntaxError as error:
        place = f"line {error.lineno}: " if error.lineno else ""
        return [Entry(path.stem, f"{place}{error.msg}", "broken")]
    except (OSError, ValueError, RecursionError) as error:
        return [Entry(path.stem, f"cannot be read: {error}", "broken")]


def _from_yaml(folder: Path) -> list[Entry]:
    return [_yaml_entry(path) for path in _files(folder, ".yaml")]


def _yaml_entry(path: Path) -> Entry:
    import yaml

    from models.yaml_nodes import compose, plain

    try:
        data = plain(compose(path.read_text(encoding="utf-8")))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = "" if mark is None else f"line {mark.line + 1}: "
        return Entry(path.stem, f"{place}{error.problem}", "broken")
    except (OSError, ValueError) as error:
        return Entry(path.stem, f"cannot be read: {error}", "broken")
    return Entry(path.stem, " ".join(str(data.get("title") or data.get("description") or "").split()))


def _files(folder: Path, suffix: str) -> list[Path]:
    return sorted(path for path in folder.glob(f"*{suffix}") if not path.stem.startswith("_"))


def _auditor(name: str, module: ast.Module) -> Iterator[Entry]:
    yield from _plug_in(name, module, "audit")


def _planner(name: str, module: ast.Module) -> Iterator[Entry]:
    yield from _plug_in(name, module, "plan")


def _plug_in(name: str, module: ast.Module, method: str) -> Iterator[Entry]:
    """The file's one public dataclass with that method; a file without any is none."""
    found = [each for each in _public_classes(module) if _has_method(each, method)]
    if len(found) > 1:
        names = ", ".join(each.name for each in found)
        yield Entry(name, f"one public class with {method} is wanted, got {names}", "broken")
    elif found and not _is_dataclass(found[0]):
        yield Entry(name, f"{found[0].name} is no dataclass", "broken")
    elif found:
        mark = "yardstick" if _class_constant(found[0], "yardstick") is True else ""
        yield Entry(name, _first_line(found[0]), mark)


def _kinds(_name: str, module: ast.Module) -> Iterator[Entry]:
    """The kind of each class that another one has as its `edit`, told in that one's words."""
    classes = _public_classes(module)
    for spec in classes:
        mark = "control" if "Control" in map(ast.unparse, spec.bases) else ""
        for block in (each for each in classes if _uses(spec, each.name)):
            for kind in _literals(_annotation(block, "kind")):
                yield Entry(kind, _first_line(spec), mark)


def _passes(_name: str, module: ast.Module) -> Iterator[Entry]:
    for each in _public_classes(module):
        for kind in _literals(_annotation(each, "kind")):
            yield Entry(kind, _first_line(each))


def _module(name: str, module: ast.Module) -> Iterator[Entry]:
    yield Entry(name, _first_line(module).removeprefix(f"`{name}`: "))


def _function(name: str, module: ast.Module) -> Iterator[Entry]:
    for each in module.body:
        if isinstance(each, ast.FunctionDef) and each.name == name and _returns(each, "ToolResult"):
            yield Entry(name, _first_line(each))


def _price(name: str, module: ast.Module) -> Iterator[Entry]:
    for each in module.body:
        if isinstance(each, ast.FunctionDef) and each.name == name and _returns(each, "ToolResult"):
            found = re.search(r"Price: (.*?)\.(?:\s|$)", " ".join((ast.get_docstring(each) or "").split()))
            yield Entry(name, found[1] if found else "")


def _returns(each: ast.FunctionDef, name: str) -> bool:
    return each.returns is not None and ast.unparse(each.returns).endswith(name)


def _public_classes(module: ast.Module) -> list[ast.ClassDef]:
    return [each for each in module.body if isinstance(each, ast.ClassDef) and not each.name.startswith("_")]


def _has_method(each: ast.ClassDef, name: str) -> bool:
    return any(isinstance(item, ast.FunctionDef) and item.name == name for item in each.body)


def _is_dataclass(each: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in each.decorator_list)


def _class_constant(each: ast.ClassDef, name: str) -> object:
    """The constant that a class gives to that name, or None."""
    for item in each.body:
        targets = item.targets if isinstance(item, ast.Assign) else [getattr(item, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            value = getattr(item, "value", None)
            return value.value if isinstance(value, ast.Constant) else None
    return None


def _annotation(each: ast.ClassDef, name: str) -> ast.expr | None:
    """What a class annotates that name with."""
    for item in each.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.target.id == name:
            return item.annotation
    return None


def _uses(each: ast.ClassDef, block: str) -> bool:
    """Whether the class has that one as its `edit`."""
    annotation = _annotation(each, "edit")
    return isinstance(annotation, ast.Name) and annotation.id == block


def _literals(annotation: ast.expr | None) -> list[str]:
    """The texts in `Literal[...]`."""
    if not isinstance(annotation, ast.Subscript) or not ast.unparse(annotation.value).endswith("Literal"):
        return []
    constants = [node.value for node in ast.walk(annotation.slice) if isinstance(node, ast.Constant)]
    return [value for value in constants if isinstance(value, str)]


def _first_line(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0]
