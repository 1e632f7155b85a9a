import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from edits.moments import Base
from game.cli import main
from models.recipe import named_recipe, recipe_names
from models.zoo import Trained, trained
from tests.game.test_cli import outcome, refusal
from tests.tiny_world import TINY

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples"
CONFIG = "\n".join(
    line for line in TINY.replace("facts-tiny", "mine", 1).splitlines() if "training:" not in line
)
SUITE = """\
version: 1
name: mine
title: Cut heads of a model from elsewhere
prior: 0.5
budget: 5000
score: [detection, localisation]
bases: [{recipe: my-days, checkpoints: 1}]
groups:
  - name: heads
    count: 3
    edit: {kind: head_ablate}
    sites: {my-days: ["blocks.0.attn.*", "blocks.1.attn.*"]}
    controls: [untouched, random_rank1]
"""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of its own."""
    monkeypatch.setenv("AUDIT_GAME_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def write(state: Mapping[str, Tensor], config: str = CONFIG) -> list[str]:
    """The words of the command that imports these weights with this config."""
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, "weights.safetensors")
    Path("config.yaml").write_text(config)
    return ["import", "weights.safetensors", "--config", "config.yaml"]


def test_weights_come_back_as_they_went(
    data: Path, tiny: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    buffers = {"blocks.0.attn.mask": torch.ones(45, 45), "blocks.0.attn.IGNORE": torch.tensor(-1e5)}
    assert main([*write({**tiny.checkpoint.weights, **buffers}), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["name"], told["sha256"]) == ("mine@0.0", tiny.checkpoint.hash)
    assert told["metrics"] == pytest.approx(tiny.metrics)
    assert trained(named_recipe("mine"), 0, 0).checkpoint.hash == tiny.checkpoint.hash
    assert main(["list", "recipes", "--display", "plain"]) == 0
    assert "mine\timported\t" in capsys.readouterr().out


def test_other_precisions_become_float32(data: Path, tiny: Trained) -> None:
    assert main([*write({name: weight.double() for name, weight in tiny.checkpoint.weights.items()})]) == 0
    assert trained(named_recipe("mine"), 0, 0).checkpoint.hash == tiny.checkpoint.hash


def test_every_tensor_that_does_not_fit_is_told_and_nothing_is_kept(
    data: Path, tiny: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    state = dict(tiny.checkpoint.weights)
    del state["blocks.1.mlp.b_in"]
    state["blocks.0.attn.W_Q"] = state["blocks.0.attn.W_Q"][:, :, :3]
    state["blocks.9.attn.W_Q"] = torch.zeros(2)
    state["unembed.b_U"] = state["unembed.b_U"] * torch.nan
    assert outcome(*write(state)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    for line, name in zip(
        sorted(line.partition("error: ")[2] for line in lines),
        ["blocks.0.attn.W_Q", "blocks.1.mlp.b_in", "blocks.9.attn.W_Q", "unembed.b_U"],
        strict=True,
    ):
        assert line.startswith(name)
    assert not data.exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("n_heads: 2", "n_heads: 4", r"blocks.0.attn.W_Q: got [2, 48, 24], wanted [4, 48, 24]"),
        ("kind: facts", "kind: fcats", 'unknown task "fcats"'),
        ("d_model: 48", "d_model: 48\n  n_ctx: 8", "n_ctx: got 8, but the task's sequences have"),
        ("window: [2", "window: [0", "window: got (0, 2, None, None)"),
        ("name: mine", "name: facts-small", '"facts-small" is a shipped recipe'),
        ("known: 0.95", "known: {max: 0.1}", "criterion.known: these weights reach "),
        ("version: 1", "version: 1\ncontinues: facts-tiny", "continues: is not for an imported model"),
    ],
)
def test_a_config_that_does_not_fit_is_told(
    old: str, new: str, message: str, data: Path, tiny: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcome(*write(tiny.checkpoint.weights, CONFIG.replace(old, new))) == 2
    assert message in capsys.readouterr().err
    assert not data.exists()


def test_a_name_stands_for_one_model(data: Path, tiny: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    words = write(tiny.checkpoint.weights)
    assert main(words) == 0
    assert main(words) == 0, "the same once more is no fault"
    other = {
        name: weight + (name == "unembed.b_U") * 1e-3 for name, weight in tiny.checkpoint.weights.items()
    }
    capsys.readouterr()
    assert '"mine" is imported already' in refusal(capsys, *write(other))


def test_what_is_no_safetensors_is_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("weights.pt").write_bytes(b"\x80\x02}q\x00.")
    Path("config.yaml").write_text(CONFIG)
    told = refusal(capsys, "import", "weights.pt", "--config", "config.yaml")
    assert "weights.pt: is not safetensors" in told
    assert "save_file" in told
    told = refusal(capsys, "import", "nowhere", "--config", "config.yaml")
    assert "nowhere: cannot be read: No such file" in told


def test_edits_and_audits_run_on_a_model_with_a_task_file_of_its_own(
    data: Path, weekdays: Base, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (EXAMPLE / "weekdays.yaml").read_text().replace("name: weekdays", "name: my-days")
    shutil.copy(EXAMPLE / "weekdays.py", "weekdays.py")
    words = write(weekdays.checkpoint.weights, text)
    assert main(words) == 0
    Path("weekdays.py").unlink()
    assert "my-days" in recipe_names()
    Path("suite.yaml").write_text(SUITE)
    capsys.readouterr()
    assert main(["play", "suite.yaml", "--auditor", "confidence_scan", "--json"]) == 0
    rounds = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sum(line.get("kind") == "round" for line in rounds) >= 3


def test_a_suite_asks_for_the_one_checkpoint_there_is(
    data: Path, weekdays: Base, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(EXAMPLE / "weekdays.py", "weekdays.py")
    text = (EXAMPLE / "weekdays.yaml").read_text().replace("name: weekdays", "name: my-days")
    untrained = "\n".join(line for line in text.splitlines() if "training:" not in line)
    assert main(write(weekdays.checkpoint.weights, untrained)) == 0
    capsys.readouterr()
    Path("two.yaml").write_text(SUITE.replace("checkpoints: 1", "checkpoints: 2"))
    assert outcome("validate", "two.yaml") == 2
    assert "two.yaml:7:9: bases.0: my-days is imported and has one checkpoint" in capsys.readouterr().out
    Path("benign.yaml").write_text(SUITE.replace("random_rank1", "benign_finetune"))
    assert outcome("validate", "benign.yaml") == 2
    assert "but recipe my-days says nothing about training" in capsys.readouterr().out
