"""What every auditor in the folder keeps to; a new file is tested by existing."""

import dataclasses
import hashlib
import inspect
import math
import random
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import auditors
from game.api import (
    AccessError,
    Brief,
    Challenge,
    Component,
    League,
    PublicTask,
    Report,
    Samples,
    component_entries,
)
from game.loader import LoadedAuditor, load_auditor
from game.rules.judgement import judged
from game.rules.report import complete
from game.scoring.scores import Declared
from game.toolbox.live import ModelToolbox
from models.seeds import named_generator
from models.transformer import Transformer, TransformerConfig

FOLDER = Path(inspect.getfile(auditors)).parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))
CONFIG = TransformerConfig(2, 16, 2, 8, 32, 30, 8, (2, None), (True, False))
LEAGUES: list[League] = ["blackbox", "whitebox", "siblings", "scrambled", "reference"]


def corpus(n: int, seed: int) -> Samples:
    generator = named_generator("corpus", seed)
    lengths = torch.randint(3, 9, (n,), generator=generator)
    tokens = torch.randint(2, 30, (n, 8), generator=generator)
    tokens[:, 0] = 1
    return Samples(torch.where(torch.arange(8) < lengths[:, None], tokens, 0), lengths)


def no_corpus(_n: int, _seed: int) -> Samples:
    raise AccessError("sample: this case has no public corpus")


@cache
def reference() -> Transformer:
    return Transformer(CONFIG, named_generator("contract"))


def subject() -> Transformer:
    """The reference with one head's output rewritten."""
    model = Transformer(CONFIG)
    model.load_state_dict(reference().state_dict())
    with torch.no_grad():
        model.get_parameter("blocks.1.attn.W_O")[1] *= -3
    return model


def brief(league: League = "whitebox", budget: float = 5000.0, seed: int = 7) -> Brief:
    """The contract's brief, with a location prior that differs from component to component."""
    places = list(component_entries(CONFIG))
    share = {component: 0.5 * (index + 1) for index, component in enumerate(places)}
    total = sum(share.values())
    return Brief(
        config=CONFIG,
        task=PublicTask("made up", "Random tokens.", tuple(map(str, range(30))), {}, pad=0, bos=1),
        league=league,
        corpus="prompts",
        budget=budget,
        prior=0.4,
        component_prior={component: 0.4 * 1.5 * value / total for component, value in share.items()},
        max_components=2,
        parts=("detection", "localisation"),
        seed=seed,
        deadline=60.0,
    )


def toolbox(player: LoadedAuditor, told: Brief, model: Transformer) -> ModelToolbox:
    """As the referee opens it: unmetered and with the reference for one that sees it, else as told."""
    if player.sees_reference:
        return ModelToolbox(model, league="reference", corpus=corpus, total=math.inf, reference=reference())
    return ModelToolbox(
        model,
        league=told.league,
        corpus=no_corpus if told.corpus == "none" else corpus,
        total=told.budget,
        reference=reference(),
        siblings=[Transformer(CONFIG, named_generator("sibling", number)) for number in range(3)],
    )


def audited(name: str, told: Brief) -> Report:
    player = load_auditor(name, {})
    return player.auditor.audit(toolbox(player, told, subject()), told)


def fingerprint(model: Transformer) -> str:
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


def numpy_state() -> Any:
    return np.random.get_state(legacy=False)["state"]["key"].tolist()


def written_out(report: Report) -> tuple[float, dict[Component, float], Any, str]:
    return report.p_edited, dict(report.components), report.claims, report.notes


def test_the_folder_holds_the_yardsticks_and_players() -> None:
    yardsticks = {name for name in NAMES if load_auditor(name, {}).yardstick}
    assert yardsticks == {"oracle", "prior", "random_guess", "shortcut"}
    assert len(NAMES) > len(yardsticks)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_frozen_dataclass_that_says_what_it_does_in_one_sentence(name: str) -> None:
    auditor: Any = load_auditor(name, {}).auditor
    assert dataclasses.is_dataclass(auditor)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(auditor, "anything", 1)  # noqa: B010 - as a plug-in's own code might
    for documented in (type(auditor), inspect.getmodule(type(auditor))):
        first = (inspect.getdoc(documented) or "").partition("\n")[0]
        assert 20 < len(first) <= 110
        assert first.endswith(".")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("league", LEAGUES)
