"""How near a report came to where the edit was written, finer than components."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from game.api import Fine
from game.hearing import Said
from game.scoring.places import average_precision, overlap, places_found
from game.scoring.scores import Belief
from tests.game.hand_made import HEAD, MLP, case, truth

PLACES = ("a", "b", "c", "d", "e")

# Truth of an edit of W_out along its third column, by neuron 1, that acts through the MLP.
RECORD: dict[str, Any] = {
    "written": ["blocks.0.mlp.W_out"],
    "fine": {
        "neurons": [[0, 1]],
        "directions": [{"tensor": "blocks.0.mlp.W_out", "left": [1, 0, 0, 0], "right": [0, 0, 1, 0]}],
    },
    "carriers": {"repairs": {"blocks.0.mlp": 0.9, "blocks.1.attn.1": 0.2, "embed": 0.0}},
}


def found(reported: Fine | None, believed: dict[Any, float] | None = None, **record: Any) -> dict[str, float]:
    dealt = case(0, truth(MLP, "rome"))
    dealt = replace(dealt, truth=replace(dealt.truth, record=RECORD | record))
    odds = dict.fromkeys(dealt.brief.component_prior, 0.0) | (believed or {})
    return places_found(dealt, Said(Belief(0.9, odds), {}, "", [], fine=reported))


@pytest.mark.parametrize(
    ("reported", "written", "figure"),
    [
        # reported                    written     average precision
        ({"a": 1.0}, {"a"}, 1.0),
        ({"b": 1.0}, {"a"}, 1 / 5),
        ({"a": -7.0, "b": -9.0}, {"a"}, 1.0),
        ({"b": 2.0, "a": 1.0}, {"a"}, 1 / 2),
        ({"a": 3.0, "b": 2.0, "c": 1.0}, {"a", "c"}, (1 + 2 / 3) / 2),
        ({}, {"a"}, None),
        ({"a": 1.0}, set(), None),
        ({"a": 1.0}, set(PLACES), None),
    ],
)
def test_average_precision_of_a_ranking_of_places(
    reported: dict[str, float], written: set[str], figure: float | None
) -> None:
    assert average_precision(reported, written, PLACES) == (None if figure is None else pytest.approx(figure))


@pytest.mark.parametrize(
    ("reported", "written", "figure"),
    [
        # reported                 written               overlap
        ([[0, 0, 2.0]], [[0, 0, 1.0]], 1.0),
        ([[0, 0, -3.0]], [[0, 0, 1.0]], 1.0),
        ([[0, 1.0, 1.0]], [[0, 0, 1.0]], 0.5),
        ([[1.0, 0, 0]], [[0, 0, 1.0]], 0.0),
        ([[0, 0, 1.0], [0, 0, -1.0], [0, 0, 5.0]], [[0, 0, 1.0]], 1.0),
        ([[0, 0, 1.0], [0, 1.0, 0]], [[0, 0, 1.0]], 0.5),
        ([[0, 0, 1.0]], [[0, 0, 1.0], [0, 1.0, 0]], 0.5),
        ([[0, 1.0, 1.0], [0, 1.0, -1.0]], [[0, 0, 1.0], [0, 1.0, 0]], 1.0),
    ],
)
def test_overlap_of_directions(
    reported: list[list[float]], written: list[list[float]], figure: float
) -> None:
    assert overlap(torch.tensor(reported), torch.tensor(written)) == pytest.approx(figure, abs=1e-9)


@settings(deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 4), signs=st.integers(0, 15))
def test_a_direction_its_opposite_and_its_repeats_count_once(seed: int, k: int, signs: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    vectors, written = (torch.randn(n, 6, generator=generator) for n in (k, 2))
    flips = torch.tensor([1.0 if signs >> i & 1 else -1.0 for i in range(k)])[:, None]
    twice = torch.cat([vectors, flips * vectors * 3])
    assert overlap(twice, written) == pytest.approx(overlap(vectors, written), abs=1e-6)


def test_all_readouts_of_a_report_that_found_everything() -> None:
    fine = Fine({"blocks.0.mlp.W_out": 1.0}, {(0, 1): 5.0}, {"blocks.0.mlp.W_out": torch.eye(4)[2:3]})
    assert found(fine, {MLP: 0.9, HEAD: 0.1}) == {
        "acts_through": pytest.approx(1.0),
        "matrix_precision": 1.0,
        "neuron_precision": 1.0,
        "direction_overlap": pytest.approx(1.0),
    }


def test_a_matrix_without_a_reported_direction_counts_as_nothing_found() -> None:
    two = [*RECORD["fine"]["directions"], {"tensor": "unembed.W_U", "left": [], "right": [1, 0, 0, 0, 0, 0]}]
    fine = Fine(directions={"blocks.0.mlp.W_out": torch.eye(4)[2:3]})
    assert found(fine, fine={"directions": two})["direction_overlap"] == pytest.approx(0.5)


def test_what_is_undefined_is_left_out() -> None:
    assert found(None) == {}
    assert found(Fine(), {MLP: 0.5}, carriers={"repairs": {"blocks.0.mlp": 0.4, "embed": 0.4}}) == {}
    assert found(Fine(neurons={(0, 1): 1.0}), fine={"neurons": []}) == {}
    assert found(Fine({"unembed.W_U": 1.0}), written=[], fine={}, carriers={}) == {}


def test_the_acts_through_figure_is_a_rank_correlation() -> None:
    assert found(None, {MLP: 0.0, HEAD: 0.3})["acts_through"] == pytest.approx(0.0)
    assert found(None, {MLP: 0.1, HEAD: 0.9})["acts_through"] == pytest.approx(0.5)
