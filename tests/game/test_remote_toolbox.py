"""Across a wire the toolbox answers, charges and refuses as the one beside the model."""

import math
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from game.api import AccessError, Budget, BudgetExceededError, Intervention, Toolbox
from game.sandbox.remote import Line, RemoteToolbox
from game.sandbox.serving import Desk
from game.sandbox.wire import Channel, Frame, WireError
from game.toolbox.live import ModelToolbox
from models.transformer import Transformer
from tests.game.conftest import MakeBox

HOOK, SCORES = "blocks.1.hook_resid_pre", "blocks.1.attn.hook_attn_scores"


@contextmanager
def over_a_wire(box: ModelToolbox, most_calls: int = 100) -> Iterator[RemoteToolbox]:
    """The same toolbox, served by a thread at the other end of a socket."""
    jail, referee = socket.socketpair()
    inner, outer = Channel(jail.detach(), time.monotonic() + 30, trusted=True), Channel(referee.detach())
    thread = threading.Thread(target=lambda: Desk(box, most_calls).last_word(outer))
    thread.start()
    try:
        yield RemoteToolbox(Line(inner, box.budget.total, box.budget.max_rows), box.config)
    finally:
        inner.send({"type": "end"})
        thread.join()
        inner.close()
        outer.close()


Ask = Callable[[Toolbox, Tensor], Any]


def changes() -> list[Intervention]:
    hidden = torch.zeros(5, 5, dtype=torch.bool)
    hidden[3, 2] = True
    return [
        Intervention(HOOK, torch.ones(8, dtype=torch.float64), "add", positions=(1, 2), rows=(0, 2)),
        Intervention(HOOK, torch.arange(8), "project_out", offset=0.5),
        Intervention(SCORES, torch.tensor(-torch.inf), "set", mask=hidden),
        Intervention("blocks.0.mlp.hook_post", torch.tensor(0.5, dtype=torch.bfloat16), "scale"),
    ]


def backwards(box: Toolbox, tokens: Tensor) -> dict[str, Tensor]:
    starts = {"logits": torch.ones(2, 3, 5, 11, dtype=torch.float64), HOOK: torch.ones(2, 3, 5, 8)}
    return box.vjp(tokens, [HOOK, "blocks.0.hook_resid_pre"], starts, changes())


ANSWERED: dict[str, Ask] = {
    "logits": lambda box, tokens: box.logits(tokens),
    "logits of a view": lambda box, tokens: box.logits(tokens.T[:3, :3].T),
    "logits after interventions": lambda box, tokens: box.logits(tokens, changes()),
    "activations, in the order asked": lambda box, tokens: list(
        box.activations(tokens, [SCORES, "logits", HOOK, SCORES], changes()).items()
    ),
    "a backward pass": lambda box, tokens: list(backwards(box, tokens).items()),
    "a weight": lambda box, _: box.weight("blocks.1.attn.W_Q"),
    "samples": lambda box, _: vars(box.sample(7, seed=3)),
    "the config": lambda box, _: box.config,
    "the budget": lambda box, _: box.budget,
    "the reference's weight": lambda box, _: box.reference().weight("unembed.W_U"),
}

REFUSED: dict[str, Ask] = {
    "tokens of no tensor": lambda box, _: box.logits("abc"),  # type: ignore[arg-type]
    "tokens of floats": lambda box, tokens: box.logits(tokens.float()),
    "tokens beyond the vocabulary": lambda box, tokens: box.logits(tokens + 11),
    "too many rows": lambda box, tokens: box.logits(tokens.repeat(1000, 1)),
    "an unknown hook": lambda box, tokens: box.activations(tokens, ["blocks.1.hook_resid_prae"]),
    "no names": lambda box, tokens: box.activations(tokens, []),
    "one name for a list": lambda box, tokens: box.activations(tokens, HOOK),
    "an unknown weight": lambda box, _: box.weight("W_E"),
    "a callable": lambda box, tokens: box.logits(tokens, [print]),  # type: ignore[list-item]
    "an intervention on its own": lambda box, tokens: box.logits(tokens, changes()[0]),  # type: ignore[arg-type]
    "NaN": lambda box, tokens: box.logits(tokens, [Intervention(HOOK, torch.full((8,), math.nan))]),
    "an unknown mode": lambda box, tokens: box.logits(
        tokens,
        [Intervention(HOOK, torch.ones(8), "run")],  # type: ignore[arg-type]
    ),
    "a query without keys": lambda box, tokens: box.logits(
        tokens, [Intervention(SCORES, torch.tensor(-torch.inf))]
    ),
    "an endless cotangent": lambda box, tokens: box.vjp(
        tokens, [HOOK], {"logits": torch.full((3, 5, 11), math.inf)}
    ),
    "too many cotangents": lambda box, tokens: box.vjp(
        tokens, [HOOK], {"logits": torch.ones(400, 3, 5, 11)}
    ),
    "no samples": lambda box, _: box.sample(0),
    "a negative sibling": lambda box, _: box.sibling(-1),
    "a sibling": lambda box, _: box.sibling(0),
    "a reference of the reference": lambda box, _: box.reference().reference(),
}  # fmt: skip


