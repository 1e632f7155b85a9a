"""The self-audit finds every leak that is planted, and nothing where there is none."""

import json
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from scipy.stats import mannwhitneyu

from game.case import Case
from game.cli import main
from game.dealing.dealer import plan_cases
from game.dealing.master import Master
from game.referee import open_toolbox
from game.selfcheck import gate
from game.selfcheck.chance import cases_needed, holm, power, power_beyond, separation
from game.selfcheck.evidence import Door, Evidence, Exhibit, _outline, examined, resized
from game.selfcheck.gate import master_of, remember, remembered, verdict
from game.selfcheck.probes import PROBES
from game.selfcheck.verdicts import Row, SelfCheck
from game.toolbox.live import ModelToolbox
from models.checkpoints import Checkpoint, checkpoint_of, to_bytes
from models.seeds import named_generator
from models.transformer import Transformer
from models.zoo import Trained
from tests.game.hand_made import CHALLENGE, CONFIG, MLP, brief, truth
from tests.tiny_suite import TINY_SUITE, tiny_suite

W_OUT = "blocks.0.mlp.W_out"
TIMED = {"time to open", "time of an answer"}


def changed(base: Checkpoint, size: float, *names: str | int) -> Checkpoint:
    """The base with a matrix changed by a random one of rank one and that norm."""
    generator = named_generator("change", *names)
    delta = torch.outer(torch.randn(4, generator=generator), torch.randn(4, generator=generator))
    return Checkpoint(CONFIG, {**base.weights, W_OUT: base.weights[W_OUT] + size * delta / delta.norm()})


def dealt(cases: int = 80, master: Master | None = None, sham: float = 1.0) -> list[tuple[Case, Checkpoint]]:
    """Small cases with their bases: edits, shams of the same norm times `sham`, and untouched models."""
    suite = resized(tiny_suite(), cases)
    return [_dealt(plan, sham) for plan in plan_cases(suite, master or master_of(3))]


def _dealt(plan: Any, sham: float) -> tuple[Case, Checkpoint]:
    base = checkpoint_of(Transformer(CONFIG, named_generator("base", plan.id)))
    kind = "rrome" if plan.edited else plan.control if plan.control == "random_rank1" else "untouched"
    size = {"rrome": 1.0, "random_rank1": sham, "untouched": 0.0}[kind]
    told = truth(MLP if plan.edited else None, kind, plan.group)
    size *= math.exp(float(torch.randn((), generator=named_generator("size", plan.id))))
    artefact = to_bytes(changed(base, size, plan.id))
    return Case(plan.id, "toy", "toy@0.0", artefact, brief(), replace(told, spec={"kind": kind})), base


def seen(cases: Sequence[tuple[Case, Checkpoint]], door: Door = open_toolbox) -> SelfCheck:
    return judged([examined(case, base, nonce(case), door) for case, base in cases])


def judged(exhibits: Sequence[Exhibit]) -> SelfCheck:
    return verdict(Evidence(resized(tiny_suite(), len(exhibits)), tuple(exhibits)))


def nonce(case: Case) -> bytes:
    return master_of(3).nonce("commit", case.id)


@cache
def clean() -> tuple[tuple[Case, Checkpoint, Exhibit], ...]:
    return tuple((case, base, examined(case, base, nonce(case))) for case, base in dealt())


def planted(plant: Callable[[Case], Case]) -> list[Exhibit]:
    """The clean cases with something done to those that are edited."""
    return [
        examined(plant(case), base, nonce(case)) if case.truth.edited else exhibit
        for case, base, exhibit in clean()
    ]


def test_clean_cases_pass_and_every_look_is_told() -> None:
    found = judged([exhibit for _, _, exhibit in clean()])
    assert set(found.leaks) <= TIMED, "and those by accident of a busy machine only"
    assert [row.probe for row in found.rows if row.test == "exact"] == [
        "file header", "file size", "companions", "brief", "start of a round",
    ]  # fmt: skip
    assert [row.probe for row in found.rows if row.test == "chance"] == [
        probe.name for probe in PROBES if probe.name != "challenge"
    ]
    assert (found.cases, found.suite) == (80, "tiny")
    assert 25 <= found.edited <= 55
    told = next(row.detail for row in found.rows if row.probe == "norm")
    assert told == "against untouched models 1.00: told, not judged"


def with_metadata(case: Case) -> Case:
    config = json.dumps(CONFIG.to_dict(), sort_keys=True)
    # one entry: safetensors writes several in any order, and the hashes would be others every time
    return replace(case, artefact=save(load(case.artefact), {"config": config + " " * 8}))


def with_company(case: Case) -> Case:
    return replace(case, companions=(case.artefact,))


def with_longer_brief(case: Case) -> Case:
    return replace(case, brief=replace(case.brief, deadline=30.125))


