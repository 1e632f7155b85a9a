"""The zoo: recipe and seeds to checkpoint, trained once and kept by content in the user's cache folder."""

import ast
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from filelock import FileLock
from platformdirs import user_cache_path

from models.checkpoints import Checkpoint, CheckpointError, from_bytes, to_bytes, write_atomically
from models.recipe import Recipe
from models.tasks.base import Task
from models.training import Progress, TrainingError, silent, train

_SOURCES = ("hooks.py", "transformer.py", "training.py", "seeds.py", "checkpoints.py")


@dataclass(frozen=True)
class Trained:
    """A trained checkpoint with where it came from.

    Attributes:
        recipe: What it was trained from.
        world_seed: Which world.
        seed: Which initial weights and data order.
        checkpoint: Its weights.
        metrics: The task's own measures of it.
    """

    recipe: Recipe
    world_seed: int
    seed: int
    checkpoint: Checkpoint
    metrics: dict[str, float]

    @property
    def name(self) -> str:
        """Such as `facts-small@3.7`: recipe, world seed, training seed."""
        return f"{self.recipe.name}@{self.world_seed}.{self.seed}"

    @cached_property
    def task(self) -> Task:
        """The world that it was trained in."""
        return self.recipe.task.build(self.world_seed)


def cache_folder() -> Path:
    """Where checkpoints are kept: `AUDIT_GAME_CACHE`, or the user's cache folder."""
    chosen = os.environ.get("AUDIT_GAME_CACHE")
    return Path(chosen) if chosen else user_cache_path("audit-game")


def trained(
    recipe: Recipe, world_seed: int, seed: int, on_step: Callable[[Progress], None] = silent
) -> Trained:
    """The checkpoint of a recipe and two seeds, from the cache or trained now.

    Safe under parallel use: whoever comes second waits and reads. A damaged file is trained again.

    Raises:
        TrainingError: The checkpoint does not reach the recipe's criterion.
        OSError: The cache folder cannot be written to.
    """
    path = _path(recipe, world_seed, seed)
    found = _read(path)
    if found is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            found = _read(path)
            if found is None:
                found = _train_and_keep(path, recipe, world_seed, seed, on_step)
    checkpoint, metrics = found
    return Trained(recipe, world_seed, seed, checkpoint, metrics)


def is_kept(recipe: Recipe, world_seed: int, seed: int) -> bool:
    """Whether the cache holds an intact checkpoint of this recipe and these seeds."""
    return _read(_path(recipe, world_seed, seed)) is not None


def _path(recipe: Recipe, world_seed: int, seed: int) -> Path:
    key = _key(recipe, world_seed, seed)
    return cache_folder() / "zoo" / f"{recipe.name}-{world_seed}-{seed}-{key}.safetensors"


def _train_and_keep(
    path: Path, recipe: Recipe, world_seed: int, seed: int, on_step: Callable[[Progress], None]
) -> tuple[Checkpoint, dict[str, float]]:
    checkpoint, metrics = _measured(recipe, world_seed, seed, on_step)
    if _missed(recipe, metrics):
        checkpoint, metrics = _measured(_patient(recipe), world_seed, seed, on_step)
    for metric in _missed(recipe, metrics):
        name, bound = f"{recipe.name}@{world_seed}.{seed}", recipe.criterion[metric]
        raise TrainingError(f"{name}: {metric} reached {metrics[metric]:.4f}, wanted {bound}")
    data = to_bytes(checkpoint)
    note = {"sha256": hashlib.sha256(data).hexdigest(), "metrics": metrics}
    write_atomically(path, data)
    write_atomically(path.with_suffix(".json"), json.dumps(note).encode())
    return checkpoint, metrics


def _measured(
    recipe: Recipe, world_seed: int, seed: int, on_step: Callable[[Progress], None]
) -> tuple[Checkpoint, dict[str, float]]:
    checkpoint = train(recipe, world_seed, seed, on_step)
    return checkpoint, recipe.task.build(world_seed).evaluate(checkpoint.model())


def _missed(recipe: Recipe, metrics: dict[str, float]) -> list[str]:
    """The measures that fall short of the recipe's criterion."""
    return [metric for metric, bound in recipe.criterion.items() if metrics[metric] < bound]


def _patient(recipe: Recipe) -> Recipe:
    """The recipe with twice the cool-down, for the rare seed that falls short by a fact or two."""
    training = recipe.training.model_copy(update={"cooldown": 2 * recipe.training.cooldown})
    return recipe.model_copy(update={"training": training})


def _read(path: Path) -> tuple[Checkpoint, dict[str, float]] | None:
    """What the cache holds, or None if it is absent or damaged."""
    try:
        note = json.loads(path.with_suffix(".json").read_bytes())
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != note["sha256"]:
            return None
        return from_bytes(data), dict(note["metrics"])
    except (OSError, ValueError, KeyError, TypeError, CheckpointError):
        return None


def _key(recipe: Recipe, world_seed: int, seed: int) -> str:
    """What the weights depend on, hashed: recipe, seeds, torch's version and the code that trains."""
    settings = recipe.model_dump(mode="json", exclude={"name", "description", "criterion"})
    text = json.dumps([settings, world_seed, seed, torch.__version__, _source_digest()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _source_digest() -> str:
    """Hash of the code that decides what training yields."""
    here = Path(__file__).parent
    files = [*(here / name for name in _SOURCES), *sorted((here / "tasks").glob("*.py"))]
    return hashlib.sha256("\0".join(map(code_of, files)).encode()).hexdigest()


def code_of(file: Path) -> str:
    """What a Python file does, without comments, layout and docstrings, which change no result."""
    tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:]
    return ast.dump(tree)
