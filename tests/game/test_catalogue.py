import subprocess
import sys
from pathlib import Path

import pytest

from edits.kinds import control_kinds, edit_kinds
from game import catalogue
from game.catalogue import CATALOGUES, Entry
from models.recipe import recipe_names
from models.tasks.base import task_kinds

ROOT = Path(__file__).resolve().parents[2]

AUDITOR = '''
from dataclasses import dataclass
from typing import ClassVar
import nothing_of_that_name

@dataclass(frozen=True)
class Norms:
    """Looks for the loudest update.

    And tells at length how.
    """

    top: int = 3

    def audit(self, toolbox, brief):
        raise RuntimeError("never run")
'''
YARDSTICK = AUDITOR.replace("    top: int = 3", "    yardstick: ClassVar[bool] = True")


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        # source                                              row
        (AUDITOR, Entry("norms", "Looks for the loudest update.")),
        (YARDSTICK, Entry("norms", "Looks for the loudest update.", "yardstick")),
        (YARDSTICK.replace("True", "False", 2), Entry("norms", "Looks for the loudest update.")),
        (
            YARDSTICK.replace(": ClassVar[bool]", ""),
            Entry("norms", "Looks for the loudest update.", "yardstick"),
        ),
        (AUDITOR.replace("@dataclass(frozen=True)", ""), Entry("norms", "Norms is no dataclass", "broken")),
        (
            AUDITOR + AUDITOR.replace("Norms", "Other"),
            Entry("norms", "one public class with audit is wanted, got Norms, Other", "broken"),
        ),
        (AUDITOR + AUDITOR.replace("Norms", "_Part"), Entry("norms", "Looks for the loudest update.")),
        ("def audit(:", Entry("norms", "line 1: invalid syntax", "broken")),
        (
            "x = '\0'",
            Entry("norms", "source code string cannot contain null bytes", "broken"),
        ),
    ],
)
def test_an_auditor_is_read_from_its_source(text: str, entry: Entry, tmp_path: Path) -> None:
    assert catalogue.auditors(write(tmp_path, {"norms.py": text})) == [entry]


def test_a_file_without_an_audit_method_is_no_auditor(tmp_path: Path) -> None:
    files = {"__init__.py": "", "_shared.py": AUDITOR, "shared.py": "class Table:\n    pass\n"}
    assert catalogue.auditors(write(tmp_path, files)) == []


EDITS = '''
class RomeEdit(StrictModel):
    """Which fact."""

    kind: Literal["rome"] = "rome"

class Rome(EditSpec):
    """Rewrite one fact."""

    edit: RomeEdit

class ShamEdit(StrictModel):
    kind: typing.Literal["sham", "noise"] = "sham"

class Sham(Control):
    """Change nothing that matters."""

    edit: ShamEdit

class RomeFamily(Family):
    """What a suite deals."""

    kind: Literal["rome"]
    mode: Literal["zero", "mean"] = "zero"

class Record:
    kind: str
'''


def test_kinds_of_edits_are_told_in_the_words_of_their_specification(tmp_path: Path) -> None:
    assert catalogue.edits(write(tmp_path, {"mixed.py": EDITS})) == [
        Entry("rome", "Rewrite one fact."),
        Entry("noise", "Change nothing that matters.", "control"),
        Entry("sham", "Change nothing that matters.", "control"),
    ]


def test_a_tool_is_the_function_named_as_its_module(tmp_path: Path) -> None:
    files = {
        "lens.py": 'def lens(x) -> ToolResult:\n    """Where it appears.\n\n    Price: rows.\n    """\n',
        "batches.py": 'def batches(x) -> list:\n    """Parts of something."""\n',
        "result.py": "class Result:\n    pass\n",
    }
    assert catalogue.tools(write(tmp_path, files)) == [Entry("lens", "Where it appears.")]
    assert catalogue.tool_prices(tmp_path) == {"lens": "rows"}


def test_a_task_is_a_module_without_the_protocol_s_own(tmp_path: Path) -> None:
    files = {"facts.py": '"""`facts`: who is who."""\n', "base.py": '"""The protocol."""\n'}
    assert catalogue.tasks(write(tmp_path, files)) == [Entry("facts", "who is who.")]


@pytest.mark.parametrize(
    ("text", "summary", "mark"),
    [
        # file                                        row
        ("title: Small\ndescription: Long", "Small", ""),
        ("description: >-\n  Over two\n  lines", "Over two lines", ""),
        ("version: 1", "", ""),
        ("title: [", "line 1: expected the node content, but found '<stream end>'", "broken"),
        ("title: a\ntitle: b", 'line 2: duplicate key "title"; first on line 1', "broken"),
        ("", "the file is empty, wanted a mapping", "broken"),
    ],
)
def test_a_yaml_file_is_told_by_its_title_or_description(
    text: str, summary: str, mark: str, tmp_path: Path
) -> None:
    write(tmp_path, {"small.yaml": text, "notes.txt": "not this one"})
    assert catalogue.suites(tmp_path) == [Entry("small", summary, mark)]
    assert catalogue.recipes(tmp_path) == [Entry("small", summary, mark)]


def test_a_file_that_is_no_text_is_a_broken_row(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_bytes(b"\xff\xfe")
    (entry,) = catalogue.suites(tmp_path)
    assert entry.broken
    assert entry.summary.startswith("cannot be read: ")


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert catalogue.auditors(tmp_path / "nowhere") == []


@pytest.mark.parametrize("what", CATALOGUES)
def test_what_is_shipped_is_sound_and_says_what_it_is(what: str) -> None:
    for entry in CATALOGUES[what]():
        assert not entry.broken, f"{entry.name}: {entry.summary}"
        assert entry.summary, entry.name


def test_looking_imports_nothing_heavy_and_no_plug_in() -> None:
    code = (
        "import sys; from game.catalogue import CATALOGUES\n"
        "for rows in CATALOGUES.values(): rows()\n"
        "print(*sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    loaded = set(done.stdout.split())
    assert loaded.isdisjoint({"torch", "numpy", "pydantic", "rich", "scipy"})
    assert not [name for name in loaded if name.startswith(("auditors.", "edits.", "game.tools."))]


def test_the_catalogue_names_what_the_loaders_find() -> None:
    assert {entry.name: entry.mark for entry in catalogue.edits()} == {
        kind: "control" if kind in control_kinds() else "" for kind in edit_kinds()
    }
    assert tuple(entry.name for entry in catalogue.tasks()) == task_kinds()
    assert tuple(entry.name for entry in catalogue.recipes()) == recipe_names()
