"""Reports, challenges and judgements across the wire: the same to the last bit, or refused."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from game.api import Challenge, Component, Fine, Judgement, LowRank, Report
from game.hearing import copied
from game.loader import load_auditor
from game.referee import RoundRecord, play_round
from game.sandbox.isolated import load_isolated
from game.sandbox.testimony import (
    challenge_frame,
    judgement_frame,
    read_challenge,
    read_judgement,
    read_report,
    report_frame,
)
from game.sandbox.tiers import JAILS, Tier
from game.sandbox.wire import Frame, WireError, decode, encode
from game.scoring.scores import Declared
from game.testing import stage
from tests.auditors.test_contract import NAMES
from tests.game.hand_made import CHALLENGE, CONFIG, brief, cases, challenged
from tests.game.identical import identical
from tests.game.jails import OUTSPOKEN, SandboxAt, sandbox_at

__all__ = ["sandbox_at"]

CASES = [challenged(case, parts=("detection", "localisation")) for case in cases(3)]


def timeless(record: RoundRecord) -> RoundRecord:
    return replace(record, wall_s=0.0, cpu_s=0.0, tier="in process")


def over_the_wire(frame: Frame) -> Frame:
    head, payload = encode(frame)
    return decode(head[8:], payload)


@pytest.mark.parametrize("tier", JAILS)
def test_an_auditor_that_says_everything_says_the_same_in_a_jail(tier: Tier, sandbox_at: SandboxAt) -> None:
    reference = f"{OUTSPOKEN}@Outspoken"
    here, there = load_auditor(reference, {}), load_isolated(reference, {}, sandbox_at(tier))
    for case in CASES:
        near, far = (timeless(play_round(case, player, 5)) for player in (here, there))
        assert (near.status, near.error) == ("DONE", "")
        assert near.judgement is not None
        assert near.patch is not None
        assert len(near.patch) == 3
        assert identical(far, near)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_auditor_is_heard_the_same_to_the_last_bit(name: str, sandbox_at: SandboxAt) -> None:
    """The challenge is about the contract's model, in which a head is rewritten."""
    here, there = load_auditor(name, {}), load_isolated(name, {}, sandbox_at("process"))
    told = stage.brief()
    near, far = (stage.toolbox(here, told) for _ in range(2))
    asked = replace(CHALLENGE, tokens=CHALLENGE.tokens + 1, answers=(2, 3, 4, 5, 6))
    heard = there.auditor.hear(far, told, asked)  # type: ignore[attr-defined]
    said = copied(here.auditor.audit(near, told), Declared.of(told), told.config)
    assert (heard.status, heard.error) == ("DONE", "")
    assert identical(copied(heard.report, Declared.of(told), told.config), said)
    if hasattr(here.auditor, "judge"):
        assert list(heard.judgement.changed) == list(here.auditor.judge(asked).changed)
    assert heard.judges == hasattr(here.auditor, "judge")
    assert far.budget == near.budget


def test_a_closed_toolbox_says_so_before_anything_else_here_and_in_a_jail(sandbox_at: SandboxAt) -> None:
    reference = f"{OUTSPOKEN}@Curious"
    for player in (load_auditor(reference, {}), load_isolated(reference, {}, sandbox_at("process"))):
        record = play_round(CASES[0], player, 5)
        assert (record.status, record.error, record.spent) == ("DONE", "", 0)


def test_an_auditor_that_judges_is_not_asked_where_there_is_no_challenge(sandbox_at: SandboxAt) -> None:
    player = load_isolated(f"{OUTSPOKEN}@Outspoken", {}, sandbox_at("process"))
    record = play_round(cases(1)[0], player, 5)
    assert (record.status, record.judgement) == ("DONE", None)


def said(**rest: Any) -> Any:
    return copied(Report(0.5, {Component("mlp", 0): 0.25}, **rest), Declared.of(brief()), CONFIG)


W_OUT = LowRank(torch.ones(4, 1), torch.full((1, 4), 0.1))
FINE = Fine({"unembed.W_U": 0.1}, {(0, 1): -0.0}, {"blocks.0.mlp.W_out": torch.ones(2, 4)})


@pytest.mark.parametrize(
    "rest",
    [
        {},
        {"patch": {}},
        {"patch": {"blocks.0.mlp.W_out": W_OUT}},
        {"fine": Fine()},
        {"fine": FINE, "patch": {"blocks.0.mlp.W_out": W_OUT}},
        {"claims": ({"x": float("nan")},), "notes": "\U0001f575\x00"},
    ],
)
def test_a_report_comes_back_as_it_was(rest: dict[str, Any]) -> None:
    told = said(**rest)
    report, judges = read_report(over_the_wire(report_frame(told, judges=True)))
    assert judges
    assert identical(copied(report, Declared.of(brief()), CONFIG), told)


def test_a_challenge_comes_back_as_it_was() -> None:
    head, payload = encode(challenge_frame(CHALLENGE, "7"))
    assert identical(read_challenge(decode(head[8:], payload, trusted=True)), CHALLENGE)
    empty = Challenge(
        torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), (), (), (), (1,)
    )
    head, payload = encode(challenge_frame(empty, "7"))
    assert identical(read_challenge(decode(head[8:], payload, trusted=True)), empty)


