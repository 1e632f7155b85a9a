"""What an auditor says at the end: reports and judgements."""

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from benchmarks.fuzzing.door import Door, mutated
from benchmarks.fuzzing.line import Memory, bytes_of, sent
from game.api import Component, Fine, Judgement, LowRank, Report
from game.hearing import copied
from game.rules.faults import ReportError
from game.rules.judgement import judged
from game.sandbox.testimony import judgement_frame, read_judgement, read_report, report_frame
from game.sandbox.wire import Frame, WireError
from game.scoring.scores import Declared
from tests.game.hand_made import CHALLENGE, CONFIG, brief
from tests.game.identical import identical


def report(said: Frame | bytes) -> bool:
    """A report that is taken is the same after another journey."""

    def read(frame: Frame) -> tuple[object, Frame]:
        told, judges = read_report(frame)
        checked = copied(told, Declared.of(brief()), CONFIG)
        return checked, report_frame(checked, judges)

    return _heard(said, read)


def judgement(said: Frame | bytes) -> bool:
    """And so is a judgement."""

    def read(frame: Frame) -> tuple[object, Frame]:
        checked = judged(read_judgement(frame, "7"), CHALLENGE)
        return checked, judgement_frame(checked, "7")

    return _heard(said, read)


def _heard(said: Frame | bytes, read: Callable[[Frame], tuple[object, Frame]]) -> bool:
    try:
        frame = Memory(said).receive() if isinstance(said, bytes) else sent(said)
        checked, written = read(frame)
    except (WireError, ReportError):
        return False
    assert identical(read(sent(written))[0], checked), checked
    return True


ODDS = st.sampled_from([0.0, 0.5, 0.25, 1.0, 1, -0.0, 1e-320, 1.5, -1.0, True, "0.5", None])
FACTORS: list[Tensor] = [
    *(torch.ones(4, 1), torch.ones(1, 4), torch.ones(2, 4, 1), torch.ones(2, 1, 2), torch.ones(4, 33)),
    *(torch.ones(1, 6), torch.ones(0, 4), torch.ones(4), -torch.ones(4, 1) / 0, torch.ones(4, 1).double()),
]
LISTS: list[Tensor] = [
    *(torch.zeros(0).double(), torch.full((4,), 0.5).double(), torch.ones(1).double(), torch.zeros(4)),
    *(torch.zeros(0, dtype=torch.int64), torch.tensor([0]), torch.tensor([1, 1]), torch.tensor([2, 3])),
    *(
        torch.tensor([-1]),
        torch.tensor([2**62]),
        torch.zeros(0, 2, dtype=torch.int64),
        torch.tensor([[0, 3]]),
    ),
    *(torch.tensor([[0, 3], [0, 3]]), torch.tensor([[9, 9]]), torch.tensor([2.0, -1.0]).double()),
]
PLACES = st.sampled_from(["blocks.0.mlp.W_out", "blocks.0.attn.W_Q", "unembed.W_U", "unembed", "", "../x"])
COMPONENTS = st.sampled_from(["blocks.0.mlp", "blocks.1.attn.1", "embed", "blocks.9.mlp", "", "blocks.0"])
REPORTS = st.fixed_dictionaries(
    {
        "type": st.just("report"),
        "p_edited": ODDS,
        "components": st.dictionaries(COMPONENTS, ODDS, max_size=2),
    },
    optional={
        "notes": st.sampled_from(["", "\x00\U0001f575", "x" * 20_000, None]),
        "claims": st.sampled_from(["[]", '[{"a": NaN}]', "{}", "[1]", "[[[]]]", "", "[" * 5000]),
        "judges": st.sampled_from([True, False, 1, None]),
        "patch": st.none() | st.lists(PLACES, max_size=2),
        "fine": st.none()
        | st.fixed_dictionaries(
            {
                "matrices": st.dictionaries(PLACES, ODDS, max_size=2),
                "directions": st.lists(PLACES, max_size=2),
            }
        ),
        "score": st.just(1),
    },
)  # fmt: skip


@st.composite
def reports(draw: st.DrawFn) -> Frame:
    """A report, mostly with the tensors that it announces."""
    header: dict[str, Any] = {"notes": "", "claims": "[]"} | draw(REPORTS)
    wanted = [f"patch.{name}.{side}" for name in header.get("patch") or () for side in ("left", "right")]
    if fine := header.get("fine"):
        wanted += ["neurons", "neuron_scores", *(f"directions.{name}" for name in fine["directions"])]
    wanted += draw(st.sampled_from([[], [], [], ["more"]]))
    pools = {name: LISTS if name.startswith("neuron") else FACTORS for name in wanted}
    return Frame(header, {name: draw(st.sampled_from(pool)).clone() for name, pool in pools.items()})


@st.composite
def judgements(draw: st.DrawFn) -> Frame:
    """A judgement, mostly with the lists that it needs."""
    names = ["changed", "before.prompt", "before.count", "before.token", "before.odds"]
    names = draw(st.sampled_from([names] * 8 + [names[1:], [*names, "more"]]))
    tensors = {name: draw(st.sampled_from(LISTS)).clone() for name in names}
    if draw(st.booleans()):
        tensors |= {name: LISTS[0 if name.endswith("odds") else 4].clone() for name in names[1:5]}
    number = draw(st.sampled_from(["7", "7", "7", "8", 7, None]))
    return Frame({"type": "judgement", "challenge": number}, tensors)


SAID = copied(
    Report(
        0.5,
        {Component("mlp", 0): 0.25},
        patch={"blocks.0.mlp.W_out": LowRank(torch.ones(4, 1), torch.ones(1, 4))},
        fine=Fine({"unembed.W_U": 1.0}, {(0, 1): 2.0}, {"blocks.0.mlp.W_out": torch.ones(1, 4)}),
    ),
    Declared.of(brief()),
    CONFIG,
)
JUDGED = Judgement((0.5, 0.25, 0.0, 1.0), {0: {2: 0.5, 3: 0.25}, 2: {4: 1.0}})
DOORS = (
    Door("reports", reports() | mutated([bytes_of(report_frame(SAID, True))]), report, 0.06),
    Door("judgements", judgements() | mutated([bytes_of(judgement_frame(JUDGED, "7"))]), judgement, 0.05),
)
