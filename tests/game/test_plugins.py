"""Plug-ins in folders: what a manifest says, what its digest covers, and that the folder plays."""

import os
import py_compile
from pathlib import Path

import pytest

from game.loader import AUDITOR, LoadError, load_auditor, load_strategy
from game.plugins.digest import FolderError, folder_digest
from game.plugins.manifest import AuditorManifest, read_manifest
from game.referee import play_round
from game.runs.tournament import _player_config
from game.sandbox.isolated import load_isolated
from models.strict_yaml import ConfigError
from tests.game.hand_made import case, truth
from tests.game.jails import SandboxAt, sandbox_at

__all__ = ["sandbox_at"]

MANIFEST = """\
name: half
version: 0.1.0
api: 1
entry: half.py@Half
leagues: [whitebox]
needs: [weights]
budget: 100
"""
CODE = '''
from dataclasses import dataclass

from amount import AMOUNT
from game.api import Report


@dataclass(frozen=True)
class Half:
    """Says what the file beside it says."""

    scale: float = 1.0

    def audit(self, toolbox, brief):
        return Report(self.scale * AMOUNT)
'''
PLAN = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Half:
    def plan(self, briefing): ...
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An auditor of two files."""
    made = tmp_path / "half"
    made.mkdir()
    (made / "auditor.yaml").write_text(MANIFEST)
    (made / "half.py").write_text(CODE)
    (made / "amount.py").write_text("AMOUNT = 0.25\n")
    return made


def test_a_manifest_says_where_the_class_is_and_what_it_needs(folder: Path) -> None:
    manifest = read_manifest(folder / "auditor.yaml")
    assert isinstance(manifest, AuditorManifest)
    assert (manifest.name, manifest.file, manifest.class_name) == ("half", "half.py", "Half")
    assert (manifest.leagues, manifest.needs, manifest.budget) == (("whitebox",), ("weights",), 100.0)


@pytest.mark.parametrize(
    ("was", "is_now", "fault"),
    [
        # line                       replaced by                    where and what
        ("name: half", "name: Half!", r"auditor\.yaml:1:7: name: String should match pattern"),
        ("version: 0.1.0", "version: 0.1", r":2:10: version: got 0.1 \(a number\), wanted text"),
        ("api: 1", "api: 2", r":3:6: api: got 2; allowed: 1"),
        ("half.py@Half", "../half.py@Half", r":4:8: entry: String should match pattern"),
        ("half.py@Half", "/etc/half.py@Half", r":4:8: entry: String should match pattern"),
        ("half.py@Half", "none.py@Half", r":4:8: entry: no such file: .*none\.py"),
        ("[whitebox]", "[whitebocks]", r':5:11: leagues\.0: got "whitebocks"; .*did you mean "whitebox"'),
        ("[whitebox]", "[]", r":5:10: leagues: "),
        ("[weights]", "[weights, weights]", r":6:8: needs: weights is listed twice"),
        ("budget: 100", "budget: -1", r":7:9: budget: "),
        ("budget: 100", "budget: 1\nbuget: 2", r':8:1: unknown key "buget".*did you mean "budget"'),
    ],
)
def test_a_fault_in_a_manifest_is_told_with_line_and_column(
    folder: Path, was: str, is_now: str, fault: str
) -> None:
    (folder / "auditor.yaml").write_text(MANIFEST.replace(was, is_now))
    with pytest.raises(ConfigError, match=fault):
        read_manifest(folder / "auditor.yaml")
    with pytest.raises(LoadError, match=r"auditor .*auditor\.yaml"):
        load_auditor(f"{folder}/", {})


def test_a_digest_covers_names_and_bytes_of_all_files_and_nothing_that_tools_leave(folder: Path) -> None:
    first = folder_digest(folder)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "half.pyc").write_bytes(b"x")
    (folder / ".pytest_cache").mkdir()
    (folder / ".pytest_cache" / "seen").write_text("y")
    assert folder_digest(folder) == first
    (folder / "data").mkdir()
    assert folder_digest(folder) == first
    (folder / "data" / "fit.json").write_text("{}")
    second = folder_digest(folder)
    (folder / "data" / "fit.json").write_text("[]")
    third = folder_digest(folder)
    (folder / "data" / "fit.json").rename(folder / "data" / "fits.json")
    assert len({first, second, third, folder_digest(folder)}) == 4


def test_links_and_large_folders_are_refused(folder: Path) -> None:
    link = folder / "secrets"
    link.symlink_to("/etc")
    with pytest.raises(FolderError, match="secrets: is a link"):
        folder_digest(folder)
    link.unlink()
    with (folder / "large.bin").open("wb") as file:
        file.truncate(64 * 2**20)  # with the others it is more
    with pytest.raises(FolderError, match="more than 64 MiB"):
        folder_digest(folder)


@pytest.mark.parametrize("form", ["{}", "{}/"])
def test_a_folder_is_a_reference_and_its_files_find_each_other(folder: Path, form: str) -> None:
    player = load_auditor(form.format(folder), {"scale": "2"})
    record = play_round(case(1, truth()), player, seed=1)
    assert (record.auditor, record.status, record.p_edited) == ("half", "DONE", 0.5)


def test_a_bare_name_is_a_folder_only_where_nothing_shipped_has_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.parent / "prior").mkdir()
    monkeypatch.chdir(folder.parent)
    assert load_auditor("half", {}).name == "half"
    assert AUDITOR.place("prior") is None


def test_a_changed_file_of_a_folder_makes_another_competitor(folder: Path) -> None:
    before = _player_config(load_auditor(f"{folder}/", {}))
    assert before["settings"] == {"scale": 1.0}
    assert before["source"] == folder_digest(folder)
    (folder / "amount.py").write_text("AMOUNT = 0.75\n")
    assert _player_config(load_auditor(f"{folder}/", {}))["source"] != before["source"]


def test_a_folder_plays_in_a_jail_and_what_it_says_there_is_the_same(
    folder: Path, sandbox_at: SandboxAt
) -> None:
    player = load_isolated(f"{folder}/", {"scale": "2"}, sandbox_at("landlock"))
    assert player.name == "half"
    assert _player_config(player)["source"] == folder_digest(folder)
    record = play_round(case(1, truth()), player, seed=1)
    assert (record.status, record.error, record.p_edited) == ("DONE", "", 0.5)


def test_compiled_files_that_no_digest_covers_are_not_run_in_a_jail(
    folder: Path, sandbox_at: SandboxAt
) -> None:
    amount = folder / "amount.py"
    amount.write_text("AMOUNT = 0.75\n")
    py_compile.compile(str(amount), doraise=True)
    seen = amount.stat()
    amount.write_text("AMOUNT = 0.25\n")
    os.utime(amount, ns=(seen.st_atime_ns, seen.st_mtime_ns))  # so that the compiled one looks current
    player = load_isolated(f"{folder}/", {}, sandbox_at("landlock"))
    assert play_round(case(1, truth()), player, seed=1).p_edited == 0.25


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none/", r"auditor none: no such folder; allowed: a folder with auditor.yaml, or file.py@Class"),
        (".", r'auditor \.: holds no "auditor.yaml"; audit-game new writes one'),
        ("half.py@Half", "auditor half.py: no such file"),
    ],
)
def test_a_reference_that_leads_nowhere_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LoadError, match=message):
        load_auditor(name, {})


def test_a_red_strategy_may_be_a_folder_too(tmp_path: Path) -> None:
    (tmp_path / "red.yaml").write_text("name: half\nversion: 0.1.0\napi: 1\nentry: half.py@Half\n")
    (tmp_path / "half.py").write_text(PLAN)
    loaded = load_strategy(f"{tmp_path}/", {})
    assert (loaded.name, loaded.source) == ("half", folder_digest(tmp_path))
    (tmp_path / "table.json").write_text("{}")
    assert load_strategy(f"{tmp_path}/", {}).source != loaded.source
