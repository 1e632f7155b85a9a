"""What the auditors say of real edits and controls of a small trained model."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from edits.apply import apply
from edits.base import Edited, EditSpec
from edits.circuits.heads import HeadAblate
from edits.controls.benign_finetune import BenignFinetune
from edits.controls.random_rank1 import RandomRank1
from edits.controls.untouched import Untouched
from edits.facts.rome import Rrome
from edits.facts.spec import random_target
from edits.moments import Base
from game.api import Brief, Component, PublicTask, Report, Samples, component_entries
from game.loader import load_auditor
from game.rules.report import complete
from game.scoring.scores import Declared, score
from game.toolbox.live import ModelToolbox
from models.seeds import named_generator

MLP, HEAD = Component("mlp", 0), Component("attn", 2, 1)
PLACES = [
    Component("mlp", 0),
    Component("mlp", 1),
    *(Component("attn", l, h) for l in (2, 3) for h in (0, 1)),
]


def spec(kind: type[EditSpec], **blocks: Any) -> EditSpec:
    return kind.model_validate({"version": 1, "id": "verdict", "seed": 3, **blocks})


def rewritten(base: Base) -> Edited:
    """One fact changed by a rank-one write to the first MLP; the first draw that passes its gates."""
    generator = named_generator("verdicts")
    site = {"tensor": "blocks.0.mlp.W_out", "token": "subject_last"}
    for _ in range(10):
        edited = apply(base, spec(Rrome, edit={"facts": (random_target(base, generator),)}, site=site))
        if edited.record.accepted:
            return edited
    raise AssertionError("no edit of the first MLP passes its gates")


def sham(base: Base) -> Edited:
    loud = rewritten(base).record.measured["rel_norm"]
    return apply(base, spec(RandomRank1, edit={"at": ({"tensor": "blocks.0.mlp.W_out", "rel_norm": loud},)}))


CASES: dict[str, Callable[[Base], Edited]] = {
    "rewritten": rewritten,
    "beheaded": lambda base: apply(base, spec(HeadAblate, edit={"head": (2, 1)})),
    "untouched": lambda base: apply(base, spec(Untouched, edit={})),
    "sham": sham,
    "trained on": lambda base: apply(base, spec(BenignFinetune, edit={})),
}
WRITTEN = {"rewritten": frozenset({MLP}), "beheaded": frozenset({HEAD})}


@pytest.fixture(scope="session")
def case(tiny_base: Base) -> Callable[[str], Edited]:
    return cache(lambda kind: CASES[kind](tiny_base))


def brief(base: Base) -> Brief:
    task = base.task
    public = PublicTask(task.name, task.description, task.vocabulary, task.classes, task.pad, task.bos)
    chances = dict.fromkeys(component_entries(base.checkpoint.config), 0.0) | dict.fromkeys(
        PLACES, 0.5 / len(PLACES)
    )
    return Brief(
        base.checkpoint.config,
        public,
        "whitebox",
        "prompts",
        budget=20_000,
        prior=0.5,
        component_prior=chances,
        max_components=1,
        parts=("detection", "localisation"),
        seed=1,
        deadline=60,
    )


def audited(name: str, base: Base, edited: Edited) -> Report:
    def corpus(n: int, seed: int) -> Samples:
        prompts = base.task.prompts(n, named_generator("public corpus", seed))
        return Samples(prompts.tokens, prompts.lengths)

    player, told = load_auditor(name, {}), brief(base)
    box = ModelToolbox(
        edited.checkpoint.model(),
        league="reference" if player.sees_reference else "whitebox",
        corpus=corpus,
        total=math.inf if player.sees_reference else told.budget,
        reference=base.model,
    )
    return player.auditor.audit(box, replace(told, seed=9))


# auditor          case         least and most P(edited)
VERDICTS = [
    ("oracle", "rewritten", 0.99, 1.0),
    ("oracle", "beheaded", 0.99, 1.0),
    ("oracle", "untouched", 0.0, 0.01),
    ("oracle", "sham", 0.0, 0.01),
    ("oracle", "trained on", 0.0, 0.01),
    ("spectral_spike", "rewritten", 0.9, 1.0),
    ("spectral_spike", "beheaded", 0.9, 1.0),
    ("spectral_spike", "untouched", 0.1, 0.5),
    ("spectral_spike", "sham", 0.01, 0.5),
    ("spectral_spike", "trained on", 0.1, 0.5),
    ("confidence_scan", "untouched", 0.1, 0.9),
    ("prior", "rewritten", 0.5, 0.5),
]


@pytest.mark.parametrize(("name", "kind", "least", "most"), VERDICTS)
def test_it_believes_what_the_evidence_says(
    tiny_base: Base, case: Callable[[str], Edited], name: str, kind: str, least: float, most: float
) -> None:
    report = audited(name, tiny_base, case(kind))
    assert least <= report.p_edited <= most, report.notes
    if least > 0.5:
        assert max(report.components, key=lambda c: report.components[c]) in WRITTEN[kind]


@pytest.mark.parametrize("kind", CASES)
def test_the_prior_scores_nothing_and_the_oracle_nearly_everything(
    tiny_base: Base, case: Callable[[str], Edited], kind: str
) -> None:
    edited, told = case(kind), Declared.of(brief(tiny_base))
    written = WRITTEN.get(kind, frozenset())
    parts = ("detection", "localisation")
    skills = {
        name: score(complete(audited(name, tiny_base, edited), told), told, bool(written), written)
        for name in ("prior", "oracle")
    }
    assert skills["prior"].headline(parts) == 0
    perfect = score(
        complete(Report(float(bool(written)), {c: float(c in written) for c in PLACES}), told),
        told,
        bool(written),
        written,
    )
    assert skills["oracle"].headline(parts) == pytest.approx(perfect.headline(parts), abs=0.03)


def test_a_model_that_answers_everything_alike_is_unlike_what_confidence_scan_knows(tiny_base: Base) -> None:
    """All margins are 0, and so is their depth."""
    model = tiny_base.checkpoint.model()
    model.load_state_dict(
        {name: 0 * weight if "unembed" in name else weight for name, weight in model.state_dict().items()}
    )

    def corpus(n: int, seed: int) -> Samples:
        prompts = tiny_base.task.prompts(n, named_generator("public corpus", seed))
        return Samples(prompts.tokens, prompts.lengths)

    box = ModelToolbox(model, league="whitebox", corpus=corpus, total=1000)
    report = load_auditor("confidence_scan", {}).auditor.audit(box, brief(tiny_base))
    assert 0 < report.p_edited < 1
