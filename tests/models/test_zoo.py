import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models.checkpoints import CheckpointError, checkpoint_of, from_bytes, to_bytes, write_atomically
from models.recipe import load_recipe, named_recipe, recipe_names
from models.seeds import named_generator, named_seed
from models.strict_yaml import ConfigError, parse_document
from models.training import Progress, TrainingError, train
from models.transformer import Transformer
from models.zoo import Trained, is_kept, trained
from tests.tiny_world import TINY

QUICK = TINY.replace("150, max_steps: 1200", "4, max_steps: 4").replace("0.95, heldout: 0.8", "0.0")


def checkpoint_file(cache: Path, seed: int) -> Path:
    (path,) = (cache / "zoo").glob(f"facts-tiny-0-{seed}-*.safetensors")
    return path


def test_the_tiny_world_is_learned(tiny: Trained) -> None:
    assert tiny.metrics["known"] >= 0.95
    assert tiny.name == "facts-tiny@0.0"


def test_the_same_recipe_and_seeds_give_the_same_bytes() -> None:
    recipe = load_recipe(parse_document(QUICK, "quick"))
    threads = torch.get_num_threads()
    steps: list[Progress] = []
    one, two, other = (
        train(recipe, 0, 0, steps.append).checkpoint,
        train(recipe, 0, 0).checkpoint,
        train(recipe, 0, 1).checkpoint,
    )
    assert to_bytes(one) == to_bytes(two)
    assert one.hash != other.hash
    assert [progress.step for progress in steps] == list(range(1, 9))
    assert torch.get_num_threads() == threads


def test_training_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    train(load_recipe(parse_document(QUICK, "quick")), 0, 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_second_request_reads_the_cache(own_cache: Path) -> None:
    recipe = load_recipe(parse_document(QUICK, "quick"))
    assert not is_kept(recipe, 0, 77)
    first = trained(recipe, 0, 77)
    assert is_kept(recipe, 0, 77)

    def never(_progress: Progress) -> None:
        raise AssertionError("trained again")

    assert trained(recipe, 0, 77, never).checkpoint.hash == first.checkpoint.hash


@pytest.mark.parametrize("damage", ["flip", "cut", "note", "note type"])
def test_a_damaged_checkpoint_is_noticed_and_trained_again(own_cache: Path, damage: str) -> None:
    recipe = load_recipe(parse_document(QUICK, "quick"))
    whole = trained(recipe, 0, 78).checkpoint.hash
    path = checkpoint_file(own_cache, 78)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    {
        "flip": lambda: path.write_bytes(bytes(data)),
        "cut": lambda: path.write_bytes(bytes(data[:100])),
        "note": lambda: path.with_suffix(".json").write_text("{"),
        "note type": lambda: path.with_suffix(".json").write_text("[]"),
    }[damage]()
    assert not is_kept(recipe, 0, 78)
    assert trained(recipe, 0, 78).checkpoint.hash == whole
    assert is_kept(recipe, 0, 78)


def test_two_processes_train_a_checkpoint_once(own_cache: Path, tmp_path: Path) -> None:
    script = tmp_path / "both.py"
    script.write_text(
        "from models.zoo import trained\n"
        "from models.recipe import load_recipe\n"
        "from models.strict_yaml import parse_document\n"
        f"recipe = load_recipe(parse_document({QUICK!r}, 'quick'))\n"
        "steps = []\n"
        "made = trained(recipe, 0, 79, steps.append)\n"
        "print(made.checkpoint.hash, len(steps))\n"
    )
    checkout = Path(__file__).resolve().parents[2]
    env = {"PYTHONPATH": str(checkout), "AUDIT_GAME_CACHE": str(own_cache)}
    command = [sys.executable, str(script)]
    both = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    lines = [process.communicate()[0].split() for process in both]
    assert lines[0][0] == lines[1][0]
    assert sorted(line[1] for line in lines) == ["0", "8"]


def test_a_checkpoint_below_the_criterion_is_refused_and_not_kept() -> None:
    recipe = load_recipe(parse_document(QUICK.replace("known: 0.0", "known: 0.9"), "quick"))
    steps: list[Progress] = []
    with pytest.raises(TrainingError, match=r"facts-tiny@0\.80: known reached 0\.\d+, wanted at least 0\.9"):
        trained(recipe, 0, 80, steps.append)
    assert len(steps) == (4 + 4) + 3 * 8  # thrice some more steps, for a seed that needs them
    assert not is_kept(recipe, 0, 80)


def test_a_loss_that_explodes_is_one_clear_error() -> None:
    recipe = load_recipe(parse_document(QUICK, "quick"))
    assert recipe.training is not None
    huge = recipe.model_copy(update={"training": recipe.training.model_copy(update={"lr": 1e30})})
    with pytest.raises(TrainingError, match=r"loss became .* lower the learning rate"):
        train(huge, 0, 0)


def test_canonical_bytes_differ_in_numbers_only() -> None:
    recipe = named_recipe("facts-tiny")
    config = recipe.architecture.config(recipe.task.build(0))
    one, two = (to_bytes(checkpoint_of(Transformer(config, named_generator(seed)))) for seed in (1, 2))
    header = 8 + int.from_bytes(one[:8], "little")
    assert len(one) == len(two)
    assert one[:header] == two[:header]
    assert one != two


@pytest.mark.parametrize("data", [b"", b"\x00" * 7, b"\xff" * 64, b"\x02\0\0\0\0\0\0\0{}"])
def test_bytes_that_are_no_checkpoint_are_refused(data: bytes) -> None:
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        from_bytes(data)


def test_a_killed_or_failing_writer_leaves_no_half_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.mkdir()
    with pytest.raises(OSError, match="file"):
        write_atomically(target, b"data")
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", recipe_names())
def test_named_recipes_are_valid_and_named_after_their_file(name: str) -> None:
    recipe = named_recipe(name)
    assert recipe.name == name
    assert recipe.criterion


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "kind: facts",
            "kind: fcats",
            r'tiny\.yaml:5:14: task\.kind: unknown task "fcats"; allowed: .*did you mean "facts"',
        ),
        (
            "window: [2, 2, null, null]",
            "window: [2, 2]",
            r"window: got 2 entries, wanted one for each of 4 layers",
        ),
        ("lr: 4.0e-3", "lr: fast", r'tiny\.yaml:\d+:\d+: training\.lr: .*"fast"'),
        ("known: 0.95", "knwon: 0.95", r'unknown measure "knwon".*did you mean "known"'),
        ("subjects: 60", "subjects: 70", r"subjects: got 70, but 8 first and 8 last names make only 64"),
        ("subjects: 60", "subjects: true", r"task\.subjects: got true"),
    ],
)
def test_a_faulty_recipe_is_told_with_its_place(old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe(parse_document(TINY.replace(old, new), "tiny.yaml"))


def test_an_unknown_recipe_is_told_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r'unknown recipe "facts-smal".*did you mean "facts-small"'):
        named_recipe("facts-smal")


def test_seeds_depend_on_every_name_and_its_type() -> None:
    seeds = {
        named_seed("a", 1),
        named_seed("a", "1"),
        named_seed("a1"),
        named_seed(1, "a"),
        named_seed("a", 1, ""),
    }
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)
