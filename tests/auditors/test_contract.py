"""What every auditor in the folder keeps to; a new file is tested by existing."""

import hashlib
import inspect
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import auditors
from game.loader import load_auditor
from game.testing import AuditorContract, stage
from models.transformer import Transformer

FOLDER = Path(inspect.getfile(auditors)).parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))


class TestShipped(AuditorContract):
    """Every one of ours, in this process."""

    references = tuple(NAMES)
    jailed = False


def fingerprint(model: Transformer) -> str:
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


def numpy_state() -> Any:
    return np.random.get_state(legacy=False)["state"]["key"].tolist()


def test_the_folder_holds_the_yardsticks_and_players() -> None:
    yardsticks = {name for name in NAMES if load_auditor(name, {}).yardstick}
    assert yardsticks == {"oracle", "prior", "random_guess", "shortcut"}
    assert len(NAMES) > len(yardsticks)


@pytest.mark.parametrize("name", ["oracle", "random_guess"])
def test_the_oracle_and_the_random_guess_judge(name: str) -> None:
    assert stage.play(load_auditor(name, {}), stage.brief(), stage.CHALLENGE).outcome.judgement


@pytest.mark.parametrize("name", NAMES)
def test_it_leaves_the_model_and_the_global_generators_alone(name: str) -> None:
    player, told = load_auditor(name, {}), stage.brief()
    models = stage.edited(told.config), stage.original(told.config)
    before = [fingerprint(model) for model in models]
    states = torch.get_rng_state(), random.getstate(), numpy_state()
    player.auditor.audit(stage.toolbox(player, told), told)
    assert [fingerprint(model) for model in models] == before
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert numpy_state() == states[2]
    assert all(parameter.grad is None for model in models for parameter in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_it_plays_where_nothing_is_charged(name: str) -> None:
    player, told = load_auditor(name, {}), replace(stage.brief(), budget=math.inf)
    report = player.auditor.audit(stage.toolbox(player, told), told)
    assert 0 <= report.p_edited <= 1