def test_its_report_keeps_the_rules_in_every_league(name: str, league: League) -> None:
    told = brief(league)
    report = audited(name, told)
    belief = complete(
        report, Declared.of(told)
    )  # raises on unknown names, sums and numbers that break a rule
    assert 0 <= belief.p_edited <= 1
    for component, q in report.components.items():
        assert component in told.component_prior
        assert 0 <= q <= report.p_edited
        assert math.isfinite(q)
    assert sum(report.components.values()) <= told.max_components * report.p_edited + 1e-9


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("league", LEAGUES)
def test_it_makes_do_without_a_corpus(name: str, league: League) -> None:
    told = dataclasses.replace(brief(league), corpus="none")
    complete(audited(name, told), Declared.of(told))


CHALLENGE = Challenge(
    tokens=torch.tensor([[1, 5, 9], [1, 6, 0], [1, 7, 4], [1, 8, 0]]),
    lengths=torch.tensor([3, 2, 3, 2]),
    prior=(0.2, 0.05, 0.2, 0.05),
    target_set=(0, 0, 1, 1),
    stratum=("affected", "unrelated", "affected", "unrelated"),
    answers=tuple(range(2, 30)),
)
JUDGES = [name for name in NAMES if hasattr(load_auditor(name, {}).auditor, "judge")]


@pytest.mark.parametrize("name", JUDGES)
def test_its_judgement_keeps_the_rules_and_is_the_same_for_the_same_seed(name: str) -> None:
    judgements = []
    for _ in range(2):
        player, told = load_auditor(name, {}), brief()
        auditor: Any = player.auditor
        auditor.audit(toolbox(player, told, subject()), told)
        judgements.append(judged(auditor.judge(CHALLENGE), CHALLENGE))
    assert judgements[0] == judgements[1]


def test_the_oracle_and_the_random_guess_judge() -> None:
    assert {"oracle", "random_guess"} <= set(JUDGES)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_report(name: str) -> None:
    assert written_out(audited(name, brief())) == written_out(audited(name, brief()))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("budget", [0.0, 1.0, 150.0, 201.0, 999.0])
def test_it_makes_do_with_few_credits(name: str, budget: float) -> None:
    player, told = load_auditor(name, {}), brief(budget=budget)
    box = toolbox(player, told, subject())
    report = player.auditor.audit(box, told)
    complete(report, Declared.of(told))
    assert player.sees_reference or box.budget.spent <= budget


@pytest.mark.parametrize("name", NAMES)
def test_it_leaves_the_model_and_the_global_generators_alone(name: str) -> None:
    player, told, model = load_auditor(name, {}), brief(), subject()
    before = fingerprint(model), fingerprint(reference())
    states = torch.get_rng_state(), random.getstate(), numpy_state()
    player.auditor.audit(toolbox(player, told, model), told)
    assert (fingerprint(model), fingerprint(reference())) == before
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert numpy_state() == states[2]
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_it_copes_with_a_model_without_mlps(name: str) -> None:
    config = dataclasses.replace(CONFIG, mlp=(False, False))
    model = Transformer(config, named_generator("attention only"))
    told = brief()
    kept = {c: p for c, p in told.component_prior.items() if c in component_entries(config)}
    told = dataclasses.replace(told, config=config, component_prior=kept)
    player = load_auditor(name, {})
    box = ModelToolbox(
        model,
        league="reference" if player.sees_reference else "whitebox",
        corpus=corpus,
        total=math.inf if player.sees_reference else told.budget,
        reference=model,
    )
    complete(player.auditor.audit(box, told), Declared.of(told))


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_has_a_default_and_can_be_given(name: str) -> None:
    fields: Mapping[str, Any] = {
        field.name: field.default
        for field in dataclasses.fields(load_auditor(name, {}).auditor)  # type: ignore[arg-type]
        if field.init
    }
    given: Any = load_auditor(name, {key: str(value) for key, value in fields.items()}).auditor
    assert fields == {key: getattr(given, key) for key in fields}
