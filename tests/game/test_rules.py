"""What a report and a judgement may hold beside probabilities; what breaks a rule is refused by name."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from game.api import Fine, Judgement, LowRank
from game.rules.faults import ReportError
from game.rules.fine import checked_fine
from game.rules.judgement import judged
from game.rules.patch import checked_patch, delta
from tests.game.hand_made import CHALLENGE, CONFIG


def low_rank(left: tuple[int, ...], right: tuple[int, ...]) -> LowRank:
    return LowRank(torch.ones(left), torch.ones(right))


SQUARE = low_rank((4, 1), (1, 4))
COLUMN, ROW = torch.ones(4, 1), torch.ones(1, 6)

# weight                  shape        left         right
FITTING = {
    "blocks.0.mlp.W_out": ((4, 4), (4, 2), (2, 4)),
    "blocks.0.attn.W_Q": ((2, 4, 2), (2, 4, 1), (2, 1, 2)),
    "blocks.0.attn.b_Q": ((2, 2), (2, 1), (1, 2)),
    "blocks.0.mlp.b_in": ((4,), (1, 3), (3, 4)),
    "unembed.W_U": ((4, 6), (4, 32), (32, 6)),
}


@pytest.mark.parametrize("name", FITTING)
def test_a_patch_is_copied_and_its_product_has_the_weights_shape(name: str) -> None:
    shape, left, right = FITTING[name]
    told = {name: LowRank(torch.ones(left, dtype=torch.float64), torch.ones(right).half())}
    kept = checked_patch(told, CONFIG)
    change = delta(kept[name], shape)
    assert CONFIG.weight_shapes()[name] == shape == tuple(change.shape)
    assert torch.equal(change, torch.full(shape, float(left[-1])))
    told[name].left.zero_()
    assert bool(kept[name].left.all())
    assert kept[name].left.dtype == kept[name].right.dtype == torch.float32


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        # patch                                           rule that it breaks
        ([], "patch: got a list, wanted a mapping of weight names to LowRank"),
        ({"blocks.0.mlp.W_ot": SQUARE}, 'unknown weight "blocks.0.mlp.W_ot"; .* mean "blocks.0.mlp.W_out"'),
        ({"blocks.1.mlp.W_out": SQUARE}, 'unknown weight "blocks.1.mlp.W_out"'),
        ({3: SQUARE}, 'unknown weight "3"'),
        ({"unembed.W_U": ROW}, r"unembed.W_U: got a tensor \[1, 6\] of float32, wanted a LowRank"),
        ({"unembed.W_U": SQUARE}, r"right: got shape \[1, 4\]; allowed: \[rank, 6\]"),
        ({"unembed.W_U": low_rank((1, 1), (1, 6))}, r"left: got shape \[1, 1\]; allowed: \[4, rank\]"),
        ({"unembed.b_U": low_rank((6, 1), (1, 1))}, r"left: got shape \[6, 1\]; allowed: \[1, rank\]"),
        ({"blocks.0.attn.W_Q": SQUARE}, r"left: got shape \[4, 1\]; allowed: \[2, 4, rank\]"),
        ({"unembed.W_U": low_rank((4, 2), (1, 6))}, "2 in left and 1 in right; allowed: the same in both"),
        ({"unembed.W_U": low_rank((4, 33), (33, 6))}, "rank 33 in left and 33 in right; .*from 1 to 32"),
        ({"unembed.W_U": low_rank((4, 0), (0, 6))}, "rank 0 in left"),
        ({"unembed.W_U": LowRank(cast(Tensor, [[1.0]]), ROW)}, "left: got a list, wanted a floating-point"),
        ({"unembed.W_U": LowRank(COLUMN.long(), ROW)}, "left: got .* of int64, wanted a floating-point"),
        ({"unembed.W_U": LowRank(COLUMN * math.nan, ROW)}, "left: got NaN or infinity"),
        ({"unembed.W_U": LowRank(COLUMN.double() * 1e300, ROW)}, "allowed: numbers that float32 holds"),
    ],
)  # fmt: skip
def test_a_patch_that_breaks_a_rule_is_refused(patch: Any, message: str) -> None:
    with pytest.raises(ReportError, match=message):
        checked_patch(patch, CONFIG)


def test_a_patch_of_too_many_numbers_is_refused() -> None:
    wide = replace(CONFIG, d_vocab=10_000)
    patch = {"unembed.W_U": low_rank((4, 32), (32, 10_000))}
    with pytest.raises(ReportError, match="patch: more than 200000 numbers"):
        checked_patch(patch, wide)


def test_a_finer_location_is_copied() -> None:
    vectors = torch.tensor([[3.0, 0.0, 0.0, 4.0]])
    told = Fine(
        {"blocks.1.attn.W_O[1]": 7, "unembed.b_U": -2.5}, {(0, 3): 1.0}, {"blocks.0.mlp.W_out": vectors}
    )
    kept = checked_fine(told, CONFIG)
    vectors.zero_()
    assert kept.matrices == {"blocks.1.attn.W_O[1]": 7.0, "unembed.b_U": -2.5}
    assert kept.neurons == {(0, 3): 1.0}
    assert kept.directions["blocks.0.mlp.W_out"].tolist() == [[3.0, 0.0, 0.0, 4.0]]


def directions(name: str, vectors: Any) -> Fine:
    return Fine(directions={name: vectors})


@pytest.mark.parametrize(
    ("fine", "message"),
    [
        # fine                                        rule that it breaks
        ({}, "fine: got a dict, wanted a Fine"),
        (Fine(matrices=[]), "fine: matrices: got a list, wanted a mapping"),  # type: ignore[arg-type]
        (Fine({"blocks.1.attn.W_O": 1.0}), 'unknown parameter entries "blocks.1.attn.W_O"; .*W_O'),
        (Fine({"blocks.1.attn.W_O[2]": 1.0}), r'unknown parameter entries "blocks.1.attn.W_O\[2\]"'),
        (Fine({"unembed.W_U": math.nan}), "matrices: unembed.W_U: got nan, wanted a finite number"),
        (Fine({"unembed.W_U": True}), "matrices: unembed.W_U: got a bool, wanted a finite number"),
        (Fine({"unembed.W_U": 10**400}), "matrices: unembed.W_U: got inf, wanted a finite number"),
        (Fine(neurons={(1, 0): 1.0}), r"neurons: got \(1, 0\); allowed: layers \[0\], neurons 0 to 3"),
        (Fine(neurons={(0, 4): 1.0}), r"neurons: got \(0, 4\); allowed"),
        (Fine(neurons={(0, -1): 1.0}), r"neurons: got \(0, -1\); allowed"),
        (Fine(neurons={(0, True): 1.0}), "is no .layer, neuron. of whole numbers"),
        (Fine(neurons={0: 1.0}), "key '0' is no .layer, neuron. of whole numbers"),  # type: ignore[dict-item]
        (directions("unembed.b_U", torch.ones(1, 6)), 'unknown parameter entries "unembed.b_U"'),
        (directions("unembed.W_U", torch.ones(6)), r"got shape \[6\]; allowed: \[k, 6\] with k from 1 to 16"),
        (directions("unembed.W_U", torch.ones(1, 4)), r"got shape \[1, 4\]; allowed: \[k, 6\]"),
        (directions("unembed.W_U", torch.ones(17, 6)), r"got shape \[17, 6\]; allowed"),
        (directions("unembed.W_U", torch.ones(0, 6)), r"got shape \[0, 6\]; allowed"),
        (directions("unembed.W_U", torch.zeros(1, 6)), "got a vector of norm 0"),
        (directions("unembed.W_U", torch.full((1, 6), math.inf)), "got NaN or infinity"),
        (directions("unembed.W_U", [[1.0]]), "got a list, wanted a floating-point tensor"),
    ],
)  # fmt: skip
def test_a_finer_location_that_breaks_a_rule_is_refused(fine: Any, message: str) -> None:
    with pytest.raises(ReportError, match=message):
        checked_fine(fine, CONFIG)


def test_a_judgement_is_copied_in_order() -> None:
    told = Judgement([0, 0.5, 1, 0.25], {2: {4: 0.5, 2: 0.5}, 0: {}})
    kept = judged(told, CHALLENGE)
    assert kept == Judgement((0.0, 0.5, 1.0, 0.25), {0: {}, 2: {2: 0.5, 4: 0.5}})
    assert list(kept.before) == [0, 2]
    assert list(kept.before[2]) == [2, 4]


def before(odds: Mapping[Any, Any]) -> Judgement:
    return Judgement([0.0] * 4, odds)


@pytest.mark.parametrize(
    ("judgement", "message"),
    [
        # judgement                             rule that it breaks
        (None, "judgement: got a NoneType, wanted a Judgement"),
        ([0.0] * 4, "judgement: got a list, wanted a Judgement"),
        (Judgement([0.0] * 3), "changed: got 3 probabilities; allowed: 4, one a prompt"),
        (Judgement({}), "changed: got a dict, wanted a list of 4 probabilities"),  # type: ignore[arg-type]
        (Judgement("0000"), 'changed: got "0000", wanted a list'),  # type: ignore[arg-type]
        (Judgement([0.0, 1.1, 0.0, 0.0]), r"changed\[1\]: got 1.1, wanted a finite number from 0 to 1"),
        (Judgement([0.0, 0.0, math.nan, 0.0]), r"changed\[2\]: got nan"),
        (Judgement([0.0, 0.0, math.inf, 0.0]), r"changed\[2\]: got inf"),
        (Judgement([True, 0.0, 0.0, 0.0]), r"changed\[0\]: got a bool"),
        (Judgement([torch.zeros(())] * 4), r"changed\[0\]: got a tensor \[\] of float32, wanted a number"),  # type: ignore[list-item]
        (Judgement([0.0] * 4, []), "before: got a list, wanted a mapping"),  # type: ignore[arg-type]
        (before({4: {}}), "before: got prompt 4; allowed: 0 to 3"),
        (before({True: {}}), "before: got prompt a bool; allowed: 0 to 3"),
        (before({"0": {}}), 'before: got prompt "0"; allowed'),
        (before({0: [2]}), r"before\[0\]: got a list, wanted a mapping"),
        (before({0: {5: 0.5}}), r"before\[0\]: got token 5; allowed: answers of the task, 2, 3, 4"),
        (before({0: {2: 1.5}}), r"before\[0\]\[2\]: got 1.5, wanted a finite number"),
        (before({0: {2: math.nan}}), r"before\[0\]\[2\]: got nan"),
        (before({0: {2: 0.6, 3: 0.6}}), r"before\[0\]: sum 1.2; at most 1"),
    ],
)  # fmt: skip
def test_a_judgement_that_breaks_a_rule_is_refused(judgement: Any, message: str) -> None:
    with pytest.raises(ReportError, match=message):
        judged(judgement, CHALLENGE)


def test_a_softmax_in_float32_is_a_distribution() -> None:
    odds = dict(zip((2, 3, 4), torch.full((3,), 1 / 3, dtype=torch.float32).tolist(), strict=True))
    assert sum(odds.values()) > 1
    assert judged(before({0: odds}), CHALLENGE).before[0] == odds


def test_tensors_with_a_graph_are_copied_without_it() -> None:
    left: Tensor = torch.ones(4, 1, requires_grad=True)
    kept = checked_patch({"unembed.W_U": LowRank(left * 2, torch.ones(1, 6))}, CONFIG)["unembed.W_U"]
    assert not kept.left.requires_grad
