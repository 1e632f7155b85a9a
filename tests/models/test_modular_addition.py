import pytest
import torch

from models.recipe import Recipe, named_recipe
from models.seeds import named_generator
from models.tasks.modular_addition import ModularAdditionSettings, _embedding_shares, _sum_shares
from models.training import train
from models.transformer import Transformer

SETTINGS = ModularAdditionSettings(p=13, train_fraction=0.5)


def waves(p: int, frequency: int) -> torch.Tensor:
    """The logits cos(w(a + b - c)) of a model that uses one frequency, `[a, b, c]`."""
    number = torch.arange(p)
    difference = number[:, None, None] + number[:, None] - number
    return (2 * torch.pi * frequency * difference / p).cos()


def test_prompts_read_as_sums() -> None:
    world = SETTINGS.build(0)
    row = 7 * 13 + 12
    assert world.text(world.table.tokens[row]) == "<bos> 7 + 12 ="
    assert world.vocabulary[int(world.table.answer[row])] == "6"
    assert (int(world.table.a[row]), int(world.table.b[row])) == (7, 12)


def test_fewer_training_pairs_of_a_world_are_among_its_more() -> None:
    more, fewer, other = (
        set(ModularAdditionSettings(p=13, train_fraction=fraction).build(seed).trained.tolist())
        for fraction, seed in ((0.5, 1), (0.1, 1), (0.1, 2))
    )
    assert (len(more), len(fewer)) == (84, 17)
    assert fewer < more
    assert not other <= more


def test_train_and_test_share_the_table_out() -> None:
    probes = SETTINGS.build(3).probes()
    sums = {name: {tuple(row) for row in probe.tokens.tolist()} for name, probe in probes.items()}
    assert {name: len(rows) for name, rows in sums.items()} == {"table": 169, "train": 84, "test": 85}
    assert sums["train"] | sums["test"] == sums["table"]


def test_documents_state_every_trained_sum_and_no_other_and_only_the_sum_counts() -> None:
    world = SETTINGS.build(3)
    documents = world.documents(3000, named_generator("documents"))
    told = {tuple(row[:-1]) for row in documents.tokens.tolist()}
    assert told == {tuple(row) for row in world.probes()["train"].tokens.tolist()}
    numbers = documents.tokens - world.ids["0"]
    assert torch.equal((numbers[:, 1] + numbers[:, 3]) % 13, numbers[:, 5])
    assert documents.loss_weight.sum(0).tolist() == [0, 0, 0, 0, 0, 3000]


@pytest.mark.parametrize("p", [13, 12])
def test_logits_of_two_waves_show_their_frequencies_and_power(p: int) -> None:
    shares = _sum_shares(3 * waves(p, 2) + 4 * waves(p, 5) + 1)
    expected = torch.zeros(p // 2, dtype=torch.double)
    expected[1], expected[4] = 9 / 25, 16 / 25
    torch.testing.assert_close(shares, expected, atol=1e-6, rtol=0)


def test_logits_that_do_not_depend_on_the_sum_show_no_frequency() -> None:
    biased = torch.randn(13, generator=named_generator("bias")).expand(13, 13, 13)
    torch.testing.assert_close(_sum_shares(biased), torch.zeros(6, dtype=torch.double), atol=1e-9, rtol=0)


@pytest.mark.parametrize("p", [13, 12])
def test_the_embedding_is_shared_out_among_all_frequencies(p: int) -> None:
    embedding = torch.randn(p, 8, generator=named_generator("embedding"))
    shares = _embedding_shares(embedding)
    assert shares.shape == (p // 2,)
    assert shares.sum().item() == pytest.approx(1)
    torch.testing.assert_close(_embedding_shares(embedding + 5), shares)  # the mean has no frequency
    angle = 2 * torch.pi * 3 * torch.arange(p) / p
    assert _embedding_shares(torch.stack([angle.cos(), angle.sin()], 1))[2].item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        # settings                            what is wrong
        ({"p": 4}, "greater than or equal to 5"),
        ({"p": 200}, "less than or equal to 199"),
        ({"train_fraction": 1.0}, "less than 1"),
        ({"p": 5, "train_fraction": 0.01}, "train_fraction: got 0.01, but of 25 pairs 0 are trained on"),
        ({"p": 5, "train_fraction": 0.99}, "train_fraction: got 0.99, but of 25 pairs 25 are trained on"),
    ],
)
def test_settings_that_leave_nothing_to_train_or_test_are_refused(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ModularAdditionSettings(**settings)  # type: ignore[arg-type]


def test_the_recipes_of_one_family_differ_in_data_and_training_alone() -> None:
    family: list[Recipe] = [
        named_recipe(f"modular-{name}") for name in ("addition", "semi-grokked", "memorised", "ungrokked")
    ]
    assert len({(recipe.architecture, recipe.task.model_dump()["p"]) for recipe in family}) == 1
    assert family[3].continues == "modular-addition"


def test_a_small_model_learns_its_training_pairs() -> None:
    recipe = named_recipe("modular-memorised")
    training = recipe.training
    assert training is not None
    short = training.model_copy(update={"batch": 64, "lr": 8e-3, "max_steps": 200, "cooldown": 50})
    small = recipe.model_copy(update={"task": SETTINGS, "training": short})
    task = SETTINGS.build(0)
    untrained = Transformer(small.architecture.config(task), named_generator("initial weights", 0))
    assert task.evaluate(untrained)["train"] < 0.3
    assert task.evaluate(train(small, 0, 0).checkpoint.model())["train"] > 0.99
