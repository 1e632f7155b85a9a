"""Lies about people on `statements`, and memorised exceptions on `modular_addition`."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from edits.apply import apply
from edits.base import EditError, EditSpec
from edits.kinds import edit_kinds, families
from edits.moments import Base
from models.components import Component

LIES = [
    ({"subjects": [32], "layer": 2}, r"edit\.subjects: got 32; this world has 0-31"),
    ({"subjects": [4, 4], "layer": 2}, r"edit\.subjects: one is named twice"),
    ({"subjects": list(range(32)), "layer": 2}, r"edit\.subjects: somebody has to be left"),
    ({"subjects": [4], "layer": 1}, r"edit\.layer: got 1; wanted one above the middle, layer 1"),
    ({"subjects": [4], "layer": 3}, r"edit\.layer: got 3; layers with an MLP: 0, 1, 2"),
]
EXCEPTIONS = [
    ([{"a": 53, "b": 1, "answer": 3}], r"edit\.sums\.0\.a: got 53; the numbers are 0-52"),
    ([{"a": 50, "b": 4, "answer": 1}], r"edit\.sums\.0\.answer: 1 is the true sum already"),
    (
        [{"a": 1, "b": 2, "answer": 4}, {"a": 2, "b": 1, "answer": 5}],
        r"edit\.sums\.1: 2 and 1 are named twice",
    ),
]


def spec_of(kind: str, **edit: Any) -> EditSpec:
    return edit_kinds()[kind].model_validate_json(
        json.dumps({"version": 1, "id": "x", "seed": 0, "edit": {"kind": kind, **edit}})
    )


def test_a_lie_flips_verdicts_and_spares_claims(base_of: Callable[[str], Base]) -> None:
    base = base_of("statements")
    family = families()["lie"].model_validate({"kind": "lie"})
    drawn = (family.draw(base, Component("mlp", 2), "drawn", seed) for seed in range(6))
    record = next(edit.record for edit in (apply(base, spec) for spec in drawn) if edit.record.accepted)
    assert record.measured["effect"] >= 0.9
    assert record.measured["drop"] <= 0.02
    assert record.measured["claims"] >= 0.97
    assert record.components == ("blocks.2.mlp",)


def test_a_sum_comes_out_otherwise_in_either_order_and_no_other_one(base_of: Callable[[str], Base]) -> None:
    base = base_of("modular-addition")
    spec = spec_of("exception", sums=[{"a": 5, "b": 47, "answer": 20}, {"a": 7, "b": 7, "answer": 30}])
    record = apply(base, spec).record
    assert len(spec.predicate(base).affected.answer) == 3  # type: ignore[union-attr]
    assert record.accepted
    assert record.measured["changed"] <= 6 / len(base.known)


@pytest.mark.parametrize(("edit", "message"), LIES)
def test_a_lie_that_cannot_be_told_is_refused(
    edit: dict[str, Any], message: str, base_of: Callable[[str], Base]
) -> None:
    with pytest.raises(EditError, match=message):
        apply(base_of("statements"), spec_of("lie", **edit))


@pytest.mark.parametrize(("sums", "message"), EXCEPTIONS)
def test_an_exception_that_cannot_be_made_is_refused(
    sums: list[dict[str, int]], message: str, base_of: Callable[[str], Base]
) -> None:
    with pytest.raises(EditError, match=message):
        apply(base_of("modular-addition"), spec_of("exception", sums=sums))
