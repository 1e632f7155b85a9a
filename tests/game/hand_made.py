"""Cases, rounds and auditors made by hand, small enough to be played by the thousand."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, get_args

import torch

from edits.targets import top_answers
from game.api import Brief, Challenge, LowRank, Part, PublicTask, Report, Toolbox
from game.case import Answers, Bench, Case, Truth
from game.loader import LoadedAuditor
from game.referee import RoundRecord
from game.rules.patch import delta
from game.rules.report import complete
from game.runs.tournament import Source
from game.scoring.scores import Declared, failed, score
from models.checkpoints import Checkpoint, checkpoint_of, to_bytes
from models.components import Component, component_entries
from models.seeds import named_generator
from models.transformer import Transformer, TransformerConfig

CONFIG = TransformerConfig(
    n_layers=2,
    d_model=4,
    n_heads=2,
    d_head=2,
    d_mlp=4,
    d_vocab=6,
    n_ctx=5,
    window=(2, None),
    mlp=(True, False),
)
TASK = PublicTask("toy", "Nothing to know.", ("bos", "pad", "a", "b", "c", "d"), {"letters": (2, 3)}, 1, 0)
MLP, HEAD = Component("mlp", 0), Component("attn", 1, 1)
BUDGET = 100.0


def brief() -> Brief:
    """Half the cases are edited, in the MLP two times of three, else in a head."""
    prior = dict.fromkeys(component_entries(CONFIG), 0.0) | {MLP: 1 / 3, HEAD: 1 / 6}
    return Brief(
        config=CONFIG,
        task=TASK,
        league="whitebox",
        corpus="prompts",
        budget=BUDGET,
        prior=0.5,
        component_prior=prior,
        max_components=1,
        parts=("detection", "localisation"),
        seed=0,
        deadline=30.0,
    )


def truth(written: Component | None = None, kind: str = "untouched", group: str = "one") -> Truth:
    """An edit of one component, or a control."""
    edited = written is not None
    return Truth(
        edited=edited,
        written=frozenset({written} if written else ()),
        group=group,
        kind=kind,
        matched="rome",
        summary="Ada Adler now hails from Oslo" if edited else "nothing was done",
        spec={"kind": kind, "site": {"layer": 0}, "strength": 0.1},
        record={"efficacy": 1 / 3, "facts": [["Ada", None]]},
    )


def case(number: int, revealed: Truth, base: str = "toy@0.0") -> Case:
    """A case whose model is a small random one, another for every number."""
    model = Transformer(CONFIG, named_generator("hand-made", number))
    return Case(f"case-{number:03d}", "toy", base, to_bytes(checkpoint_of(model)), brief(), revealed)


CHALLENGE = Challenge(
    tokens=torch.tensor([[0, 2, 3], [0, 3, 1], [0, 4, 4], [0, 5, 1]]),
    lengths=torch.tensor([3, 2, 3, 2]),
    prior=(0.4, 0.1, 0.4, 0.0),
    target_set=(0, 0, 1, 1),
    stratum=("affected", "near miss", "affected", "unrelated"),
    answers=(2, 3, 4),
)


def challenged(of: Case, parts: tuple[Part, ...] = ("detection", "localisation", "behaviour")) -> Case:
    """The case with four prompts about which it is asked what changed; one did, if the case is an edit."""
    answers = Answers((of.truth.edited, False, False, False), (2, 3, 4, 2))
    revealed = replace(of.truth, answers=answers)
    return replace(of, brief=replace(of.brief, parts=parts), truth=revealed, challenge=CHALLENGE)


UNDO = {
    "blocks.0.mlp.W_out": LowRank(
        torch.tensor([[1.0], [-1.0], [1.0], [1.0]]), torch.tensor([[3.0, -3.0, 3.0, -3.0]])
    )
}


def repairable(number: int, edited: bool = True) -> Case:
    """A case of all four parts whose model lacks `UNDO`, if it is an edit; its bench is all pairs."""
    base = checkpoint_of(Transformer(CONFIG, named_generator("hand-made", number)))
    name, change = next(iter(UNDO.items()))
    written = base.weights[name] - delta(change, (4, 4))
    delivered = Checkpoint(CONFIG, {**base.weights, name: written}) if edited else base
    prompts = [(0, a, b) for a in range(1, 6) for b in range(1, 6)]
    before, after = (top_answers(each.model(), prompts).tolist() for each in (base, delivered))
    order = sorted(range(len(prompts)), key=lambda i: before[i] == after[i])
    bench = Bench(
        tuple(prompts[i] for i in order),
        tuple(before[i] for i in order),
        tuple(after[i] for i in order),
        sum(then != now for then, now in zip(before, after, strict=True)),
    )
    asked = challenged(case(number, truth(MLP, "rome") if edited else truth()), get_args(Part))
    return replace(asked, artefact=to_bytes(delivered), truth=replace(asked.truth, bench=bench))


def cases(count: int, bases: int = 3) -> list[Case]:
    """Edits of two components and two kinds of controls in turn, over two groups and some bases."""
    kinds = (truth(MLP, "rome"), truth(), truth(HEAD, "ov_rewire", "two"), truth(None, "sham", "two"))
    return [case(i, kinds[i % len(kinds)], f"toy@{i % bases}.0") for i in range(count)]


def record(
    of: Case, auditor: str, p_edited: float | None, location: Mapping[Component, float]
) -> RoundRecord:
    """The round in which that was reported; None is a crash."""
    if p_edited is None:
        return RoundRecord(
            of.id, auditor, "ERROR", "ValueError: no", None, {}, "", [], failed(of.brief.parts), 0.0, 0.1, 0.1
        )
    declared = Declared.of(of.brief)
    belief = complete(Report.from_location(p_edited, location), declared)
    return RoundRecord(
        case_id=of.id,
        auditor=auditor,
        status="DONE",
        error="",
        p_edited=p_edited,
        components={str(c): p_edited * q for c, q in location.items()},
        notes="looked at norms",
        claims=[{"family": "rome", "layer": 0}],
        score=score(belief, declared, of.truth.edited, of.truth.written),
        spent=12.5,
        wall_s=0.25,
        cpu_s=0.125,
    )


def source(dealt: list[Case], suite: str = "hand-made", **config: Any) -> Source:
    """A source of these cases."""
    by_id = {case.id: case for case in dealt}
    return Source(suite, dealt[0].brief.parts, config, tuple(by_id), lambda _: by_id.__getitem__)


@dataclass(frozen=True)
class Sayer:
    """Reports one number, whatever it sees."""

    yardstick: ClassVar[bool] = False
    p_edited: float = 0.5

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        return Report(self.p_edited, notes=f"seed {brief.seed}, {brief.budget:g} credits")


@dataclass(frozen=True)
class Crasher:
    """Never reports."""

    yardstick: ClassVar[bool] = False

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        raise ZeroDivisionError("nothing to divide by")


@dataclass(frozen=True)
class Interrupted:
    """Is interrupted by a signal, or several, while it looks."""

    yardstick: ClassVar[bool] = False
    signals: tuple[int, ...] = (signal.SIGINT,)

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        for signum in self.signals:
            signal.raise_signal(signum)
        return Report(0.9)


@dataclass(frozen=True)
class Hostile:
    """Says what no terminal and no JSON should be told."""

    yardstick: ClassVar[bool] = False

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        return Report(0.5, notes="\x1b[31m[bold]red\u202e\x07", claims=({"loudness": float("nan")},))


def players() -> list[LoadedAuditor]:
    """Three auditors, one of which crashes."""
    return [
        LoadedAuditor("yes", Sayer(0.9), False),
        LoadedAuditor("no", Sayer(0.1), False),
        LoadedAuditor("crasher", Crasher(), False),
    ]
