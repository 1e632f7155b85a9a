"""Beliefs are fitted to labelled practice cases, judged on bases left out, and never bolder than that."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import check_grad

from game.api import Component
from game.auditing.belief import Fit
from game.auditing.evidence import Evidence
from game.cli import main
from game.fitting import logit
from game.fitting.choice import SHARPEST, Calibration, folds_of
from game.fitting.fit import Fitted, fit_of
from game.fitting.practice import Practice
from game.fitting.readings import Reader, Reading, ReadingError, as_dealt
from game.loader import load_auditor
from models.seeds import named_seed
from tests.game.hand_made import brief
from tests.tiny_suite import TINY_SUITE, facts_only, tiny_suite

PLACES = [Component("mlp", layer) for layer in range(6)]
PRIOR = dict.fromkeys(PLACES, 1 / 6)

PEEK = '''"""Reads the largest entry of each component's weights; a reader for tests."""

from dataclasses import dataclass

from game.api import Brief, Report, Toolbox, component_entries
from game.auditing.belief import Fit
from game.auditing.evidence import Evidence


@dataclass(frozen=True)
class Peek:
    """Large entries."""

    def read(self, toolbox: Toolbox, brief: Brief) -> Evidence:
        places = {}
        for component, entries in component_entries(brief.config).items():
            parts = [each.of({each.tensor: toolbox.weight(each.tensor)}) for each in entries]
            places[component] = {"largest": max(float(part.abs().max()) for part in parts)}
        return Evidence(places)

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        return Fit.beside(__file__).believed(brief, self.read(toolbox, brief))
'''


def practised(signal: float, cases: int = 240, league: str = "whitebox", purpose: str = "a") -> list[Reading]:
    """Readings whose log-odds of *edited here* are `signal` for each deviation of the number `z`.

    Where an edit wrote, `z` has mean `signal`, elsewhere 0, with deviation 1; so the exact log-odds of a
    place are `signal * z - signal ** 2 / 2`.
    """
    random = np.random.default_rng(named_seed("practised", purpose))
    found = []
    for number in range(cases):
        edited = random.random() < 0.5
        written = PLACES[random.integers(len(PLACES))]
        z = {place: random.normal() + signal * (edited and place == written) for place in PLACES}
        evidence = Evidence({place: {"z": value, "noise": random.normal()} for place, value in z.items()})
        truth = frozenset({written} if edited else ())
        found.append(Reading(league, "toy", f"toy@{number % 8}.0", 0.5, PRIOR, truth, evidence))
    return found


def fitted(readings: list[Reading]) -> tuple[Fit, Fitted]:
    fit, rows = fit_of("peek", tiny_suite(), readings)
    return fit, rows[0]


def test_the_gradient_is_that_of_the_loss() -> None:
    readings = practised(2.0, 20)
    readings = [
        replace(each, evidence=replace(each.evidence, whole={"kl": i % 3})) for i, each in enumerate(readings)
    ]
    scales = logit.Scales.of(readings)
    table = logit.Table.of(readings, scales)
    weights = np.random.default_rng(0).normal(size=1 + scales.columns)

    def loss(weights: logit.Array) -> float:
        return float(logit.losses(table, logit.said(table, weights)).mean())

    def gradient(weights: logit.Array) -> logit.Array:
        return logit.gradient(table, logit.said(table, weights))

    assert check_grad(loss, gradient, weights) < 1e-5


def test_what_is_fitted_nears_the_exact_log_odds() -> None:
    fit, row = fitted(practised(3.0, 1200))
    assert row.belief is not None
    z = row.belief.places["z"]
    worth = [z.worth(value) for value in (0.0, 1.0, 2.0, 3.0)]
    slopes = np.diff(worth)
    assert slopes == pytest.approx([3.0, 3.0, 3.0], abs=1.0)
    assert abs(row.belief.places["noise"].weight) < 0.3
    assert row.auroc > 0.9
    assert row.hit > 0.85 > 0.2 > row.prior_hit
    assert row.error < 0.06
    assert fit.believed(brief(), Evidence()).p_edited == brief().prior


def test_a_fit_says_what_the_arrays_said() -> None:
    """The belief that is kept and the arrays that it was fitted in are the same function."""
    readings = practised(2.0)
    scales = logit.Scales.of(readings)
    table = logit.Table.of(readings, scales)
    weights = logit.fitted(table, 0.1)
    found = logit.said(table, weights)
    belief = logit.belief_of(scales, weights, 1.0, 0.0)
    for number, reading in enumerate(readings[:20]):
        asked = replace(brief(), prior=0.5, component_prior={place: p / 2 for place, p in PRIOR.items()})
        report = belief.report(asked, reading.evidence)
        assert report.p_edited == pytest.approx(1 / (1 + math.exp(-found.raw[number])), abs=2e-3)
        shares = [report.components[place] / report.p_edited for place in PLACES]
        assert shares == pytest.approx(found.shares[table.cases == number].tolist(), abs=2e-3)


def test_how_many_edits_were_dealt_is_no_evidence() -> None:
    """Of one task's cases nearly all are edits, of the other's nearly none, and a number tells the task."""
    readings = [
        replace(each, task=task, evidence=replace(each.evidence, whole={"task": float(task == "many")}))
        for task in ("many", "few")
        for number, each in enumerate(practised(1.0, 200, purpose=task))
        if each.edited == (task == "many") or number % 10 == 0
    ]
    dealt = {each.task: each.prior for each in as_dealt(readings)}
    assert dealt["many"] > 0.85
    assert dealt["few"] < 0.15
    fit, _ = fit_of("peek", tiny_suite(), readings)
    asked = replace(brief(), league="whitebox")
    for task in (0.0, 1.0):
        usual = Evidence({place: {"z": 0.5, "noise": 0.0} for place in PLACES}, {"task": task})
        assert abs(fit.believed(asked, usual).p_edited - asked.prior) < 0.15


def test_noise_leaves_the_prior() -> None:
    for purpose in "abcd":
        fit, row = fitted(practised(0.0, purpose=purpose))
        report = fit.believed(
            replace(brief(), league="whitebox"), Evidence({PLACES[0]: {"z": 3.0, "noise": -3.0}})
        )
        assert abs(report.p_edited - brief().prior) < 0.12
        assert row.loss > row.prior_loss - 0.02


def test_the_same_readings_give_the_same_file() -> None:
    one, other = (fit_of("peek", tiny_suite(), practised(2.0))[0] for _ in range(2))
    assert one.beliefs
    assert json.dumps(one.to_json()) == json.dumps(other.to_json())
    assert Fit.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_a_league_of_few_cases_learns_from_the_others() -> None:
    readings = practised(3.0) + practised(3.0, 26, "siblings", "b")
    fit, rows = fit_of("peek", tiny_suite(), readings)
    siblings = next(row for row in rows if row.name == "siblings")
    assert siblings.fitted_to == len(readings)
    assert set(fit.beliefs) == {"whitebox", "siblings"}


def test_a_league_where_nothing_is_read_has_no_belief() -> None:
    blind = [replace(each, league="blackbox", evidence=Evidence()) for each in practised(3.0)]
    fit, rows = fit_of("peek", tiny_suite(), blind)
    assert (fit.beliefs, rows) == ({}, ())


def test_calibration_flattens_what_is_too_sure_and_sharpens_within_bounds() -> None:
    raw = np.linspace(-4, 4, 200)
    odds, edited = np.zeros(200), (raw > 0).astype(float)
    assert Calibration.of(3 * raw, odds, edited).sharpness <= SHARPEST
    assert Calibration.of(raw, odds, edited) == (SHARPEST, 0.0)
    assert Calibration.of(raw, odds, 1 - edited) == (0.0, 0.0)
    random = np.random.default_rng(0)
    doubted = Calibration.of(raw, odds, (random.random(200) < 1 / (1 + np.exp(-raw / 4))).astype(float))
    assert doubted.sharpness == pytest.approx(0.25, abs=0.15)


def test_no_base_is_on_both_sides() -> None:
    readings = practised(1.0)
    folds = folds_of(readings)
    for base in {each.base for each in readings}:
        assert len({fold for fold, each in zip(folds, readings, strict=True) if each.base == base}) == 1


@pytest.fixture
def peek(tmp_path: Path) -> Path:
    file = tmp_path / "peek.py"
    file.write_text(PEEK)
    return file


def practice() -> Practice:
    return Practice(facts_only(), 3)


def test_a_case_is_dealt_and_read_once(peek: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    player = load_auditor(f"{peek}@Peek", {})
    once = practice()
    first = [Reader(player, once).reading(case_id) for case_id in once.ids]
    dealt: list[str] = []
    again = Practice(facts_only(), 3, dealt.append)
    assert [Reader(player, again).reading(case_id) for case_id in again.ids] == first
    assert dealt == []
    monkeypatch.setattr("game.fitting.readings.read_in_process", lambda *_: 1 / 0)
    assert Reader(player, again).reading(again.ids[0]) == first[0]
    peek.write_text(PEEK.replace("max(float", "min(float"))
    other = load_auditor(f"{peek}@Peek", {})
    with pytest.raises(ReadingError, match=r"auditor Peek: case-\d+: read: ZeroDivisionError"):
        Reader(other, again).reading(again.ids[0])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        # what `read` returns                                         what is said of it
        ("Evidence({component: {'z': float('nan')}})", r"embed\.z: got nan, wanted a finite number"),
        ("Evidence(whole={'z': True})", r"whole\.z: got True, wanted a finite number"),
        (
            "Evidence({type(component)('mlp', 99): {'z': 1.0}})",
            r'places: unknown component "blocks\.99\.mlp"',
        ),
        ("0.5", "got float, wanted Evidence"),
    ],
)
def test_evidence_that_means_nothing_is_refused(value: str, message: str, peek: Path) -> None:
    peek.write_text(PEEK.replace("return Evidence(places)", f"component = min(places); return {value}"))
    player, once = load_auditor(f"{peek}@Peek", {}), practice()
    with pytest.raises(ReadingError, match=message):
        Reader(player, once).reading(once.ids[0])


def test_the_command_writes_a_fit_beside_the_auditor(
    peek: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = tmp_path / "tiny.yaml"
    suite.write_text(TINY_SUITE.partition("  - name: heads")[0])
    command = ["fit", f"{peek}@Peek", "--suite", str(suite), "--cases", "3", "--display", "plain"]
    assert main(command) == 0
    written = peek.with_suffix(".json")
    fit = json.loads(written.read_text())
    assert (fit["auditor"], fit["suite"], fit["digest"], fit["cases"]) == (
        "Peek",
        "tiny",
        facts_only().digest,
        3,
    )
    assert main([*command, "--out", str(tmp_path / "again.json")]) == 0
    assert (tmp_path / "again.json").read_bytes() == written.read_bytes()
    assert main(["fit", "prior"]) == 2
    assert "auditor prior: has no `read(toolbox, brief) -> Evidence`" in capsys.readouterr().err