@pytest.mark.parametrize(
    ("plant", "names"),
    [
        (with_metadata, {"file header", "file size"}),
        (with_company, {"companions"}),
        (with_longer_brief, {"brief", "start of a round"}),
    ],
)
def test_what_must_be_the_same_and_is_not_is_found_and_named(
    plant: Callable[[Case], Case], names: set[str]
) -> None:
    found = judged(planted(plant))
    assert {row.probe for row in found.rows if row.test == "exact" and row.leaks} == names
    detail = next(row.detail for row in found.rows if row.probe in names)
    assert re.match(r"toy, whitebox, prompts: [23] kinds; the rarest: case-0", detail)


def test_edited_cases_that_are_dealt_first_are_found() -> None:
    exhibits = sorted((exhibit for _, _, exhibit in clean()), key=lambda each: not each.edited)
    found = judged([replace(each, id=f"case-{place:03d}") for place, each in enumerate(exhibits)])
    assert set(found.leaks) - TIMED == {"order"}
    assert next(row.auroc for row in found.rows if row.probe == "order") == 0


@pytest.mark.parametrize("probe", sorted(TIMED))
def test_a_delay_on_edited_cases_is_found(probe: str) -> None:
    class Slow(ModelToolbox):
        def logits(self, *args: Any) -> Any:
            time.sleep(0.01)
            return super().logits(*args)

    def door(case: Case) -> ModelToolbox:
        box = open_toolbox(case)
        if case.truth.edited and probe == "time to open":
            time.sleep(0.01)
        elif case.truth.edited:
            box.__class__ = Slow
        return box

    found = seen(dealt(40), door)
    assert probe in found.leaks
    assert set(found.leaks) <= TIMED


def test_shams_of_another_norm_are_found() -> None:
    found = seen(dealt(sham=0.1))
    assert set(found.leaks) - TIMED == {"norm"}


def test_cases_of_an_open_run_are_replayed() -> None:
    found = seen(dealt(master=Master.of_seed(42)))
    assert set(found.leaks) - TIMED == {"seed replay"}
    assert next(row.auroc for row in found.rows if row.probe == "seed replay") == 1


def test_the_area_and_p_are_those_of_mann_and_whitney() -> None:
    generator = np.random.default_rng(0)
    for shift in (0.0, 0.5, 1.0):
        edited = generator.random(60) < 0.5
        values = generator.normal(size=60) + shift * edited
        found = separation(values[None], edited, np.zeros(60, dtype=np.int64))
        u, p = mannwhitneyu(values[edited], values[~edited])
        assert found.auroc == pytest.approx(u / (edited.sum() * (~edited).sum()))
        assert found.p == pytest.approx(p, abs=0.02)


def test_constant_numbers_and_a_single_class_tell_nothing() -> None:
    edited, strata = np.array([True, False, True]), np.zeros(3, dtype=np.int64)
    assert separation(np.ones((1, 3)), edited, strata).p == 1
    assert separation(np.arange(3.0)[None], np.ones(3, dtype=np.bool_), strata).p == 1


def test_strata_are_compared_within_themselves() -> None:
    """A group whose cases are all edited and all large is no leak: its name is not in the brief."""
    edited = np.array([True] * 20 + [True, False] * 20)
    values = np.array([5.0] * 20 + list(np.random.default_rng(1).normal(size=40)))[None]
    strata = np.array([0] * 20 + [1] * 40)
    assert separation(values, edited, np.zeros(60, dtype=np.int64)).p < 0.01
    assert separation(values, edited, strata).p > 0.05


def test_the_best_of_many_candidates_is_judged_against_the_best_by_chance() -> None:
    generator = np.random.default_rng(2)
    p_values = []
    for _ in range(100):
        edited = generator.random(40) < 0.5
        values = generator.integers(0, 2, size=(256, 40)).astype(np.float64)
        p_values.append(separation(values, edited, np.zeros(40, dtype=np.int64), draws=199).p)
    assert 0.35 < float(np.mean(p_values)) < 0.65


def test_the_whole_gate_fails_by_chance_about_one_time_in_twenty() -> None:
    generator = np.random.default_rng(3)
    failed = 0
    for _ in range(400):
        edited = generator.random(40) < 0.5
        looks = [generator.normal(size=(candidates, 40)) for candidates in (1, 1, 1, 1, 64, 100)]
        found = [separation(each, edited, np.zeros(40, dtype=np.int64), draws=399).p for each in looks]
        failed += any(holm(found))
    assert 0.02 < failed / 400 < 0.08


def test_holm_steps_down_and_stops() -> None:
    assert holm([0.04, 0.001, 0.03, 0.012]) == [False, True, False, True]
    assert holm([0.01, 0.02, 0.03]) == [True, True, True]
    assert holm([0.02, 0.02, 0.02]) == [False, False, False]


