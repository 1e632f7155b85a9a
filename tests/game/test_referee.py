"""A failing auditor costs itself, never the run."""

import random
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, cast

import numpy as np
import pytest
import torch

from game.api import BudgetExceededError, Challenge, Fine, Judgement, LowRank, Report, Toolbox
from game.brief_text import brief_to_json
from game.loader import LoadedAuditor
from game.referee import play_round
from game.scoring.scores import failed
from models.components import Component
from tests.game.hand_made import CHALLENGE, MLP, case, challenged, truth


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Twice(dict[Component, float]):
    def items(self) -> Any:
        raise RuntimeError("read twice")


@dataclass(frozen=True)
class Does:
    """Runs what a test gives it."""

    yardstick: ClassVar[bool] = False
    action: Any = None

    def audit(self, toolbox: Toolbox, brief: Any) -> Any:
        return self.action(toolbox, brief)


def play(action: Any, deadline: float = 30.0) -> Any:
    dealt = case(0, truth(MLP, "rome"))
    dealt = replace(dealt, brief=replace(dealt.brief, deadline=deadline))
    return play_round(dealt, LoadedAuditor("does", Does(action), False), seed=7)


def nested(levels: int) -> Any:
    """A list in a list in a list."""
    return [nested(levels - 1)] if levels else 0


def fails(error: BaseException) -> Any:
    def action(_toolbox: Toolbox, _brief: Any) -> Report:
        raise error

    return action


@pytest.mark.parametrize(
    ("action", "status", "message"),
    [
        (fails(ZeroDivisionError("no")), "ERROR", r"ZeroDivisionError: no \(test_referee\.py:\d+\)"),
        (fails(SystemExit(0)), "ERROR", "SystemExit: 0"),
        (fails(GeneratorExit()), "ERROR", "GeneratorExit"),
        (fails(KeyboardInterrupt()), "ERROR", "KeyboardInterrupt"),
        (fails(Unspeakable()), "ERROR", "Unspeakable: .*cannot be read"),
        (lambda box, brief: Report(0.5, Twice({MLP: 0.1})), "ERROR", "RuntimeError: read twice"),
        (fails(BudgetExceededError("too dear")), "ERROR", "BudgetExceededError: too dear"),
        (fails(ValueError("a\nb\x1b[31m")), "ERROR", r"ValueError: a"),
        (lambda box, brief: None, "INVALID", "report: got a NoneType, wanted a Report"),
        (lambda box, brief: Report(float("nan")), "INVALID", "p_edited"),
        (lambda box, brief: Report(1.5), "INVALID", "p_edited"),
        (lambda box, brief: Report(cast(Any, "0.5")), "INVALID", "p_edited"),
        (lambda box, brief: Report(0.2, {MLP: 0.3}), "INVALID", r"blocks\.0\.mlp has 0\.3; at most p_edited"),
        (lambda box, brief: Report(0.5, {Component("mlp", 9): 0.1}), "INVALID", r"blocks\.9\.mlp"),
        (lambda box, brief: Report(0.5, claims=({"x": torch.zeros(1)},)), "INVALID", "claims"),
        (lambda box, brief: Report(0.5, claims=({"x": nested(31)},)), "INVALID", "claims: 33 levels"),
        (lambda box, brief: Report(0.5, notes=cast(Any, 5)), "INVALID", "notes: got a int, wanted text"),
    ],
)  # fmt: skip
def test_whatever_an_auditor_does_becomes_a_status(action: Any, status: str, message: str) -> None:
    record = play(action)
    assert record.status == status
    assert record.score == failed(("detection", "localisation"))
    assert record.p_edited is None
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(record.error)
    assert "\n" not in record.error
    assert "\x1b" not in record.error


def test_claims_may_be_32_levels_deep() -> None:
    assert play(lambda box, brief: Report(0.5, claims=({"x": nested(30)},))).status == "DONE"


def test_writing_into_the_brief_moves_no_score() -> None:
    dealt = case(0, truth(MLP))
    told = brief_to_json(dealt.brief)

    def spoils(_toolbox: Toolbox, brief: Any) -> Report:
        brief.component_prior[MLP] = 0.4
        brief.task.classes.clear()
        return Report(0.5)

    record = play_round(dealt, LoadedAuditor("does", Does(spoils), False), seed=7)
    assert (record.status, record.score.localisation) == ("DONE", 0.0)
    assert brief_to_json(dealt.brief) == told


def test_an_auditor_that_hangs_is_stopped_at_its_deadline() -> None:
    def hang(_toolbox: Toolbox, _brief: Any) -> Report:
        while True:
            try:
                time.sleep(0.01)
            except Exception:  # noqa: S112 - hostile on purpose
                continue

    started = time.monotonic()
    record = play(hang, deadline=0.3)
    assert record.status == "TIMEOUT"
    assert record.error.startswith("no report within 0.3 s (test_referee.py:")
    assert time.monotonic() - started < 5


def test_an_auditor_that_swallows_its_deadline_is_late_all_the_same() -> None:
    def stubborn(_toolbox: Toolbox, _brief: Any) -> Report:
        with suppress(BaseException):
            time.sleep(5)
        return Report(0.5)

    assert play(stubborn, deadline=0.2).status == "TIMEOUT"


def test_words_of_a_strange_class_become_plain_text() -> None:
    class Loud(str):
        def __getitem__(self, _key: Any) -> str:
            raise RuntimeError("mine")

    assert play(lambda box, brief: Report(0.5, notes=Loud("quiet"))).notes == "quiet"


