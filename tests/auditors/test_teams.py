"""Teams: what members read is fitted for whoever was asked, and asked in the order in which it pays."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from auditors import ensemble, sequential
from game.api import Brief, Component, Report, Samples, Toolbox
from game.auditing.evidence import Evidence
from game.auditing.suspects import Suspects
from game.auditing.team import TeamFit, asked_one, doubt, read_by, signed
from game.auditing.undoing import LEAST, tried_on, undone
from game.fitting.readings import Reading
from game.fitting.team import team_fit_of
from game.toolbox.live import ModelToolbox
from models.seeds import named_generator, named_seed
from models.transformer import Transformer
from tests.game.hand_made import CONFIG, HEAD, MLP, brief
from tests.tiny_suite import tiny_suite

PRIOR = {MLP: 2 / 3, HEAD: 1 / 3}
PRICES = {"dear": 500.0, "cheap": 2.0, "noise": 1.0}
SIGNAL = {"dear": 3.0, "cheap": 1.5, "noise": 0.0}


def practised(cases: int = 320) -> dict[str, list[Reading]]:
    """What three members read of the same cases: one sees much, one a little, one nothing."""
    random = np.random.default_rng(named_seed("teams"))
    found: dict[str, list[Reading]] = {name: [] for name in SIGNAL}
    for number in range(cases):
        edited = random.random() < 0.5
        written = MLP if random.random() < 2 / 3 else HEAD
        for name, signal in SIGNAL.items():
            places = {
                place: {"z": random.normal() + signal * (edited and place == written)} for place in PRIOR
            }
            truth = frozenset({written} if edited else ())
            base = f"toy@{number % 8}.0"
            reading = Reading("whitebox", "toy", base, 0.5, PRIOR, truth, Evidence(places), PRICES[name])
            found[name].append(reading)
    return found


@pytest.fixture(scope="module")
def fit() -> TeamFit:
    return team_fit_of("team", tiny_suite(), practised())[0]


def evidence(**z: float) -> Evidence:
    """Each member's number for the MLP, and 0 for the head."""
    found = Evidence()
    for name, value in z.items():
        found = found.joined(signed(name, Evidence({MLP: {"z": value}, HEAD: {"z": 0.0}})))
    return found


@dataclass(frozen=True)
class Says:
    """Reads one number of the MLP."""

    z: float

    def read(self, toolbox: Toolbox, brief: Brief) -> Evidence:
        toolbox.logits(toolbox.sample(4).tokens)
        return Evidence({MLP: {"z": self.z}, HEAD: {"z": 0.0}})


@dataclass(frozen=True)
class Breaks:
    """Fails."""

    def read(self, toolbox: Toolbox, brief: Brief) -> Evidence:
        raise ZeroDivisionError("nothing to divide by")


def test_who_tells_most_for_a_credit_is_asked_first_and_who_tells_nothing_never(fit: TeamFit) -> None:
    steps = fit.steps["whitebox"]
    assert [step.member for step in steps] == ["cheap", "dear"]
    assert [step.price for step in steps] == [2.0, 500.0]
    assert steps[0].before > steps[0].after == steps[1].before > steps[1].after


def test_a_belief_for_whoever_was_asked(fit: TeamFit) -> None:
    """Not to have asked is no evidence, neither for nor against."""
    asked, seen = brief(), evidence(dear=3.0, cheap=2.0)
    alone, both = (fit.believed_of(asked, seen, who).p_edited for who in (["cheap"], ["cheap", "dear"]))
    assert both > alone > asked.prior
    assert fit.believed_of(asked, evidence(cheap=2.0), ["cheap"]).p_edited == alone
    assert fit.believed_of(asked, seen, []).p_edited == asked.prior
    quiet = fit.believed_of(asked, evidence(dear=0.0, cheap=0.0), ["cheap", "dear"])
    assert quiet.p_edited < asked.prior


def test_the_beliefs_of_every_set_are_calibrated() -> None:
    _, rows = team_fit_of("team", tiny_suite(), practised())
    assert {row.name for row in rows} == {"whitebox:cheap", "whitebox:cheap+dear"}
    assert max(row.error for row in rows if row.belief is not None) < 0.1


def test_a_team_fit_is_read_as_it_was_written(fit: TeamFit, tmp_path: Path) -> None:
    (tmp_path / "team.json").write_text(json.dumps(fit.to_json()))
    assert TeamFit.beside(str(tmp_path / "team.py")) == fit
    assert TeamFit.beside(str(tmp_path / "none.py")).beliefs == {}


def test_evidence_is_signed_and_told_apart() -> None:
    joined = evidence(dear=1.0, cheap=2.0)
    assert joined.places[MLP] == {"dear/z": 1.0, "cheap/z": 2.0}
    assert read_by(["cheap"], joined).places[MLP] == {"cheap/z": 2.0}


