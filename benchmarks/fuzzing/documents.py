"""The reader of YAML: any text is a document that comes back the same, or a `ConfigError` with places."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from benchmarks.fuzzing.door import Door, mutated
from edits.kinds import load_spec
from game.dealing.suite import FOLDER as SUITES
from game.dealing.suite import suite_of
from models.recipe import FOLDER as RECIPES
from models.recipe import load_recipe
from models.strict_yaml import ConfigError, Document, StrictModel, parse_document

SPECS = Path(__file__).parent.parent.parent / "edits" / "specs"
WORDS = [
    *("a: ", "b: ", "- ", "? ", ": ", "\n", "\n  ", "\n    ", "[", "]", "{", "}", ", ", "&x ", "*x", "<<: "),
    *(
        "!!python/object:os.system ",
        "!!int ",
        "'",
        '"',
        "|\n ",
        ">-\n ",
        "# c\n",
        "---\n",
        "...\n",
        "~",
        "null",
    ),
    *("%YAML 1.1\n", "no", "1e-3", "017", "0o17", "12:30", ".inf", ".nan", "1_000", "0x1F", "2001-01-01"),
    *("\t", "\x00", "\x85", "\u2028", "\ufeff", "\ud7ff", "9" * 400),
]
SOUP = st.lists(st.sampled_from(WORDS), max_size=30).map("".join)
DEEP = st.integers(1, 3000).map(lambda levels: "a: " + "[" * levels + "]" * levels)
STEPS = st.integers(1, 200).map(lambda levels: "".join("  " * level + "a:\n" for level in range(levels)))


def document(text: str) -> bool:
    """Text alone."""
    found = _read(text)
    if found is None:
        return False
    again = parse_document(json.dumps(found.data, ensure_ascii=False), "again.yaml")
    assert again.data == found.data, found.data
    return True


def suite(data: bytes) -> bool:
    """A suite; one that is taken says the same of itself when it is written down."""
    return _model(data, suite_of, lambda model: model.model_dump(mode="json", by_alias=True))


def spec(data: bytes) -> bool:
    """The specification of an edit or control."""
    return _model(data, load_spec, lambda model: model.model_dump(mode="json"))


def recipe(data: bytes) -> bool:
    """A recipe."""
    return _model(data, load_recipe, lambda model: model.model_dump(mode="json"))


def _read(text: str) -> Document | None:
    try:
        return parse_document(text, "fuzzed.yaml")
    except ConfigError as error:
        _check_places(error, text)
        return None


def _model(data: bytes, load: Callable[[Document], Any], dump: Callable[[Any], dict[str, Any]]) -> bool:
    text = data.decode(errors="replace")
    found = _read(text)
    if found is None:
        return False
    try:
        model: StrictModel = load(found)
    except ConfigError as error:
        _check_places(error, text)
        return False
    again = load(parse_document(json.dumps(dump(model), ensure_ascii=False), "again.yaml"))
    assert dump(again) == dump(model), dump(model)
    return True


def _check_places(error: ConfigError, text: str) -> None:
    """Every fault is told in one line and points into the text."""
    lines = text.count("\n") + text.count("\r") + text.count("\x85") + text.count("\u2028") + 2
    assert error.faults, text
    for fault in error.faults:
        assert "\n" not in str(fault), fault
        assert fault.line is None or 1 <= fault.line <= lines, fault


def _files(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("*.yaml"))]


DOORS = (
    Door("text as a document", st.text(max_size=60) | SOUP | DEEP | STEPS, document, 0.1),
    Door("damaged edit specs", mutated(_files(SPECS)), spec, 0.04),
    Door("damaged recipes", mutated(_files(RECIPES)), recipe, 0.02),
    Door("damaged suites", mutated(_files(SUITES)), suite, 0.01),
)
