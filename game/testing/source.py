"""What a plug-in's source text says, read without running it."""

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Self

LONGEST, SHORTEST = 110, 20  # characters of a summary


@dataclass(frozen=True)
class Source:
    """The class of a plug-in in its file.

    Attributes:
        file: Name of the file, as messages have it.
        line: Of the class; 0 if the file has no such class.
        frozen: Whether it is a frozen dataclass.
        summary: First line of its docstring.
        method_line: Of the method that is called; of the class if it inherits that.
    """

    file: str
    line: int
    frozen: bool
    summary: str
    method_line: int

    @classmethod
    def read(cls, path: Path, class_name: str, method: str) -> Self:
        """What a file says of a class, or of its only class with that method where no name is given.

        Raises:
            SyntaxError: It is no Python.
        """
        classes = [each for each in ast.parse(path.read_bytes()).body if isinstance(each, ast.ClassDef)]
        for each in classes:
            line = next((item.lineno for item in each.body if _is_method(item, method)), None)
            if each.name == class_name or (not class_name and line is not None):
                summary = (ast.get_docstring(each) or "").partition("\n")[0]
                frozen = any(map(_is_frozen, each.decorator_list))
                return cls(path.name, each.lineno, frozen, summary, line or each.lineno)
        return cls(path.name, 0, True, "", 0)


def _is_method(node: ast.stmt, name: str) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == name


def _is_frozen(decorator: ast.expr) -> bool:
    """Whether it is `dataclass(frozen=True)`, however it was imported."""
    if not isinstance(decorator, ast.Call) or not ast.unparse(decorator.func).endswith("dataclass"):
        return False
    return any(
        each.arg == "frozen" and isinstance(each.value, ast.Constant) and each.value.value is True
        for each in decorator.keywords
    )