def test_doubt_is_greatest_at_the_prior_and_nothing_when_sure(fit: TeamFit) -> None:
    asked = brief()
    before = fit.believed_of(asked, Evidence(), [])
    after = fit.believed_of(asked, evidence(dear=5.0, cheap=4.0), ["cheap", "dear"])
    assert doubt(before, asked) == pytest.approx(np.log(2) + 0.5 * (np.log(3) - 2 / 3 * np.log(2)), rel=1e-3)
    assert doubt(after, asked) < 0.4 * doubt(before, asked)


def corpus(n: int, seed: int) -> Samples:
    tokens = torch.randint(6, (n, 5), generator=named_generator("corpus", seed))
    return Samples(tokens, torch.full((n,), 5))


def toolbox(budget: float) -> ModelToolbox:
    model = Transformer(CONFIG, named_generator("team"))
    return ModelToolbox(model, league="whitebox", corpus=corpus, total=budget)


def test_a_member_that_fails_loses_the_others_nothing(fit: TeamFit, monkeypatch: pytest.MonkeyPatch) -> None:
    box, asked = toolbox(1000), brief()
    assert (
        asked_one("broken", Breaks(), box, asked).notes == "broken: ZeroDivisionError: nothing to divide by"
    )
    members = {"dear": Says(3.0), "cheap": Breaks(), "noise": Says(0.0)}
    monkeypatch.setattr(ensemble.Ensemble, "team", lambda _self: members)
    monkeypatch.setattr(TeamFit, "beside", lambda _file: fit)
    report = ensemble.Ensemble().audit(box, asked)
    assert report.p_edited > asked.prior
    assert "ZeroDivisionError" in report.notes


@pytest.mark.parametrize(
    ("budget", "z", "asked"),
    [
        # credits, what all read, who is asked
        (1000.0, 1.0, ["cheap", "dear"]),
        (100.0, 1.0, ["cheap"]),
        (1.0, 1.0, []),
    ],
)
def test_sequential_asks_in_order_whom_it_can_pay(
    budget: float, z: float, asked: list[str], fit: TeamFit, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def note(name: str, *_rest: object) -> Evidence:
        seen.append(name)
        return evidence(**{name: z})

    monkeypatch.setattr(sequential, "asked_one", note)
    monkeypatch.setattr(sequential, "MEMBERS", dict.fromkeys(PRICES, Breaks))
    monkeypatch.setattr(TeamFit, "beside", lambda _file: fit)
    sequential.Sequential().audit(toolbox(budget), brief())
    assert seen == asked


def test_sequential_stops_when_there_is_nothing_left_to_tell(
    fit: TeamFit, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def note(name: str, *_rest: object) -> Evidence:
        seen.append(name)
        return evidence(**{name: 9.0})

    monkeypatch.setattr(sequential, "asked_one", note)
    monkeypatch.setattr(sequential, "MEMBERS", dict.fromkeys(PRICES, Breaks))
    monkeypatch.setattr(TeamFit, "beside", lambda _file: fit)
    sequential.Sequential(enough=0.3).audit(toolbox(1000.0), brief())
    assert seen == ["cheap"]


def test_sequential_asks_nobody_whom_no_belief_hears(fit: TeamFit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was first in practice cannot be paid, and no belief was fitted to the second alone."""
    both, steps = fit.beliefs["whitebox:cheap+dear"], fit.steps["whitebox"]
    broken = replace(fit, beliefs={"whitebox:cheap+dear": both}, steps={"whitebox": steps[::-1]})
    assert broken.heard(brief(), {"cheap", "dear"}) == {"cheap", "dear"}
    monkeypatch.setattr(TeamFit, "beside", lambda _file: broken)
    box = toolbox(100.0)
    assert sequential.Sequential(enough=0.0).audit(box, brief()).p_edited == brief().prior
    assert box.budget.spent == 0


@pytest.mark.parametrize("suspect", [MLP, HEAD])
def test_undoing_asks_as_many_prompts_as_credits_pay_for(suspect: Component) -> None:
    box = toolbox(400)
    found = tried_on(box, brief(), suspect)
    assert found is not None
    assert len(found.samples.tokens) > 80
    assert not found.restored[:, :-1].any()
    assert box.budget.remaining >= 0


def test_nothing_is_undone_for_the_last_credits() -> None:
    box, asked = toolbox(LEAST - 1), replace(brief(), parts=("detection", "behaviour", "repair"))
    report, suspects = undone(box, asked, Report(0.9, {MLP: 0.9, HEAD: 0.0}))
    assert (report.patch, suspects, box.budget.spent) == (None, [Suspects(0.9, asked.prior)], 0)


def test_members_that_there_are_not_are_named() -> None:
    with pytest.raises(ValueError, match=r'members: got "nobody"; allowed: adapter_features, '):
        ensemble.Ensemble(members=("nobody",)).team()
