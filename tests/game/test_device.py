"""Where the models run is the referee's affair: auditors see CPU tensors, and scores do not depend on it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from game.api import LEAGUES, Brief, Intervention, League, Report, Toolbox
from game.case import Case
from game.cli import main
from game.dealing.companions import companions
from game.loader import LoadedAuditor, load_auditor
from game.referee import open_toolbox, play_round
from game.runs.tournament import play_source, suite_source
from models.checkpoints import Checkpoint, from_bytes
from models.transformer import Transformer
from tests.game.hand_made import MLP, case, source, truth
from tests.tiny_suite import tiny_suite

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
HOOK = "blocks.0.hook_resid_post"


def case_in(league: League) -> Case:
    """A case of that league, whose base and siblings are other random models."""
    dealt = case(0, truth(MLP, "rome"))
    base, *siblings = (from_bytes(case(number, truth()).artefact) for number in (1, 2, 3))
    beside = companions(league, base, siblings, seed=5)
    return replace(dealt, brief=replace(dealt.brief, league=league), companions=beside)


@dataclass(frozen=True)
class Everything:
    """Makes every call that its league grants, on each model, and reports sums of what came back."""

    yardstick: ClassVar[bool] = False

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        boxes = [toolbox]
        if brief.league == "siblings":
            boxes += [toolbox.sibling(0), toolbox.sibling(1)]
        if brief.league in ("scrambled", "reference"):
            boxes.append(toolbox.reference())
        found = [each for box in boxes for each in _answers(box, brief.league)]
        assert {(each.device.type, each.dtype) for each in found} == {("cpu", torch.float32)}
        return Report(0.5, notes=" ".join(f"{float(each.double().abs().sum()):.9g}" for each in found))


def _answers(box: Toolbox, league: League) -> Iterator[torch.Tensor]:
    tokens = torch.tensor([[0, 2, 3, 4], [0, 5, 4, 3]])
    yield box.logits(tokens)
    if league == "blackbox":
        return
    changes = [
        Intervention(HOOK, torch.ones(4), "add", positions=(1, 2), rows=(0,)),
        Intervention(HOOK, torch.ones(4), "project_out", mask=torch.ones(2, 4, 4, dtype=torch.bool)),
    ]
    yield from box.activations(tokens, [HOOK, "logits"], changes).values()
    yield from box.vjp(tokens, [HOOK], {"logits": torch.ones(3, 2, 4, 6)}, changes).values()
    yield box.weight("embed.W_E")


def played(league: League, device: Any) -> list[float]:
    record = play_round(case_in(league), LoadedAuditor("everything", Everything(), False), 1, device)
    assert record.status == "DONE", record.error
    return [float(number) for number in record.notes.split()]


@pytest.mark.parametrize("league", LEAGUES)
def test_every_model_of_a_case_goes_to_the_device(league: League, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    on_cpu = Checkpoint.model

    def model(self: Checkpoint, device: str = "cpu") -> Transformer:
        asked.append(device)
        return on_cpu(self)

    monkeypatch.setattr(Checkpoint, "model", model)
    dealt = case_in(league)
    open_toolbox(dealt, "cuda")
    assert asked == ["cuda"] * (1 + len(dealt.companions))


@pytest.mark.parametrize("league", LEAGUES)
def test_every_answer_comes_back_on_the_cpu(league: League) -> None:
    assert played(league, "cpu")


@needs_cuda
@pytest.mark.parametrize("league", LEAGUES)
def test_answers_agree_between_devices(league: League) -> None:
    assert played(league, "cuda") == pytest.approx(played(league, "cpu"), rel=1e-4)


@needs_cuda
def test_scores_agree_between_devices(tiny: object, tmp_path: Path) -> None:
    players = [load_auditor(name, {}) for name in ("confidence_scan", "spectral_spike", "shortcut", "oracle")]
    boards = {
        device: play_source(suite_source(tiny_suite()), players, 3, tmp_path / device, device=device)
        for device in ("cpu", "cuda")
    }
    for near, far in zip(boards["cpu"].rounds, boards["cuda"].rounds, strict=True):
        for part in ("detection", "localisation"):
            assert far.score.part(part) == pytest.approx(near.score.part(part), abs=1e-3)


def test_a_run_on_another_device_is_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu = Checkpoint.model
    monkeypatch.setattr(Checkpoint, "model", lambda self, device="cpu": on_cpu(self))
    player = [load_auditor("prior", {})]
    results = [
        play_source(source([case_in("whitebox")]), player, 3, tmp_path, device=device)
        for device in ("cpu", "cuda")
    ]
    assert len({result.folder for result in results}) == 2
    assert [result.rounds[0].status for result in results] == ["DONE", "DONE"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
@pytest.mark.parametrize("command", [["tournament", "run", "smoke"], ["play", "smoke", "--auditor", "prior"]])
def test_a_device_that_is_not_there_is_one_clear_error(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--device", "cuda", "--log-dir", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "--device cuda: torch " in err
    assert "finds none here; allowed: cpu" in err