def test_every_round_has_a_fresh_instance() -> None:
    seen: list[Any] = []

    @dataclass(frozen=True)
    class Remembers:
        yardstick: ClassVar[bool] = False
        memory: Any = None

        def audit(self, toolbox: Toolbox, brief: Any) -> Report:
            seen.append(self)
            return Report(0.5)

    player = LoadedAuditor("remembers", Remembers(), False)
    for _ in range(2):
        play_round(case(0, truth(MLP, "rome")), player, seed=1)
    assert seen[0] is not seen[1]
    assert all(each is not player.auditor for each in seen)


def test_an_honest_report_is_scored() -> None:
    record = play(lambda box, brief: Report(1.0, {MLP: 1.0}, notes="found it"))
    assert record.status == "DONE"
    assert record.error == ""
    assert record.score.detection == 1.0
    assert record.components == {"blocks.0.mlp": 1.0}
    assert record.notes == "found it"


def test_the_round_seed_reaches_the_auditor() -> None:
    assert play(lambda box, brief: Report(0.5, notes=str(brief.seed))).notes == "7"


def test_the_toolbox_is_closed_afterwards() -> None:
    kept: list[Toolbox] = []

    def keep(box: Toolbox, _brief: Any) -> Report:
        kept.append(box)
        return Report(0.5)

    play(keep)
    with pytest.raises(Exception, match="closed"):
        kept[0].weight("embed.W_E")


def test_credits_are_recorded() -> None:
    def look(box: Toolbox, brief: Any) -> Report:
        box.logits(torch.zeros(3, 2, dtype=torch.int64))
        return Report(0.5)

    assert play(look).spent == 3


def test_poisoned_global_state_is_put_back() -> None:
    def poison(_toolbox: Toolbox, _brief: Any) -> Report:
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        torch.set_grad_enabled(False)
        torch.set_num_threads(2)
        return Report(0.5)

    before = torch.get_rng_state(), random.getstate(), torch.get_num_threads()
    play(poison)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert torch.get_num_threads() == before[2]
    assert torch.is_grad_enabled()


@dataclass(frozen=True)
class Judges:
    """Remembers its toolbox, and does what a test gives it with the challenge."""

    yardstick: ClassVar[bool] = False
    action: Any = None
    memory: dict[str, Any] = field(default_factory=dict, init=False)

    def audit(self, toolbox: Toolbox, brief: Any) -> Report:
        self.memory["toolbox"] = toolbox
        return Report(0.5)

    def judge(self, challenge: Challenge) -> Any:
        return self.action(challenge, self.memory["toolbox"])


def judge(action: Any, deadline: float = 30.0) -> Any:
    dealt = challenged(case(0, truth(MLP, "rome")))
    dealt = replace(dealt, brief=replace(dealt.brief, deadline=deadline))
    return play_round(dealt, LoadedAuditor("judges", Judges(action), False), seed=7)


def test_the_same_instance_judges_once_its_toolbox_is_closed() -> None:
    def answer(challenge: Challenge, toolbox: Toolbox) -> Judgement:
        with pytest.raises(Exception, match="closed"):
            toolbox.logits(challenge.tokens)
        return Judgement([0.25] * len(challenge.prior), {1: {3: 1.0}})

    record = judge(answer)
    assert record.status == "DONE", record.error
    assert record.judgement == Judgement((0.25, 0.25, 0.25, 0.25), {1: {3: 1.0}})


def test_a_challenge_that_is_written_into_stays_as_it_was() -> None:
    def spoil(challenge: Challenge, _toolbox: Toolbox) -> Judgement:
        challenge.tokens.zero_()
        return Judgement(challenge.prior)

    before = CHALLENGE.tokens.clone()
    assert judge(spoil).status == "DONE"
    assert torch.equal(CHALLENGE.tokens, before)


def hang(_challenge: Challenge, _toolbox: Toolbox) -> Judgement:
    time.sleep(5)
    raise AssertionError("never")


def crash(_challenge: Challenge, _toolbox: Toolbox) -> Judgement:
    raise ZeroDivisionError("no")


@pytest.mark.parametrize(
    ("action", "status", "message"),
    [
        (crash, "ERROR", "ZeroDivisionError: no"),
        (lambda challenge, box: box.logits(challenge.tokens), "ERROR", "closed"),
        (lambda challenge, box: None, "INVALID", "judgement: got a NoneType, wanted a Judgement"),
        (lambda challenge, box: Judgement([2.0] * 4), "INVALID", r"changed\[0\]: got 2, wanted a finite"),
        (hang, "TIMEOUT", "no report within 0.5 s"),
    ],
)
def test_a_failure_of_the_judge_is_a_failure_of_the_round(action: Any, status: str, message: str) -> None:
    record = judge(action, deadline=0.5)
    assert record.status == status
    assert record.p_edited is None
    assert record.judgement is None
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(record.error)


def test_an_auditor_without_judge_is_not_asked() -> None:
    dealt = challenged(case(0, truth(MLP, "rome")))
    record = play_round(dealt, LoadedAuditor("does", Does(lambda box, brief: Report(0.5)), False), seed=7)
    assert record.status == "DONE"
    assert record.judgement is None


def test_a_patch_and_a_finer_location_are_kept_with_the_round() -> None:
    patch = {"blocks.0.mlp.W_out": LowRank(torch.ones(4, 1), torch.ones(1, 4))}
    record = play(lambda box, brief: Report(0.5, patch=patch, fine=Fine(neurons={(0, 1): 2.0})))
    assert record.status == "DONE"
    assert torch.equal(record.patch["blocks.0.mlp.W_out"].left, torch.ones(4, 1))
    assert record.fine.neurons == {(0, 1): 2.0}
