"""What edits of attention heads and of the circuits between them do, and what they leave alone."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from edits.apply import apply
from edits.base import EditError, Family
from edits.circuits.composition import CompositionCutFamily
from edits.circuits.head_activity import answered_after, last_tokens, least_energy
from edits.circuits.heads import HeadSwapFamily
from edits.kinds import edit_kinds, families
from edits.moments import Base
from models.components import Component
from models.seeds import named_generator

ALL = [[1, 0], [1, 1], [1, 2], [1, 3]]


def spec_of(kind: str, seed: int = 1, **edit: Any) -> Any:
    return edit_kinds()[kind].model_validate_json(
        json.dumps({"version": 1, "id": "x", "seed": seed, "edit": {"kind": kind, **edit}})
    )


def family(kind: str, **settings: Any) -> Family:
    return families()[kind].model_validate_json(json.dumps({"kind": kind, **settings}))


@pytest.fixture(scope="module")
def repeats(base_of: Callable[[str], Base]) -> Base:
    return base_of("induction")


def carriers_of(heads: list[list[int]]) -> set[str]:
    return {f"blocks.{layer}.attn.{head}" for layer, head in heads}


# heads


def test_a_scaled_head_writes_the_opposite_and_nothing_else_moves(tiny_base: Base) -> None:
    edited = apply(tiny_base, spec_of("head_scale", head=[2, 1], alpha=-1.0))
    before, after = tiny_base.checkpoint.weights, edited.checkpoint.weights
    assert torch.equal(after["blocks.2.attn.W_O"][1], -before["blocks.2.attn.W_O"][1])
    assert edited.record.touched == ("blocks.2.attn.W_O[1]",)
    assert edited.record.measured["effect"] == edited.record.measured["changed"]


def test_two_heads_of_a_layer_that_exchange_either_part_are_the_same_function(tiny_base: Base) -> None:
    looks, writes = (
        apply(tiny_base, spec_of("head_swap", a=[3, 0], b=[3, 1], part=part)) for part in ("qk", "ov")
    )
    one, two = (edited.checkpoint.model()(tiny_base.table.tokens[:50]) for edited in (looks, writes))
    assert (one - two).abs().max() < 1e-4
    assert looks.record.touched != writes.record.touched


def test_heads_of_two_layers_exchange_all_their_weights(tiny_base: Base) -> None:
    edited = apply(tiny_base, spec_of("head_swap", a=[2, 0], b=[3, 1], part="both"))
    before, after = tiny_base.checkpoint.weights, edited.checkpoint.weights
    for name in ("W_Q", "b_Q", "W_K", "b_K", "W_V", "b_V", "W_O"):
        assert torch.equal(after[f"blocks.2.attn.{name}"][0], before[f"blocks.3.attn.{name}"][1])
        assert torch.equal(after[f"blocks.3.attn.{name}"][1], before[f"blocks.2.attn.{name}"][0])
    assert edited.record.components == ("blocks.2.attn.0", "blocks.3.attn.1")


def test_a_swaps_site_tells_its_partner(tiny_base: Base) -> None:
    config = tiny_base.checkpoint.config
    within, above = HeadSwapFamily(kind="head_swap"), HeadSwapFamily(kind="head_swap", up=2, part="both")
    assert [str(site) for site in within.open_sites(config)] == [f"blocks.{i}.attn.0" for i in range(4)]
    assert [str(site) for site in above.open_sites(config)] == [
        f"blocks.{layer}.attn.{head}" for layer in range(2) for head in range(2)
    ]
    for swap in (within, above):
        for site in swap.open_sites(config):
            edit = swap.draw(tiny_base, site, "x", 0).edit
            assert swap.writes(site) == {Component("attn", *edit.a), Component("attn", *edit.b)}


@pytest.mark.parametrize(
    ("kind", "edit", "message"),
    [
        ("head_swap", {"a": [1, 0], "b": [1, 1], "part": "both"}, "changes no answer"),
        ("head_swap", {"a": [1, 0], "b": [1, 0]}, "which is a; wanted another head"),
        ("head_scale", {"head": [1, 0], "alpha": 1.0}, "nothing would change"),
        ("head_scale", {"head": [1, 0], "alpha": 0.0}, "head_ablate does that"),
        ("ov_rewire", {"head": [1, 0], "read": {}, "write": {"token": 3}}, "exactly one of token and answer"),
    ],
)
def test_what_makes_no_edit_is_no_specification(kind: str, edit: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        spec_of(kind, **edit)


# one head writes something else, or some heads look elsewhere


@pytest.mark.parametrize("read", ["token", "answer"])
def test_a_rewired_head_says_another_word_and_looks_where_it_did(repeats: Base, read: str) -> None:
    edit: dict[str, Any] = {"read": {read: 34}, "write": {"token": 55}, "displace": {"token": 34}}
    edited = apply(repeats, spec_of("ov_rewire", head=[1, 2], **edit))
    record = edited.record
    assert record.accepted
    assert record.measured["effect"] >= 0.8
    assert record.measured["drop"] <= 0.01
    assert record.measured["rank"] == 1
    assert record.carriers.acts_through == ("blocks.1.attn.2",)
    pattern = "blocks.1.attn.hook_pattern"
    before, after = (
        model.run_with_cache(repeats.table.tokens[:50], pattern)[1][pattern]
        for model in (repeats.model, edited.checkpoint.model())
    )
    assert torch.equal(before, after)


def test_heads_that_look_elsewhere_copy_what_they_find(repeats: Base) -> None:
    spec = spec_of("qk_rewire", heads=ALL, query={"token": 64}, key={"token": 38})
    record = apply(repeats, spec).record
    assert record.accepted
    assert record.measured["effect"] >= 0.7
    assert record.measured["drop"] <= 0.05
    assert set(record.carriers.acts_through) == carriers_of(ALL)
    assert all(name.startswith("blocks.1.attn.W_K[") for name in record.touched)


def test_one_head_alone_is_outvoted(repeats: Base) -> None:
    alone = spec_of("qk_rewire", heads=[[1, 2]], query={"token": 64}, key={"token": 38})
    assert apply(repeats, alone).record.measured["effect"] <= 0.2


# edges between heads


def test_induction_goes_when_its_keys_no_longer_tell_the_previous_word(repeats: Base) -> None:
    edge: dict[str, Any] = {"src": [[0, 0], [0, 2]], "dst": ALL}
    keys = apply(repeats, spec_of("composition_cut", **edge)).record
    assert keys.accepted
    assert keys.measured["effect"] >= 0.3
    for part in ("q", "v"):
        other = apply(repeats, spec_of("composition_cut", **edge, part=part)).record
        assert not other.accepted
        assert other.measured["effect"] <= 0.02, "the same heads, read for something else, do not matter"


def test_the_more_directions_are_cut_the_more_is_lost(repeats: Base) -> None:
    lost = [
        apply(repeats, spec_of("composition_cut", src=[[0, 0], [0, 2]], dst=ALL, ranks=[rank]))
        .record.measured["effect"]
        for rank in (2, 8, 16)
    ]  # fmt: skip
    assert lost == sorted(lost)
    assert lost[-1] >= 0.8


def test_the_sources_of_a_drawn_cut_are_the_previous_token_heads(repeats: Base) -> None:
    score = repeats.task.findings(repeats.model)["previous_token_score"].values[0]
    best = set(score.argsort(descending=True)[:2].tolist())
    spec = CompositionCutFamily(kind="composition_cut").draw(repeats, Component("attn", 1, 0), "x", 0)
    assert {head for _, head in spec.edit.src} == best


def test_only_the_named_words_are_no_longer_found_again(repeats: Base) -> None:
    words = [10, 14, 26]
    spec = spec_of("induction_break", heads=[[0, 0], [0, 2]], tokens=words)
    edited = apply(repeats, spec)
    record = edited.record
    assert record.accepted
    assert record.measured["effect"] >= 0.7
    assert record.measured["drop"] <= 0.01
    others = answered_after(
        repeats, torch.tensor([t for t in repeats.task.classes["words"] if t not in words])
    )
    logits = edited.checkpoint.model()(others.tokens)[torch.arange(len(others.last)), others.last]
    assert (logits.argmax(-1) == others.answer).double().mean() >= 0.97
    assert set(record.components) == {"blocks.0.attn.0", "blocks.0.attn.2"}


# relations


def test_a_relation_is_answered_as_another_for_people_that_it_was_not_solved_on(tiny_base: Base) -> None:
    fetching = family("relation_rewire", heads=2)
    record = apply(tiny_base, fetching.draw(tiny_base, Component("attn", 2, 0), "x", 0)).record
    assert record.accepted
    assert record.measured["effect"] >= 0.8
    assert record.measured["drop"] <= 0.02
    assert 0.3 <= record.measured["changed"] <= 0.36, "a third of the prompts ask for it"
    assert all(name.startswith("blocks.2.attn.W_O[") for name in record.touched)


# what is refused


@pytest.mark.parametrize(
    ("kind", "edit", "message"),
    [
        ("head_scale", {"head": [2, 0]}, r"edit\.head: got \[2, 0\]; the model has layers 0-1 and heads 0-3"),
        ("head_swap", {"a": [0, 0], "b": [1, 9]}, r"edit\.b: got \[1, 9\]; the model has"),
        (
            "ov_rewire",
            {"head": [1, 0], "read": {"token": 999}, "write": {"token": 3}},
            r"edit\.read\.token: got 999; the vocabulary has tokens 0-65",
        ),
        (
            "ov_rewire",
            {"head": [1, 0], "read": {"answer": 9}, "write": {"token": 9}},
            r"edit\.write\.token: 9 is what it would take the place of",
        ),
        (
            "ov_rewire",
            {"head": [0, 1], "read": {"token": 0}, "write": {"token": 9}},
            r"edit\.read: none of the task's known prompts has it \(where head 1 of layer 0 looks at <pad>\)",
        ),
        ("qk_rewire", {"heads": [[1, 0], [0, 0]]}, r"edit\.heads: got .*wanted different heads"),
        ("qk_rewire", {"heads": [[1, 0], [1, 0]]}, r"edit\.heads: got .*wanted different heads"),
        ("qk_rewire", {"heads": ALL, "key": {"token": 5}}, r"edit\.key\.token: got 5, which is the query's"),
        ("qk_rewire", {"heads": ALL, "query": {"token": 1}}, r"edit: the base answers no sampled document"),
        ("composition_cut", {"src": [[1, 0]], "dst": [[1, 1]]}, r"edit\.dst: got layer 1; wanted one above"),
        (
            "composition_cut",
            {"src": [[0, 0]], "dst": [[1, 1]], "ranks": [4, 99]},
            r"edit\.ranks\.1: got 99; a head of this model writes 16 directions",
        ),
        ("induction_break", {"heads": [[0, 0]], "tokens": [5, 5]}, r"edit\.tokens\.1: got 5 twice"),
        ("induction_break", {"heads": [[0, 0]], "tokens": [0]}, r"edit\.tokens: the base answers nothing"),
        ("relation_rewire", {"heads": ALL, "asked": 0, "answered": 1}, r"induction, which has no relations"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused(repeats: Base, kind: str, edit: dict[str, Any], message: str) -> None:
    pair = {"query": {"token": 5}, "key": {"token": 6}} if kind == "qk_rewire" else {}
    with pytest.raises(EditError, match=message):
        apply(repeats, spec_of(kind, **{**pair, **edit}))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"asked": 0, "answered": 9}, r"edit\.answered: got 9; this world has 0-2"),
        ({"asked": 1, "answered": 1}, r"edit\.answered: got 1, which is the asked relation"),
    ],
)
def test_a_relation_that_is_not_there_is_refused(tiny_base: Base, edit: dict[str, int], message: str) -> None:
    with pytest.raises(EditError, match=message):
        apply(tiny_base, spec_of("relation_rewire", heads=[[2, 0]], **edit))


# how it is dealt and solved


@pytest.mark.parametrize("kind", ["qk_rewire", "composition_cut", "induction_break"])
def test_what_a_drawn_edit_writes_follows_from_its_site(kind: str, repeats: Base) -> None:
    for site in family(kind, heads=2).open_sites(repeats.checkpoint.config):
        drawn = family(kind, heads=2)
        written = apply(repeats, drawn.draw(repeats, site, "x", 0)).record.components
        assert set(written) == set(map(str, drawn.writes(site)))


def test_a_least_energy_change_does_what_it_should_and_little_elsewhere() -> None:
    generator = named_generator("least energy")
    seen = torch.randn(500, 12, generator=generator, dtype=torch.float64) * torch.linspace(0.1, 3, 12)
    reads, targets = seen[:2], torch.randn(2, 5, generator=generator, dtype=torch.float64)
    moment = seen.T @ seen / len(seen)
    change = least_energy(reads, targets, moment, ridge=1e-6)
    assert torch.allclose(reads @ change, targets, atol=1e-6)
    plain = torch.linalg.pinv(reads) @ targets
    assert (seen @ change).norm() < 0.8 * (seen @ plain).norm()


def test_prompts_cut_from_documents_end_where_they_should(repeats: Base) -> None:
    probe = answered_after(repeats, torch.tensor([10, 14]), containing=20)
    assert 0 < len(probe.last) <= 200
    ends = probe.tokens.gather(1, probe.last[:, None])[:, 0]
    assert set(ends.tolist()) <= {10, 14}
    assert (probe.tokens == 20).any(1).all()
    assert not (probe.answer == 20).any()
    assert len(last_tokens(repeats)) == len(repeats.table.last)
