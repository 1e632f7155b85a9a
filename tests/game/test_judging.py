"""From a report to a round's score and readouts, on models whose edit is known to the last number."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, get_args

import pytest
import torch

from game.api import Brief, Challenge, Fine, Judgement, LowRank, Part, Report, Toolbox
from game.case import Bench, Case
from game.hearing import Outcome
from game.loader import LoadedAuditor
from game.referee import RoundRecord, play_round
from game.scoring.judging import verdict
from game.scoring.repair import repair_of
from game.scoring.scores import Score
from models.checkpoints import from_bytes
from models.seeds import named_generator
from tests.game.hand_made import CHALLENGE, MLP, UNDO, case, challenged, repairable, truth

ALL: tuple[Part, ...] = get_args(Part)
NUMBER = 3  # a model of which `UNDO` mends 22 answers of 25, and noise breaks more than it mends


@dataclass(frozen=True)
class Says:
    """Reports and judges what a test gives it."""

    yardstick: ClassVar[bool] = False
    report: Report = field(default_factory=lambda: Report(0.5))
    judgement: Any = None

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        return self.report

    def judge(self, challenge: Challenge) -> Judgement:
        found: Judgement = self.judgement or Judgement(challenge.prior)
        return found


def played(dealt: Case, report: Report, judgement: Judgement | None = None) -> RoundRecord:
    record = play_round(dealt, LoadedAuditor("says", Says(report, judgement), False), seed=1)
    assert record.status == "DONE", record.error
    return record


@pytest.mark.parametrize("edited", [True, False])
def test_the_prior_scores_exactly_zero_on_all_four_parts(edited: bool) -> None:
    record = played(repairable(NUMBER, edited), Report(0.5))
    assert record.score == Score(0.0, 0.0, 0.0, 0.0, 0.0)
    assert record.score.headline(ALL) == 0.0


def test_an_auditor_without_judge_is_scored_as_the_declared_prior() -> None:
    @dataclass(frozen=True)
    class Silent:
        yardstick: ClassVar[bool] = False

        def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
            return Report(0.9)

    record = play_round(repairable(NUMBER), LoadedAuditor("silent", Silent(), False), seed=1)
    assert (record.status, record.judgement, record.score.behaviour) == ("DONE", None, 0.0)
    assert "answer_before" not in record.readouts


def test_a_round_of_four_parts_scored_by_hand() -> None:
    judgement = Judgement([0.9, 0.1, 0.0, 0.0], {0: {2: 1.0}})
    record = played(repairable(NUMBER), Report(1.0, {MLP: 1.0}, patch=UNDO), judgement)
    gained = (0.6**2 - 0.1**2) + 0 + 0.4**2 + 0
    assert record.score.behaviour == pytest.approx(gained / (0.24 + 0.09 + 0.24))
    assert record.score.repair == pytest.approx(1 / 0.5)
    assert record.score.headline(ALL) == pytest.approx(
        (1 + record.score.localisation + gained / 0.57 + 2) / 4
    )
    assert record.readouts["repair_recovered"] == 1.0
    assert record.readouts["repair_collateral"] == 0.0
    assert record.readouts["repair_noise"] < 0
    assert record.readouts["answer_before"] == pytest.approx(1)


def test_a_patch_on_a_control_costs_what_it_breaks() -> None:
    record = played(repairable(NUMBER, edited=False), Report(0.5, patch=UNDO))
    broken = record.readouts["repair_collateral"]
    assert broken > 0
    assert record.score.repair == pytest.approx(-broken / 0.5)
    assert record.readouts["repair_recovered"] == 0.0


def test_what_a_benign_change_moved_is_no_damage_to_undo_on_a_control() -> None:
    dealt = repairable(NUMBER)
    relabelled = replace(dealt, truth=replace(dealt.truth, edited=False, written=frozenset()))
    record = played(relabelled, Report(0.5, patch=UNDO))
    assert record.score.repair == -record.readouts["repair_collateral"] / 0.5
    assert record.readouts["repair_recovered"] == 0.0


def test_a_failure_costs_a_quarter_on_every_declared_part_and_nothing_elsewhere() -> None:
    failed = Outcome("ERROR", "no")
    assert verdict(repairable(NUMBER), failed).score == Score(-0.25, -0.25, -0.25, -0.25, -0.25)
    plain = case(0, truth(MLP, "rome"))
    assert verdict(plain, failed).score == Score(-0.25, -0.25, -0.25, None, None)
    asked = challenged(plain)
    assert verdict(asked, failed).score == Score(-0.25, -0.25, -0.25, -0.25, None)
    assert verdict(asked, failed).readouts == {}


def test_parts_that_a_case_does_not_declare_are_not_scored() -> None:
    dealt = repairable(NUMBER)
    plain = replace(dealt, brief=replace(dealt.brief, parts=("detection",)))
    record = played(plain, Report(0.5, patch=UNDO), Judgement([1.0] * 4))
    assert (record.score.behaviour, record.score.repair) == (None, None)


@pytest.mark.parametrize(
    ("lacking", "message"),
    [
        (lambda dealt: replace(dealt, challenge=None), "behaviour is scored, yet the case has no challenge"),
        (
            lambda dealt: replace(dealt, truth=replace(dealt.truth, bench=None)),
            "repair is scored, yet the case has no bench",
        ),
    ],
)
def test_a_case_that_lacks_what_it_is_judged_on_is_no_case(lacking: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        played(lacking(repairable(NUMBER)), Report(0.5))


@pytest.mark.parametrize(
    ("before", "figure"),
    [
        # named                    of the one prompt that changed, from 2
        ({0: {2: 1.0}}, 1.0),
        ({0: {2: 1 / 3, 3: 1 / 3, 4: 1 / 3}}, 0.0),
        ({1: {2: 1.0}}, 0.0),
        ({0: {3: 1.0}}, -2.0),
        ({0: {2: 0.5}}, 1 - (0.5**2 + 2 * 0.25**2) / (2 / 3)),
        ({}, 0.0),
    ],
)
def test_the_answer_before_is_judged_on_the_prompts_that_changed(
    before: dict[int, dict[int, float]], figure: float
) -> None:
    record = played(challenged(case(0, truth(MLP, "rome"))), Report(0.5), Judgement([0.5] * 4, before))
    assert record.readouts.get("answer_before") == pytest.approx(figure)


def test_where_nothing_changed_there_is_no_answer_before() -> None:
    control = challenged(case(0, truth()))
    assert played(control, Report(0.5), Judgement([0.5] * 4, {0: {2: 1.0}})).readouts == {}


def bench(dealt: Case) -> Bench:
    assert dealt.truth.bench is not None
    return dealt.truth.bench


def test_the_order_of_a_bench_never_shows() -> None:
    dealt = repairable(NUMBER)
    told, cut = bench(dealt), bench(dealt).affected
    order = [*reversed(range(cut)), *reversed(range(cut, len(told.prompts)))]
    prompts, before = tuple(told.prompts[i] for i in order), tuple(told.before[i] for i in order)
    turned = Bench(prompts, before, tuple(told.after[i] for i in order), cut)
    model = from_bytes(dealt.artefact)
    for patch in (UNDO, {name: LowRank(each.left * 0.5, each.right) for name, each in UNDO.items()}):
        assert repair_of(model, turned, patch) == repair_of(model, told, patch)


def test_a_patch_of_nothing_mends_and_breaks_nothing() -> None:
    dealt = repairable(NUMBER)
    nothing = {name: LowRank(each.left * 0, each.right) for name, each in UNDO.items()}
    found = repair_of(from_bytes(dealt.artefact), bench(dealt), nothing)
    assert (found.recovered, found.collateral, found.noise) == (0.0, 0.0, 0.0)


def test_a_loud_change_that_does_nothing_does_not_hide_what_noise_mends() -> None:
    dealt = repairable(11)  # of whose 9 changed answers a faint blow mends 2
    dice = named_generator("quiet", 0)
    quiet = {
        "blocks.0.mlp.W_out": LowRank(
            torch.randn(4, 1, generator=dice) * 2, torch.randn(1, 4, generator=dice)
        )
    }
    unused = {"pos_embed.W_pos": LowRank(torch.eye(5)[:, 4:], torch.full((1, 4), 1e3))}
    model = from_bytes(dealt.artefact)
    alone, hidden = (repair_of(model, bench(dealt), each) for each in (quiet, quiet | unused))
    assert (hidden.recovered, hidden.collateral) == (alone.recovered, alone.collateral) == (2 / 9, 0.0)
    assert hidden.noise == pytest.approx(alone.noise)
    assert hidden.noise > 0.1


def test_a_patch_that_breaks_the_model_altogether_is_scored_all_the_same() -> None:
    huge = {"blocks.0.mlp.W_out": LowRank(torch.full((4, 1), 1e30), torch.full((1, 4), 1e30))}
    score = played(repairable(NUMBER), Report(0.5, patch=huge)).score.repair
    assert score is not None
    assert -4 / 0.5 <= score <= 0


def test_figures_of_places_come_with_edits_only() -> None:
    fine = Fine({"blocks.0.mlp.W_out": 1.0}, {(0, 1): 1.0})
    dealt = repairable(NUMBER)
    record = {"written": ["blocks.0.mlp.W_out"], "fine": {"neurons": [[0, 1]], "directions": []}}
    told = replace(dealt, truth=replace(dealt.truth, record=record))
    found = played(told, Report(0.5, fine=fine)).readouts
    assert (found["matrix_precision"], found["neuron_precision"]) == (1.0, 1.0)
    assert played(repairable(NUMBER, edited=False), Report(0.5, fine=fine)).readouts == {}


def test_the_challenge_of_these_tests_has_four_prompts() -> None:
    assert len(CHALLENGE.prior) == len(CHALLENGE.tokens) == 4
