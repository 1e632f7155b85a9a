"""Null bands from clean models of other worlds."""

import pytest
import torch

from game.api import AccessError, RequestError, Toolbox
from game.toolbox.live import ModelToolbox
from game.tools.kit.result import Summary, ToolResult
from game.tools.kit.siblings import beside_siblings
from game.tools.lens import lens
from models.seeds import named_generator
from tests.game.tools.conftest import SHAPES, random_model, samples_of

MODELS = [random_model(SHAPES["windows"], f"world {number}") for number in range(7)]


def box() -> ModelToolbox:
    return ModelToolbox(MODELS[0], league="siblings", corpus=samples_of, total=1e6, siblings=MODELS[1:])


def depth(given: Toolbox) -> ToolResult:
    return lens(given, samples_of(8, 3).tokens)


def test_the_band_is_student_s_prediction_interval_over_the_siblings() -> None:
    found = beside_siblings(box(), depth, range(6))
    values = torch.tensor([depth(box().sibling(number)).summary[0].value for number in range(6)])
    assert found.summary[0].value == depth(box()).summary[0].value
    half = 2.5706 * values.std() * (7 / 6) ** 0.5  # t of 5 degrees of freedom
    assert found.summary[0].null == pytest.approx(
        (float(values.mean() - half), float(values.mean() + half)), abs=1e-4
    )
    assert found.cost == 7 * depth(box()).cost
    assert found.notes[-1].startswith("null bands: 6 clean models")


def test_one_more_model_of_the_kind_stays_inside_nineteen_times_in_twenty() -> None:
    source, outside, rounds = named_generator("kind"), 0, 200
    for _ in range(rounds):
        drawn = torch.randn(6, generator=source).tolist()
        values = iter([*drawn[1:], drawn[0]])  # the siblings are looked at first

        def look(_box: Toolbox, values: object = values) -> ToolResult:
            return ToolResult("drawn", {}, 0.0, {}, summary=(Summary("x", next(values)),))  # type: ignore[call-overload]

        outside += bool(beside_siblings(box(), look, range(5)).summary[0].stands_out)
    assert 2 <= outside <= 20  # 10 are expected: P(outside this) < 0.005


def test_a_figure_that_a_sibling_does_not_tell_has_no_band() -> None:
    names = iter(["a", "b", "a"])
    found = beside_siblings(
        box(), lambda _: ToolResult("named", {}, 1.0, {}, summary=(Summary(next(names), 1.0),)), (0, 1)
    )
    assert found.summary[0].null is None
    assert found.cost == 3


def test_too_few_siblings_or_a_league_without_any_are_refused_for_nothing() -> None:
    given = box()
    with pytest.raises(RequestError, match=r"numbers: got \[0\]; wanted two different siblings or more"):
        beside_siblings(given, depth, (0,))
    with pytest.raises(RequestError, match=r"numbers: got \[1, 1\]; wanted two different"):
        beside_siblings(given, depth, (1, 1))
    alone = ModelToolbox(MODELS[0], league="whitebox", corpus=samples_of, total=1e6)
    with pytest.raises(AccessError, match="sibling: not granted by the whitebox league"):
        beside_siblings(alone, depth, (0, 1))
    assert given.budget.spent == alone.budget.spent == 0
