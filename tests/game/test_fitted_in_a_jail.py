"""An auditor with a fit says the same in a jail, where it reads its own fit and nobody else's."""

import json
from pathlib import Path

import pytest

from game.auditing.belief import Belief, Fit, Weight
from game.loader import load_auditor
from game.referee import play_round
from game.sandbox.check import reach
from game.sandbox.isolated import load_isolated
from game.sandbox.tiers import JAILS, Tier
from game.sandbox.warden import unavailable
from game.sources import digest_of, files_of
from tests.game.hand_made import MLP, case, truth

FITTED = '''"""Believes what its fit says of one number, and looks around."""

from dataclasses import dataclass
from pathlib import Path

from game.api import Brief, Report, Toolbox
from game.auditing.belief import Fit
from game.auditing.evidence import Evidence


@dataclass(frozen=True)
class Fitted:
    def read(self, toolbox: Toolbox, brief: Brief) -> Evidence:
        norm = float(toolbox.weight("blocks.0.mlp.W_out").norm())
        try:
            notes = Path(__file__).with_name("other.json").read_text()
        except OSError:
            notes = "nothing else"
        return Evidence({c: {"norm": norm} for c in brief.component_prior}, notes=notes)

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        return Fit.beside(__file__).believed(brief, self.read(toolbox, brief))
'''
MANIFEST = """\
name: reader
version: 0.1.0
api: 1
entry: reader.py@Reader
leagues: [whitebox]
needs: []
budget: 0
"""
READER = '''"""Reads what lies in its folder."""

from dataclasses import dataclass
from pathlib import Path

from helper import NAMES

from game.api import Report


def words(name):
    try:
        return (Path(__file__).parent / name / "words.txt").read_text()
    except OSError:
        return "nothing"


@dataclass(frozen=True)
class Reader:
    def audit(self, toolbox, brief):
        return Report(brief.prior, notes=" ".join(map(words, NAMES)))
'''
BELIEF = Belief(0.1, {"norm": Weight(1.0, 0.7, 0.9)}, {}, 0.8, 0.3)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "fitted.py"
    found.write_text(FITTED)
    write(found, BELIEF)
    (tmp_path / "other.json").write_text("another's fit")
    return found


def write(file: Path, belief: Belief) -> None:
    fit = Fit("Fitted", "dev", "0" * 64, 10, {"whitebox": belief})
    file.with_suffix(".json").write_text(json.dumps(fit.to_json()))


@pytest.mark.parametrize("tier", [tier for tier in JAILS if tier != "process"])
def test_a_fit_is_read_in_a_jail_and_no_other_file_beside_it(tier: Tier, file: Path) -> None:
    if reason := unavailable(tier):
        pytest.skip(f"{tier}: {reason}")
    reference, dealt = f"{file}@Fitted", case(0, truth(MLP))
    near = play_round(dealt, load_auditor(reference, {}), 0)
    with reach([tier], [str(each) for each in files_of(file)]) as sandbox:
        far = play_round(dealt, load_isolated(reference, {}, sandbox), 0)
    assert (near.status, far.status) == ("DONE", "DONE")
    assert (far.p_edited, far.components) == (near.p_edited, near.components)
    assert far.p_edited != dealt.brief.prior
    assert (near.notes, far.notes) == ("another's fit", "nothing else")


@pytest.mark.parametrize("tier", [tier for tier in JAILS if tier != "process"])
def test_a_folder_is_read_in_a_jail_as_far_as_its_digest_goes(tier: Tier, tmp_path: Path) -> None:
    """What tools leave behind is not hashed: an auditor that reads it could change and keep its digest."""
    if reason := unavailable(tier):
        pytest.skip(f"{tier}: {reason}")
    folder = tmp_path / "fitted"
    words = {name: folder / name / "words.txt" for name in (".hidden", "__pycache__", "data")}
    for path in words.values():
        path.parent.mkdir(parents=True)
        path.write_text(path.parent.name)
    (folder / "auditor.yaml").write_text(MANIFEST)
    (folder / "helper.py").write_text("NAMES = ('.hidden', '__pycache__', 'data')\n")
    (folder / "reader.py").write_text(READER)
    with reach([tier], [str(folder)]) as sandbox:
        record = play_round(case(0, truth(MLP)), load_isolated(f"{folder}/", {}, sandbox), 0)
    assert (record.status, record.error) == ("DONE", "")
    assert record.notes == "nothing nothing data"


def test_another_fit_is_another_competitor(file: Path) -> None:
    digests = [digest_of(file)]
    write(file, Belief(0.2, {}, {}))
    digests.append(digest_of(file))
    file.with_suffix(".json").unlink()
    digests.append(digest_of(file))
    assert len(set(digests)) == 3
    assert files_of(file) == (file,)


def test_a_team_is_another_competitor_when_a_member_changes() -> None:
    shipped = Path(__file__).resolve().parent.parent.parent / "auditors"
    files = files_of(shipped / "sequential.py")
    assert files[0] == shipped / "sequential.py"
    assert {shipped / "ensemble.py", shipped / "spectral_spike.py"} <= set(files)
    assert shipped / "oracle.py" not in files
