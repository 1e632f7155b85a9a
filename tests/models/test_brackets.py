from collections.abc import Iterator

import pytest
import torch
from pydantic import ValidationError

from models.recipe import named_recipe
from models.seeds import named_generator
from models.tasks.brackets import BALANCED, NEGATIVE_ELEVATION, WRONG_COUNT, WRONG_TYPE, BracketsSettings
from models.training import train

ONE, TWO = (BracketsSettings(types=types, shortest=4, longest=16, depth=3) for types in (1, 2))
PARTNER = {")": "(", "]": "["}


def sequences(settings: BracketsSettings) -> Iterator[tuple[str, int, str, torch.Tensor]]:
    """Brackets, way, answer and elevation of each row of the table."""
    world = settings.build(0)
    table = world.table
    for row, way in enumerate(table.way.tolist()):
        text = world.text(table.tokens[row]).removeprefix("<bos> ").removesuffix(" ?").replace(" ", "")
        yield text, way, world.vocabulary[table.answer[row]], table.elevation[row][table.inside[row]]


def is_balanced(text: str) -> bool:
    """By the stack, as everybody writes it."""
    stack: list[str] = []
    for bracket in text:
        if bracket not in PARTNER:
            stack.append(bracket)
        elif not stack or stack.pop() != PARTNER[bracket]:
            return False
    return not stack


@pytest.mark.parametrize("settings", [ONE, TWO])
def test_verdicts_are_those_of_a_stack(settings: BracketsSettings) -> None:
    verdicts = [(is_balanced(text), answer) for text, _, answer, _ in sequences(settings)]
    assert set(verdicts) == {(True, "balanced"), (False, "unbalanced")}
    assert 0.45 < sum(right for right, _ in verdicts) / len(verdicts) < 0.55


def test_each_way_of_being_wrong_is_what_its_name_says() -> None:
    seen = set()
    for text, way, _, elevation in sequences(TWO):
        opened, closed = (sum(text.count(b) for b in brackets) for brackets in ("([", ")]"))
        assert elevation[-1] == opened - closed
        assert (opened != closed) == (way == WRONG_COUNT)
        if way == NEGATIVE_ELEVATION:
            assert elevation.min() < 0
        if way in (BALANCED, WRONG_TYPE):
            assert elevation.min() == 0
            assert elevation.max() <= 3
        if way == WRONG_TYPE:
            assert is_balanced(text.replace("[", "(").replace("]", ")"))
        seen.add(way)
    assert seen == {BALANCED, WRONG_COUNT, NEGATIVE_ELEVATION, WRONG_TYPE}


def test_balanced_sequences_of_one_length_are_equally_likely() -> None:
    world = BracketsSettings(shortest=6, longest=6, depth=3).build(0)
    documents = world.documents(4000, named_generator("documents")).tokens
    texts = [world.text(row) for row in documents]
    counts = [texts.count(text) for text in set(texts) if text.endswith(" balanced")]
    assert len(counts) == 5  # Catalan number of 3 pairs
    assert max(counts) < 1.25 * min(counts)


def test_probes_are_the_rows_of_each_way() -> None:
    probes = TWO.build(0).probes()
    assert list(probes) == ["table", "balanced", "wrong_count", "negative_elevation", "wrong_type"]
    assert sum(len(probe.last) for name, probe in probes.items() if name != "table") == 1000
    assert "wrong_type" not in ONE.build(0).probes()


def test_lengths_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValidationError, match="shortest: got 20, but the longest has 16 brackets"):
        BracketsSettings(shortest=20, longest=16)


def test_elevation_is_linear_after_one_layer_of_a_model_that_learns_short_brackets() -> None:
    recipe = named_recipe("brackets")
    assert recipe.training is not None
    settings = BracketsSettings(shortest=4, longest=8, depth=3)
    training = recipe.training.model_copy(update={"max_steps": 300, "cooldown": 100})
    recipe = recipe.model_copy(update={"task": settings, "training": training})
    model, world = train(recipe, 0, 0).checkpoint.model(), settings.build(0)
    assert world.evaluate(model)["accuracy"] > 0.9
    elevation = world.findings(model)["elevation"].values
    assert elevation[0] < 0.5
    assert elevation[1] > 0.85