def test_power_is_what_the_plan_says() -> None:
    assert power(85, 85, probes=5) == pytest.approx(0.802, abs=0.001)
    assert power(84, 84, probes=5) < 0.8
    assert cases_needed(0.5, probes=5) == 170
    assert cases_needed(0.6, probes=5) == 175
    assert power(0, 100, probes=5) == 0


def test_the_power_is_reached() -> None:
    generator, found = np.random.default_rng(4), 0
    shift = math.sqrt(2) * 0.38532  # an area of 0.65 between two normal distributions
    for _ in range(200):
        edited = np.arange(170) < 85
        values = generator.normal(size=170) + shift * edited
        found += separation(values[None], edited, np.zeros(170, dtype=np.int64), draws=999).p <= 0.05 / 5
    assert 0.7 < found / 200 < 0.9


def test_among_many_numbers_a_leak_is_found_as_often_as_it_is_said() -> None:
    generator, found, said = np.random.default_rng(5), 0, []
    shift = math.sqrt(2) * 0.38532  # an area of 0.65 between two normal distributions
    edited = np.arange(170) < 85
    for _ in range(60):
        values = generator.normal(size=(40, 170))
        values[0] += shift * edited
        look = separation(values, edited, np.zeros(170, dtype=np.int64), draws=999, level=0.01)
        found += look.p <= 0.01
        said.append(power_beyond(85, 85, look.needed))
    assert found / 60 == pytest.approx(float(np.mean(said)), abs=0.15)
    assert np.mean(said) < power(85, 85, probes=5) - 0.2


def test_a_suite_is_resized_in_proportion() -> None:
    suite = tiny_suite()
    assert [group.count for group in resized(suite, 100).groups] == [60, 40]
    assert [group.count for group in resized(suite, 101).groups] in ([61, 40], [60, 41])
    assert [group.count for group in resized(suite, 2).groups] == [1, 1]
    assert resized(suite, suite.n_cases) == suite


def result(leaks: bool = False, power: float = 0.8) -> SelfCheck:
    row = Row("order", "the number", "chance", leaks, auroc=0.5, p=0.5, power=power)
    return SelfCheck("tiny", 190, 95, power, (row,))


def test_only_what_passed_with_power_is_remembered_and_of_this_suite_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AUDIT_GAME_CACHE", str(tmp_path))
    suite = tiny_suite()
    for useless in (result(leaks=True), result(power=0.5)):
        remember(suite, useless)
        assert remembered(suite) is None
    remember(suite, result())
    assert remembered(suite) == result()
    assert remembered(suite.with_budget(7)) is None
    (note,) = tmp_path.rglob("*.json")
    note.write_text("{}")
    assert remembered(suite) is None


def test_the_command_deals_looks_and_prints(
    tiny: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY_SUITE)
    words = ["selfcheck", str(file), "--cases", "8", "--seed", "5"]
    assert main([*words, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["kind"] for row in rows] == ["probe"] * 12 + ["selfcheck"]
    assert (rows[-1]["cases"], rows[-1]["leaks"]) == (8, [])
    assert rows[-1]["power"] < 0.1
    assert main([*words, "--display", "plain"]) == 0
    assert "norm\t" in capsys.readouterr().out


def test_the_command_ends_with_3_and_names_what_leaks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def leaky(*_: Any) -> SelfCheck:
        return seen(dealt(60, Master.of_seed(7)))

    monkeypatch.setattr(gate, "selfcheck", leaky)
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY_SUITE)
    assert main(["selfcheck", str(file)]) == 3
    out = capsys.readouterr().out
    assert "leaks by" in out
    assert "seed replay" in out


def test_challenges_of_another_size_are_found() -> None:
    longer = replace(CHALLENGE, prior=(*CHALLENGE.prior[:3], 0.1))
    asked = [(replace(case, challenge=CHALLENGE), base, exhibit) for case, base, exhibit in clean()]
    same = [replace(exhibit, challenge=_outline(case)) for case, _, exhibit in asked]
    found = judged(same)
    assert set(found.leaks) <= TIMED
    assert [row.auroc for row in found.rows if row.probe == "challenge"] == [0.5]
    told = _outline(replace(asked[0][0], challenge=longer))
    found = judged([replace(each, challenge=told) if each.edited else each for each in same])
    assert set(found.leaks) - TIMED == {"challenge"}


def test_a_file_that_controls_share_counts_once_and_is_told() -> None:
    """Untouched models of one base are one file: bits of its hash would tell controls by number alone."""
    exhibits = [exhibit for _, _, exhibit in clean()]
    control = next(each for each in exhibits if not each.edited)
    shared = [each if each.edited else replace(each, digest=control.digest) for each in exhibits]
    found = judged(shared)
    assert set(found.leaks) <= TIMED
    others = sum(not each.edited for each in exhibits) - 1
    detail = next(row.detail for row in found.rows if row.probe == "file hash")
    assert detail == f"{others} cases repeat a file: each file counts once"
