import torch

from models.recipe import named_recipe
from models.seeds import named_generator
from models.tasks.induction import Induction, InductionSettings
from models.transformer import Transformer

RECIPE = named_recipe("induction")
WORLD = Induction(RECIPE.task, 0)  # type: ignore[arg-type]


def test_the_answer_followed_the_last_word_before() -> None:
    table, rows = WORLD.table, torch.arange(len(WORLD.table.tokens))
    last = table.tokens[rows, table.last]
    assert torch.equal(table.tokens[rows, table.source], table.answer)
    assert torch.equal(table.tokens[rows, table.source - 1], last)
    assert (table.source <= table.last).all()


def test_an_answer_in_a_document_is_always_what_followed_before() -> None:
    drawn = WORLD.documents(50, named_generator("documents"))
    for row, answers in zip(drawn.tokens.tolist(), drawn.answers.tolist(), strict=True):
        for at in (i for i, is_answer in enumerate(answers) if is_answer):
            followers = {row[i + 1] for i in range(at - 1) if row[i] == row[at - 1]}
            assert followers == {row[at]}


def test_no_fixed_distance_gives_the_answer_away() -> None:
    distance = WORLD.table.last - WORLD.table.source
    assert distance.double().std() > 2


def test_a_broken_prompt_never_said_its_last_word_before() -> None:
    tight = Induction(InductionSettings(words=11, min_block=3, max_block=5, max_gap=2), 0)
    for world in (WORLD, tight):
        broken, rows = world.broken, torch.arange(len(world.broken.tokens))
        last = broken.tokens[rows, broken.last]
        said = (broken.tokens == last[:, None]) & (broken.tokens != world.pad)
        assert (said.sum(1) == 1).all()


def test_an_untrained_model_has_no_induction_head() -> None:
    model = Transformer(RECIPE.architecture.config(WORLD), named_generator("untrained"))
    assert WORLD.evaluate(model)["induction_score"] < 0.3
