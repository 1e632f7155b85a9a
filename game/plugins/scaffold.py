"""Writes the working folder of a new plug-in from templates."""

import difflib
import keyword
import re
from collections.abc import Iterable
from pathlib import Path
from string import Template

from models.naming import quoted

TEMPLATES = Path(__file__).parent / "templates"
ROLES = ("auditor", "red")
LONGEST = 40  # characters of a name
_SUFFIX = ".template"
_TOO_LIKE = 0.85  # similarity from which two names are taken for one another


class NewError(ValueError):
    """A plug-in cannot be begun so; the message says what is allowed."""


def class_name_of(name: str) -> str:
    """`norm_outlier` as `NormOutlier`."""
    return "".join(part.capitalize() for part in name.split("_"))


def check_new_name(name: str, taken: Iterable[str]) -> None:
    """Nothing, if a plug-in may have that name.

    Args:
        name: Of the folder, the file and, in its own spelling, the class.
        taken: By others that are listed.

    Raises:
        NewError: It is no lower-case identifier, or too much like one that is taken.
    """
    if not re.fullmatch(rf"[a-z][a-z0-9_]{{0,{LONGEST - 1}}}", name):
        raise NewError(
            f"name {quoted(name)}: wanted a to z, 0 to 9 and _, beginning with a letter, at most {LONGEST} "
            "characters, such as norm_outlier"
        )
    if keyword.iskeyword(name) or keyword.iskeyword(class_name_of(name)):
        raise NewError(f"name {quoted(name)}: is a word of Python's own; choose another")
    like = difflib.get_close_matches(name, list(taken), n=1, cutoff=_TOO_LIKE)
    if like:
        raise NewError(
            f"name {quoted(name)}: too much like {quoted(like[0])}, which is listed; choose another"
        )


def write_plugin(role: str, name: str, folder: Path) -> tuple[Path, ...]:
    """The files of a new plug-in, written.

    Args:
        role: One of `ROLES`.
        name: Checked.
        folder: New, or empty.

    Raises:
        NewError: The folder holds something, or cannot be written to.
    """
    words = {"name": name, "class_name": class_name_of(name)}
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise NewError(f"{folder}: is there already; nothing is overwritten")
        folder.mkdir(parents=True, exist_ok=True)
        return tuple(
            _written(template, words, folder) for template in sorted((TEMPLATES / role).glob(f"*{_SUFFIX}"))
        )
    except OSError as error:
        raise NewError(f"{folder}: cannot be written: {error.strerror}") from error


def _written(template: Path, words: dict[str, str], folder: Path) -> Path:
    path = folder / template.name.removesuffix(_SUFFIX).replace("NAME", words["name"])
    text = Template(template.read_text(encoding="utf-8")).substitute(words)
    path.write_text(text, encoding="utf-8")
    return path
