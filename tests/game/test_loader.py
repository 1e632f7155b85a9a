from pathlib import Path

import pytest

from game.loader import LoadError, load_auditor

GOOD = """
from dataclasses import dataclass
from game.api import Report

@dataclass(frozen=True)
class Mine:
    '''Says half.'''
    p: float = 0.5
    rounds: int = 1

    def audit(self, toolbox, brief):
        return Report(self.p)
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.py"
    path.write_text(text)
    return path


def test_a_shipped_auditor_loads_by_name() -> None:
    oracle = load_auditor("oracle", {})
    assert oracle.name == "oracle"
    assert oracle.yardstick
    assert not load_auditor("spectral_spike", {}).yardstick


def test_a_file_loads_by_path_and_class_with_settings(tmp_path: Path) -> None:
    loaded = load_auditor(f"{written(tmp_path, GOOD)}@Mine", {"p": "0.25", "rounds": "3"})
    assert loaded.name == "Mine"
    assert loaded.auditor.p == 0.25  # type: ignore[attr-defined]
    assert loaded.auditor.rounds == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            GOOD.replace("def audit(self, toolbox, brief):", "def audit(self, toolbox, brief:"),
            r"mine\.py:\d+: ",
        ),
        ("raise RuntimeError('at import')", "fails on import: RuntimeError: at import"),
        ("import no_such_module", "fails on import: ModuleNotFoundError"),
        (GOOD.replace("def audit", "def adit"), r"has no method `audit\(toolbox, brief\)`"),
        (GOOD.replace("(self, toolbox, brief)", "(self)"), r"`audit` must take \(toolbox, brief\)"),
        (GOOD.replace("@dataclass(frozen=True)", ""), "wanted a dataclass"),
        (GOOD.replace("class Mine", "class Main"), 'unknown class "Mine".*did you mean "Main"'),
    ],
)
def test_a_plug_in_that_cannot_play_is_one_clear_message(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(LoadError, match=message):
        load_auditor(f"{written(tmp_path, text)}@Mine", {})


def test_a_missing_file_an_unknown_name_and_a_wrong_setting_are_told(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no such file"):
        load_auditor(f"{tmp_path / 'none.py'}@Mine", {})
    with pytest.raises(LoadError, match=r'unknown auditor "oracel".*did you mean "oracle"'):
        load_auditor("oracel", {})
    good = written(tmp_path, GOOD)
    with pytest.raises(LoadError, match=r'unknown setting "q"; allowed: p, rounds'):
        load_auditor(f"{good}@Mine", {"q": 1})
    with pytest.raises(LoadError, match=r"setting 'many'"):
        load_auditor(f"{good}@Mine", {"rounds": "many"})
    with pytest.raises(LoadError, match="setting"):
        load_auditor(f"{good}@Mine", {"p": "nan"})