@pytest.fixture
def make(make_box: MakeBox, tiny_model: Transformer) -> Callable[[], ModelToolbox]:
    return lambda: make_box("reference", reference=tiny_model)


def equal(one: Any, other: Any) -> bool:
    """Equal to the last bit, whatever they are made of."""
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


@pytest.mark.parametrize("ask", ANSWERED.values(), ids=ANSWERED)
def test_an_answer_and_its_price_are_the_same(
    ask: Ask, make: Callable[[], ModelToolbox], tokens: Tensor
) -> None:
    beside, behind = make(), make()
    with over_a_wire(behind) as remote:
        assert equal(ask(remote, tokens), ask(beside, tokens))
        assert equal(ask(remote, tokens), ask(beside, tokens)), "again, for nothing"
        assert remote.budget == behind.budget == beside.budget


@pytest.mark.parametrize("ask", REFUSED.values(), ids=REFUSED)
def test_a_refusal_has_the_same_type_and_words(
    ask: Ask, make: Callable[[], ModelToolbox], tokens: Tensor
) -> None:
    beside, behind = make(), make()
    with pytest.raises(Exception, match=r".") as expected:
        ask(beside, tokens)
    with over_a_wire(behind) as remote:
        with pytest.raises(Exception, match=r".") as got:
            ask(remote, tokens)
        assert (type(got.value), str(got.value)) == (type(expected.value), str(expected.value))
        assert remote.budget == beside.budget
        assert remote.logits(tokens).shape == (3, 5, 11), "the line still holds"


def test_the_league_and_the_budget_refuse_in_their_own_words(make_box: MakeBox, tokens: Tensor) -> None:
    with over_a_wire(make_box("blackbox", total=4)) as remote:
        with pytest.raises(AccessError, match="weight: not granted by the blackbox league"):
            remote.weight("unembed.W_U")
        remote.logits(tokens)
        with pytest.raises(BudgetExceededError, match="costs 3 credits; 1 are left of 4"):
            remote.logits(tokens.flip(0))
        assert remote.budget.remaining == 1


def test_an_unmetered_toolbox_stays_so(make_box: MakeBox, tokens: Tensor) -> None:
    with over_a_wire(make_box(total=math.inf)) as remote:
        remote.logits(tokens)
        assert remote.budget.remaining == math.inf


def test_a_model_asked_for_twice_is_the_same_box(make: Callable[[], ModelToolbox]) -> None:
    with over_a_wire(make()) as remote:
        assert [remote.reference()._box for _ in range(3)] == [1, 1, 1]


def test_what_goes_wrong_at_the_referee_s_is_told_without_its_words() -> None:
    class Broken:
        budget = Budget(total=1.0, spent=0.0, max_rows=1)

        def sample(self, n: int, seed: int) -> None:
            raise KeyError("the world's secret name")

    call = {"type": "call", "id": 0, "box": 0, "primitive": "sample", "n": 1, "seed": 0}
    (answer,) = answers(Broken(), [(call, {})])
    assert answer.header["message"] == "the referee could not answer: KeyError"


def answers(box: Any, calls: list[tuple[dict[str, Any], dict[str, Tensor]]], most: int = 100) -> list[Frame]:
    """What a desk says to calls that no `RemoteToolbox` made."""
    jail, referee = socket.socketpair()
    inner, outer = Channel(jail.detach(), time.monotonic() + 30, trusted=True), Channel(referee.detach())
    try:
        for header, tensors in calls:
            inner.send(header, tensors)
        inner.send({"type": "end"})
        Desk(box, most).last_word(outer)
        return [inner.receive() for _ in calls]
    finally:
        inner.close()
        outer.close()


