import pytest
import torch

from models.recipe import named_recipe
from models.seeds import named_generator
from models.tasks.ioi import ROWS, TEMPLATES, Ioi, IoiSettings, IoiTable
from models.training import train

SETTINGS = IoiSettings(names=12, heldout=0.25)


def pairs(world: Ioi, tokens: torch.Tensor) -> set[tuple[int, int]]:
    """The ordered pairs (IO, S) of sentences with their last name."""
    found = set()
    for row in tokens.tolist():
        *_, s, io = (token for token in row if token in world.classes["names"])
        found.add((io, s))
    return found


def named_at(table: IoiTable, at: torch.Tensor) -> torch.Tensor:
    return table.tokens[torch.arange(len(at)), at]


def test_held_out_pairs_never_occur_in_training_and_all_others_do() -> None:
    world = SETTINGS.build(0)
    told = pairs(world, world.documents(4000, named_generator("documents")).tokens)
    trained, heldout = ({tuple(pair) for pair in part.tolist()} for part in (world.trained, world.heldout))
    assert told == trained
    assert (len(trained), len(heldout)) == (99, 33)
    assert not trained & heldout
    assert SETTINGS.build(1).heldout.tolist() != world.heldout.tolist()


def test_the_answer_is_the_name_that_came_once() -> None:
    world = SETTINGS.build(0)
    documents = world.documents(500, named_generator("documents"))
    names = torch.tensor(world.classes["names"])
    for row, answer in zip(documents.tokens, documents.answers, strict=True):
        said = row[torch.isin(row, names) & ~answer]
        once, twice = (said.unique()[said.unique(return_counts=True)[1] == count] for count in (1, 2))
        assert row[answer].tolist() == once.tolist()
        assert len(twice) == 1


def test_columns_point_at_the_names() -> None:
    table = SETTINGS.build(0).table
    assert torch.equal(named_at(table, table.io_at), table.answer)
    assert torch.equal(named_at(table, table.s1_at), named_at(table, table.s2_at))
    assert (table.s1_at < table.s2_at).all()
    assert (table.io_at < table.s2_at).all()
    assert torch.equal(table.order == 0, table.io_at < table.s1_at)
    assert not (named_at(table, table.s1_at) == table.answer).any()


def test_neither_name_nor_order_nor_position_tells() -> None:
    table = named_recipe("ioi").task.build(0).table
    assert isinstance(table, IoiTable)
    assert 0.45 < table.order.double().mean() < 0.55
    for at in (table.io_at, table.s1_at, table.s2_at):
        assert at.bincount().max() < 0.3 * ROWS
    assert table.answer.bincount().max() < 0.05 * ROWS


def test_the_table_marks_pairs_that_training_never_sees() -> None:
    world = SETTINGS.build(0)
    table = world.table
    asked = torch.stack([table.answer, named_at(table, table.s1_at)], 1)
    heldout = {tuple(pair) for pair in world.heldout.tolist()}
    assert [tuple(pair) not in heldout for pair in asked.tolist()] == table.trained.tolist()
    assert int((~table.trained).sum()) == ROWS // 3


def test_parts_hold_what_their_names_say() -> None:
    world = SETTINGS.build(0)
    probes = world.probes()
    assert len(probes["abba"].tokens) + len(probes["baba"].tokens) == ROWS
    assert sum(len(probes[f"template_{i}"].tokens) for i in range(len(TEMPLATES))) == ROWS
    assert len(probes["heldout"].tokens) == ROWS // 3
    assert all(" argument " in world.text(row) for row in probes["template_5"].tokens)


def test_swapped_prompts_ask_for_the_other_name() -> None:
    world = SETTINGS.build(0)
    table, swapped = world.table, world.swapped
    assert ((table.tokens != swapped.tokens).sum(1) == 1).all()
    assert torch.equal(swapped.answer, named_at(table, table.s1_at))
    assert torch.equal(named_at(swapped, swapped.io_at), swapped.answer)
    assert torch.equal(named_at(swapped, swapped.s1_at), named_at(swapped, swapped.s2_at))
    assert torch.equal(swapped.order == 0, swapped.io_at < swapped.s1_at)
    heldout = {tuple(pair) for pair in world.heldout.tolist()}
    asked = zip(swapped.answer.tolist(), table.answer.tolist(), strict=True)
    assert [pair not in heldout for pair in asked] == swapped.trained.tolist()


def test_abc_prompts_name_three_people() -> None:
    world = SETTINGS.build(0)
    table, abc = world.table, world.abc
    first, second, third = (named_at(abc, at) for at in (abc.io_at, abc.s1_at, abc.s2_at))
    assert not ((third == first) | (third == second)).any()
    assert torch.isin(third, torch.tensor(world.classes["names"])).all()
    assert torch.equal(abc.answer, table.answer)
    assert ((table.tokens != abc.tokens).sum(1) == 1).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        # settings                      what is wrong
        ({"names": 2}, "greater than or equal to 3"),
        ({"templates": 9}, "less than or equal to 8"),
        ({"heldout": 0.0}, "greater than 0"),
        ({"names": 3, "heldout": 0.05}, "heldout: got 0.05, but that is none of the pairs of 3 names"),
    ],
)
def test_settings_that_hold_nothing_out_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IoiSettings(**settings)  # type: ignore[arg-type]


def test_a_model_learns_pairs_that_it_never_saw_and_tells_swapped_ones_apart() -> None:
    recipe = named_recipe("ioi")
    training = recipe.training
    assert training is not None
    settings = IoiSettings(names=12, templates=1)
    short = training.model_copy(update={"cooldown": 100, "max_steps": 400, "check_every": 25, "batch": 32})
    small = recipe.model_copy(update={"task": settings, "training": short})
    model, world = train(small, 0, 0).checkpoint.model(), settings.build(0)
    metrics = world.evaluate(model)
    assert metrics["accuracy"] > 0.9
    assert metrics["heldout"] > 0.8
    swapped = world.swapped
    with torch.no_grad():
        said = model(swapped.tokens)[torch.arange(ROWS), swapped.last].argmax(-1)
    assert (said == swapped.answer).double().mean() > 0.8
    assert world.findings(model)["name_mover_score"].values.shape == (2, 4)
