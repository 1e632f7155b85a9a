from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from game.api import RequestError, Samples
from game.toolbox.live import ModelToolbox
from game.tools.describe import describe, estimate
from game.tools.kit.predicates import sayings
from models.seeds import named_generator

CLASSES = {"fruit": (1, 2, 3), "tools": (8, 9)}


def drawn(n: int, seed: int, length: int = 5) -> Tensor:
    return torch.randint(1, 11, (n, length), generator=named_generator("describe", seed))


def of(tokens: Tensor) -> Samples:
    return Samples(tokens, torch.full((len(tokens),), tokens.shape[1]))


def sentences(box: ModelToolbox, first: Tensor, others: Tensor) -> list[str]:
    result = describe(box, of(first), of(others), CLASSES)
    labels = result.view[0]["axes"][0]["labels"]
    return [label for label, told in zip(labels, result.arrays["verified"].tolist(), strict=True) if told]


def test_what_is_true_of_a_prompt_is_said_in_sentences() -> None:
    (said,) = sayings(Samples(torch.tensor([[5, 2, 5, 0]]), torch.tensor([3])), CLASSES)
    assert said == {
        "has #5",
        "has #2",
        "has #5 at the end",
        "has #2 1 before the end",
        "has #5 2 before the end",
        "has a word of fruit",
        "has a word of fruit 1 before the end",
        "has #5 #2 in a row",
        "has #2 #5 in a row",
        "has #5 and later #2",
        "has #2 and later #5",
        "has #5 and later #5",
        "has #5 twice or more",
        "has some token twice or more",
        "has 2 tokens or more",
        "has 3 tokens or more",
    }


def anywhere(tokens: Tensor) -> Tensor:
    place = torch.randint(5, (len(tokens), 1), generator=named_generator("place"))
    return tokens.scatter(1, place, 7)


def in_a_row(tokens: Tensor) -> Tensor:
    place = torch.randint(4, (len(tokens), 1), generator=named_generator("place"))
    return tokens.scatter(1, place, 3).scatter(1, place + 1, 6)


def at_the_end(tokens: Tensor) -> Tensor:
    return tokens.index_fill(1, torch.tensor([4]), 4)


@pytest.mark.parametrize(
    ("plant", "sentence"),
    [(anywhere, "has #7"), (at_the_end, "has #4 at the end"), (in_a_row, "has #3 #6 in a row")],
)
def test_a_planted_predicate_is_said_first(
    box: ModelToolbox, plant: Callable[[Tensor], Tensor], sentence: str
) -> None:
    assert sentences(box, plant(drawn(60, 1)), drawn(60, 2))[0] == sentence


def test_a_class_and_a_pair_of_conditions_are_found(box: ModelToolbox) -> None:
    fruit = drawn(80, 3)
    fruit[:, 4] = 1 + fruit[:, 4] % 3
    assert "has a word of fruit at the end" in sentences(box, fruit, drawn(80, 4))[:2]
    both, either = (drawn(120, seed, 4) for seed in (5, 6))
    both[:, 2], both[:, 3] = 5, 8
    either[:60, 2], either[60:, 3] = 5, 8
    either[:60, 3], either[60:, 2] = 9, 4
    top = sentences(box, both, either)[:3]
    assert any("#5" in sentence and "#8" in sentence for sentence in top)


def test_two_sets_of_one_kind_are_told_apart_by_nothing(box: ModelToolbox) -> None:
    said = [bool(sentences(box, drawn(60, seed), drawn(60, 100 + seed))) for seed in range(20)]
    assert sum(said) <= 3  # 5 % each at most: P(more than 3) < 0.02
    assert not sentences(box, drawn(60, 0), drawn(60, 0))


def test_what_holds_of_which_prompt_is_told_and_nothing_is_charged(box: ModelToolbox) -> None:
    first = at_the_end(drawn(60, 1))
    result = describe(box, of(first), of(drawn(60, 2)))
    labels = list(result.view[0]["axes"][0]["labels"])
    row = labels.index("has #4 at the end")
    assert result.arrays["of_first"][row].all()
    assert result.arrays["share_first"][row] == 1
    assert result.cost == estimate(box.config) == 0
    again = describe(box, of(first), of(drawn(60, 2)))
    assert list(again.view[0]["axes"][0]["labels"]) == labels


def test_sets_that_cannot_be_compared_are_refused(box: ModelToolbox) -> None:
    with pytest.raises(RequestError, match="first: got 3 prompts; wanted 8 and more"):
        describe(box, of(drawn(3, 1)), of(drawn(60, 2)))
    with pytest.raises(RequestError, match="others: got id 99; allowed: 0 to 10"):
        describe(box, of(drawn(60, 1)), of(drawn(60, 2) * 0 + 99))
    with pytest.raises(RequestError, match="first: every prompt of both sets is alike"):
        describe(box, of(drawn(60, 1) * 0 + 1), of(drawn(60, 2) * 0 + 1))
    with pytest.raises(RequestError, match="proposals: got 0; allowed: 1 and more"):
        describe(box, of(drawn(60, 1)), of(drawn(60, 2)), proposals=0)