CALL = {"type": "call", "id": 0, "box": 0, "primitive": "weight", "name": "unembed.W_U"}
TOKENS = torch.zeros(1, 2, dtype=torch.int64)
VALUE = {"name": HOOK, "mode": "set", "positions": None, "rows": None, "offset": 0.0, "masked": False}


@pytest.mark.parametrize(
    ("call", "tensors", "message"),
    [
        # call                                            tensors               complaint
        ({"id": 1}, {}, "call: id 1, wanted 0"),
        ({"id": True}, {}, "call: id: Input should be a valid integer"),
        ({"id": "0"}, {}, "call: id: Input should be a valid integer"),
        ({"box": 1}, {}, "call: box 1; 1 are open"),
        ({"box": -1}, {}, "call: box -1; 1 are open"),
        ({"primitive": "close"}, {}, "call: primitive: Input should be"),
        ({"primitive": "_model"}, {}, "call: primitive: Input should be"),
        ({"code": "import os"}, {}, "call: code: Extra inputs are not permitted"),
        ({"name": ["unembed.W_U"]}, {}, "call: name: Input should be a valid string"),
        ({}, {"tokens": TOKENS}, "call: tensor 'tokens' is not wanted"),
        ({"primitive": "logits"}, {}, "call: tensor 'tokens' is missing"),
        ({"primitive": "logits", "interventions": [VALUE]}, {"tokens": TOKENS}, "'0.value' is missing"),
        ({"primitive": "logits", "interventions": [VALUE | {"hook": 1}]}, {"tokens": TOKENS}, "Extra inputs"),
        ({"primitive": "logits"}, {"tokens": TOKENS, "cotangent.logits": TOKENS}, "is not wanted"),
    ],
)  # fmt: skip
def test_a_call_of_another_form_is_refused(
    call: dict[str, Any], tensors: dict[str, Tensor], message: str, box: ModelToolbox
) -> None:
    with pytest.raises(WireError, match=message.replace("[", r"\[")):
        answers(box, [(CALL | call, tensors)])


@pytest.mark.parametrize(
    ("call", "tensors", "error", "message"),
    [
        # call                                 tensors                           error           complaint
        ({"name": "_model"}, {}, "RequestError", "unknown weight"),
        ({"primitive": "sample", "n": 10**9}, {}, "RequestError", "n: got 1000000000; allowed"),
        ({"primitive": "sample", "n": 10**400}, {}, "RequestError", "n: got 1000"),
        ({"primitive": "logits"}, {"tokens": TOKENS.float()}, "RequestError", "tokens: got torch.float32"),
        ({"primitive": "logits"}, {"tokens": TOKENS - 1}, "RequestError", "tokens: got id -1"),
        ({"primitive": "vjp", "names": [HOOK]}, {"tokens": TOKENS}, "RequestError", "cotangent: wanted"),
    ],
)  # fmt: skip
def test_a_well_formed_call_that_makes_no_sense_is_refused_by_the_toolbox(
    call: dict[str, Any], tensors: dict[str, Tensor], error: str, message: str, box: ModelToolbox
) -> None:
    (answer,) = answers(box, [(CALL | call, tensors)])
    assert (answer.header["type"], answer.header["error"]) == ("refuse", error)
    assert answer.header["message"].startswith(message)
    assert answer.header["spent"] == 0


def test_calls_without_end_are_cut_off(box: ModelToolbox) -> None:
    calls: list[tuple[dict[str, Any], dict[str, Tensor]]] = [(CALL | {"id": i}, {}) for i in range(4)]
    assert len(answers(box, calls, most=4)) == 4
    with pytest.raises(WireError, match="more than 3 in one round"):
        answers(box, calls, most=3)


def test_bytes_that_are_no_frame_end_the_round(box: ModelToolbox) -> None:
    jail, referee = socket.socketpair()
    os.write(jail.fileno(), struct.pack(">II", 7, 0) + b"garbage")
    outer = Channel(referee.detach(), time.monotonic() + 30)
    with pytest.raises(WireError, match="not JSON"):
        Desk(box, 1).last_word(outer)
    outer.close()
    jail.close()
