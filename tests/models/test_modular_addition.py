import pytest
import torch

from models.seeds import named_generator
from models.tasks.modular_addition import ModularAddition, ModularAdditionSettings


def world(fraction: float = 0.5, p: int = 11, seed: int = 0) -> ModularAddition:
    return ModularAddition(ModularAdditionSettings(p=p, train_fraction=fraction), seed)


def sums(tokens: torch.Tensor, task: ModularAddition) -> set[str]:
    return {task.text(row) for row in tokens}


def test_every_pair_is_asked_for_and_rightly_answered() -> None:
    task = world()
    assert len(sums(task.table.tokens, task)) == 121
    for row, answer in zip(task.table.tokens[:30], task.table.answer[:30].tolist(), strict=True):
        _, a, _, b, _ = task.text(row).split()
        assert int(task.vocabulary[answer]) == (int(a) + int(b)) % 11


def test_training_sees_its_pairs_only_and_all_of_them() -> None:
    task = world()
    train, test = (sums(task.probes()[name].tokens, task) for name in ("train", "test"))
    assert not train & test
    assert len(train) == round(0.5 * 121)
    drawn = task.documents(4000, named_generator("documents"))
    assert sums(drawn.tokens[:, :-1], task) == train
    assert (drawn.answers.sum(1) == 1).all()


def test_a_smaller_fraction_is_part_of_a_larger_one() -> None:
    small, large = world(0.2), world(0.6)
    assert sums(small.probes()["train"].tokens, small) < sums(large.probes()["train"].tokens, large)
    assert sums(world(0.2, seed=1).probes()["train"].tokens, small) != sums(
        small.probes()["train"].tokens, small
    )


def test_a_fraction_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"train_fraction: got 0\.999"):
        ModularAdditionSettings(p=5, train_fraction=0.999)