@pytest.mark.parametrize(
    "judgement",
    [
        Judgement(()),
        Judgement((0.1, 1e-320, 1.0)),
        Judgement((0.5,) * 2000, {number: dict.fromkeys(range(113), 1 / 113) for number in range(2000)}),
        Judgement((0.5,), {3: {}, 1: {2: 0.25, 1: 0.5}}),
    ],
)
def test_a_judgement_comes_back_as_it_was(judgement: Judgement) -> None:
    assert identical(read_judgement(over_the_wire(judgement_frame(judgement, "7")), "7"), judgement)


REPORT = {"type": "report", "p_edited": 0.5, "components": {}, "notes": "", "claims": "[]"}
ONE = torch.ones(1, 1)
WHOLE = torch.ones(1, dtype=torch.int64)


@pytest.mark.parametrize(
    ("change", "tensors", "message"),
    [
        # header                          tensors                    complaint
        ({"score": 1}, {}, "report: score: Extra inputs are not permitted"),
        ({"p_edited": "0.5"}, {}, "report: p_edited: Input should be a valid number"),
        ({"p_edited": True}, {}, "report: p_edited: Input should be a valid number"),
        ({"components": [0.5]}, {}, "report: components: Input should be a valid dictionary"),
        ({"components": {"blocks.0": 0.5}}, {}, "report: ValueError"),
        ({"components": {"embed": None}}, {}, "report: components.embed: Input should be a valid number"),
        ({"claims": "{"}, {}, "report: JSONDecodeError"),
        ({"claims": "{}"}, {}, "report: claims: got a dict, wanted a list"),
        ({"claims": "[" * 100_000}, {}, "report: RecursionError"),
        ({"judges": 1}, {}, "report: judges: Input should be a valid boolean"),
        ({"patch": {}}, {}, "report: patch: Input should be a valid list"),
        ({"patch": ["a"]}, {"patch.a.left": ONE}, "report: tensor 'patch.a.right' is missing"),
        ({"patch": ["a", "a"]}, {"patch.a.left": ONE, "patch.a.right": ONE}, "left' is missing"),
        ({}, {"patch.a.left": ONE}, "report: tensor 'patch.a.left' is not wanted"),
        ({"patch": ["a"]}, {"patch.a.left": ONE.double()}, "got torch.float64 with 2 axes"),
        ({"patch": ["a"]}, {"patch.a.left": ONE[0]}, "with 1 axes, wanted torch.float32 with 2 or 3"),
        ({"patch": ["a"]}, {"patch.a.left": -ONE / 0}, "'patch.a.left' holds NaN or infinity"),
        ({"fine": {"matrices": {}}}, {}, "report: fine.directions: Field required"),
        ({"fine": {"matrices": {}, "directions": []}}, {}, "report: tensor 'neurons' is missing"),
        (
            {"fine": {"matrices": {}, "directions": []}},
            {"neurons": WHOLE[None], "neuron_scores": torch.ones(1).double()},
            r"'neurons': got \[1, 1\], wanted \[1, 2\]",
        ),
        (
            {"fine": {"matrices": {}, "directions": []}},
            {"neurons": torch.zeros(2, 2, dtype=torch.int64), "neuron_scores": torch.ones(2).double()},
            "'neurons': got one of them twice",
        ),
    ],
)  # fmt: skip
def test_a_report_of_another_form_is_refused(
    change: dict[str, Any], tensors: dict[str, Tensor], message: str
) -> None:
    with pytest.raises(WireError, match=message):
        read_report(Frame(REPORT | change, tensors))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # tensors instead                                   complaint
        ({"changed": None}, "judgement: tensor 'changed' is missing"),
        ({"changed": ONE.double()}, "'changed': got torch.float64 with 2 axes, wanted torch.float64 with 1"),
        ({"changed": ONE[0]}, "'changed': got torch.float32 with 1 axes, wanted torch.float64"),
        ({"changed": torch.full((1,), torch.nan).double()}, "'changed' holds NaN or infinity"),
        ({"changed": torch.zeros(2_000_000).double()}, "'changed': got 2000000; allowed: at most 1000000"),
        ({"more": ONE}, "judgement: tensor 'more' is not wanted"),
        ({"before.prompt": WHOLE}, "before: the lists do not fit together"),
        ({"before.prompt": WHOLE, "before.count": -WHOLE}, "before: the lists do not fit together"),
        ({"before.prompt": WHOLE.repeat(2), "before.count": 0 * WHOLE.repeat(2)}, "before: the lists do not"),
        ({"before.token": WHOLE, "before.odds": ONE[0].double()}, "before: the lists do not fit together"),
    ],
)  # fmt: skip
def test_a_judgement_of_another_form_is_refused(change: dict[str, Tensor | None], message: str) -> None:
    frame = judgement_frame(Judgement((0.5,)), "7")
    tensors = {name: tensor for name, tensor in (frame.tensors | change).items() if tensor is not None}
    with pytest.raises(WireError, match=message):
        read_judgement(Frame(frame.header, tensors), "7")


def test_a_judgement_with_a_token_twice_or_of_another_challenge_is_refused() -> None:
    frame = judgement_frame(Judgement((0.5,), {0: {1: 0.5, 2: 0.5}}), "7")
    twice = frame.tensors | {"before.token": torch.tensor([1, 1])}
    with pytest.raises(WireError, match="prompt 0 has a token twice"):
        read_judgement(Frame(frame.header, twice), "7")
    with pytest.raises(WireError, match="came before the challenge, or of another one"):
        read_judgement(frame, "8")
