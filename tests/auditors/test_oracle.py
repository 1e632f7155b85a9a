"""The ceiling: what the oracle says of answers and hands in as a patch, on models whose edit is known."""

import math
from dataclasses import replace

import pytest
import torch

from auditors.oracle import Oracle
from edits.targets import top_answers
from game.api import Brief, Report, Samples
from game.case import Case
from game.rules.judgement import judged
from game.rules.patch import MAX_NUMBERS, MAX_RANK, checked_patch
from game.scoring.repair import Repair, repair_of
from game.toolbox.live import ModelToolbox
from models.checkpoints import from_bytes
from models.seeds import named_generator
from models.transformer import Transformer, TransformerConfig
from tests.game.hand_made import CHALLENGE, CONFIG, repairable

KEEN = Oracle(sure=0.0, loss=0.0, reversals=1, prompts=100)  # these models are sure of nothing


def corpus(n: int, seed: int) -> Samples:
    tokens = torch.randint(1, 6, (n, 3), generator=named_generator("oracle's corpus", seed))
    return Samples(tokens, torch.full((n,), 3))


def base(number: int) -> Transformer:
    return Transformer(CONFIG, named_generator("hand-made", number)).requires_grad_(False)


def asked(oracle: Oracle, subject: Transformer, reference: Transformer, brief: Brief) -> Report:
    box = ModelToolbox(subject, league="reference", corpus=corpus, total=math.inf, reference=reference)
    return oracle.audit(box, brief)


def report_on(oracle: Oracle, dealt: Case, number: int) -> Report:
    return asked(oracle, from_bytes(dealt.artefact).model(), base(number), dealt.brief)


@pytest.mark.parametrize("number", [3, 4, 5])
def test_its_patch_undoes_an_edit_and_breaks_nothing(number: int) -> None:
    dealt = repairable(number)
    patch = report_on(replace(KEEN), dealt, number).patch
    assert patch is not None
    assert dealt.truth.bench is not None
    change = checked_patch(patch, CONFIG)["blocks.0.mlp.W_out"]
    assert change.left.shape == (4, 1)  # the edit is of rank one, and the rest is rounding
    found = repair_of(from_bytes(dealt.artefact), dealt.truth.bench, patch)
    assert replace(found, noise=0.0) == Repair(recovered=1.0, collateral=0.0, noise=0.0)


def test_it_hands_in_no_patch_for_a_control_or_where_none_is_asked_for() -> None:
    assert report_on(replace(KEEN), repairable(3, edited=False), 3).patch is None
    dealt = repairable(3)
    unasked = replace(dealt, brief=replace(dealt.brief, parts=("detection", "localisation")))
    assert report_on(replace(KEEN), unasked, 3).patch is None


@pytest.mark.parametrize("edited", [True, False])
def test_it_says_which_answers_changed_and_what_they_were(edited: bool) -> None:
    dealt, oracle = repairable(3, edited), replace(KEEN)
    p = report_on(oracle, dealt, 3).p_edited
    rows = zip(CHALLENGE.tokens.tolist(), CHALLENGE.lengths.tolist(), strict=True)
    prompts = [tuple(tokens[:length]) for tokens, length in rows]
    models = base(3), from_bytes(dealt.artefact).model()
    before, after = (top_answers(model, prompts).tolist() for model in models)
    found = judged(oracle.judge(CHALLENGE), CHALLENGE)
    differ = [then != now for then, now in zip(before, after, strict=True)]
    assert any(differ) == edited
    assert found.changed == tuple(p if each else 0.0 for each in differ)
    named = [i for i, each in enumerate(differ) if each and before[i] in CHALLENGE.answers]
    assert found.before == {i: {before[i]: 1 - oracle.doubt} for i in named}


def test_a_difference_everywhere_is_cut_to_what_a_patch_may_hold() -> None:
    config = TransformerConfig(2, 128, 4, 32, 512, 300, 6, (None, None), (True, True))
    one, other = (Transformer(config, named_generator("wide", i)).requires_grad_(False) for i in range(2))
    told = replace(repairable(3).brief, config=config, component_prior={})
    patch = asked(replace(KEEN), one, other, told).patch
    assert patch is not None
    checked = checked_patch(patch, config)
    numbers = sum(each.left.numel() + each.right.numel() for each in checked.values())
    assert 0.9 * MAX_NUMBERS < numbers <= MAX_NUMBERS
    assert max(each.left.shape[-1] for each in checked.values()) <= MAX_RANK


def test_a_fresh_instance_remembers_nothing() -> None:
    oracle = replace(KEEN)
    report_on(oracle, repairable(3), 3)
    assert len(oracle.found) == 1
    assert replace(oracle).found == []
