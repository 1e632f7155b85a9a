import torch

from models.recipe import named_recipe
from models.seeds import named_generator
from models.tasks.ioi import Ioi

WORLD = Ioi(named_recipe("ioi").task, 3)  # type: ignore[arg-type]


def pairs(tokens: torch.Tensor, io: torch.Tensor, s: torch.Tensor) -> set[tuple[int, int]]:
    rows = torch.arange(len(tokens))
    return set(zip(tokens[rows, io].tolist(), tokens[rows, s].tolist(), strict=True))


def test_the_answer_is_the_one_who_is_named_once() -> None:
    table, rows = WORLD.table, torch.arange(len(WORLD.table.tokens))
    assert torch.equal(table.tokens[rows, table.io_at], table.answer)
    assert torch.equal(table.tokens[rows, table.s1_at], table.tokens[rows, table.s2_at])
    named = torch.isin(table.tokens, WORLD.name_tokens).sum(1)
    assert (named == 3).all()
    text = WORLD.text(table.tokens[0])
    assert WORLD.vocabulary[int(table.answer[0])] in text


def test_either_one_is_named_first_equally_often() -> None:
    table = WORLD.table
    assert 0.4 < table.order.double().mean() < 0.6
    assert torch.equal(table.io_at > table.s1_at, table.order == 1)


def test_held_out_pairs_never_occur_in_training() -> None:
    table = WORLD.table
    heldout = WORLD.probes()["heldout"]
    assert len(heldout.tokens) == int((~table.trained).sum())
    held = {tuple(pair) for pair in WORLD.heldout.tolist()}
    drawn = WORLD.documents(4000, named_generator("documents"))
    names = [[t for t in row if t in set(WORLD.classes["names"])] for row in drawn.tokens.tolist()]
    seen = {(row[-1], row[-2]) for row in names if len(row) == 4}
    assert seen
    assert not seen & held
    assert pairs(table.tokens[table.trained], table.io_at[table.trained], table.s1_at[table.trained]) <= {
        tuple(pair) for pair in WORLD.trained.tolist()
    }


def test_swapped_prompts_ask_for_the_former_subject() -> None:
    table, swapped = WORLD.table, WORLD.swapped
    rows = torch.arange(len(table.tokens))
    assert torch.equal(swapped.answer, table.tokens[rows, table.s1_at])
    assert ((swapped.tokens != table.tokens).sum(1) == 1).all()
    io, s = swapped.answer, table.answer
    trained = {tuple(pair) for pair in WORLD.trained.tolist()}
    expected = [(a, b) in trained for a, b in zip(io.tolist(), s.tolist(), strict=True)]
    assert swapped.trained.tolist() == expected


def test_a_third_name_leaves_nothing_to_tell() -> None:
    named = [len(set(row) & set(WORLD.classes["names"])) for row in WORLD.abc.tokens.tolist()]
    assert set(named) == {3}
