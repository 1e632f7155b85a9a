"""The zoo: recipe and seeds to checkpoint, trained once and kept by content in the user's cache folder."""

import ast
import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from filelock import FileLock

from models import shelf
from models.checkpoints import Checkpoint, CheckpointError, from_bytes
from models.folders import data_folder
from models.recipe import Recipe, load_recipe, named_recipe, recipe_names
from models.strict_yaml import ConfigError, parse_document
from models.tasks.base import Task, TaskSettings
from models.training import Progress, TrainingError, silent, train

_PLUMBING = {"strict_yaml", "naming"}  # reads and names settings; no weight depends on how


class CacheError(RuntimeError):
    """The cache folder cannot be written to, such as for a full disk."""


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


def trained(
    recipe: Recipe, world_seed: int, seed: int, on_step: Callable[[Progress], None] = silent
) -> Trained:
    """The checkpoint of a recipe and two seeds, from the cache or trained now.

    Safe under parallel use: whoever comes second waits and reads. A damaged file is trained again, and
    training that was interrupted goes on where it stood.

    Raises:
        TrainingError: The checkpoint does not reach the recipe's criterion, or does not exist and cannot be
            trained.
        CacheError: The cache folder cannot be written to.
    """
    if recipe.imported is not None:
        return _imported(recipe, world_seed, seed)
    path = path_of(recipe, world_seed, seed)
    found = shelf.read(path)
    if found is None:
        start = _start(recipe, world_seed, seed, on_step)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock")):
                found = shelf.read(path) or _train_and_keep(path, recipe, world_seed, seed, start, on_step)
        except BrokenPipeError:  # whoever watched has gone; no fault of the cache
            raise
        except OSError as error:
            raise CacheError(f"{path.parent}: cannot be written: {error.strerror or error}") from error
    checkpoint, note = found
    return Trained(recipe, world_seed, seed, checkpoint, note.metrics)


def _start(
    recipe: Recipe, world_seed: int, seed: int, on_step: Callable[[Progress], None] = silent
) -> Checkpoint | None:
    """The weights that a recipe's training goes on from, if it does not begin with random ones."""
    if recipe.continues is None:
        return None
    return trained(named_recipe(recipe.continues), world_seed, seed, on_step).checkpoint


def is_kept(recipe: Recipe, world_seed: int, seed: int) -> bool:
    """Whether an intact checkpoint of this recipe and these seeds is there already."""
    return recipe.imported is not None or shelf.read(path_of(recipe, world_seed, seed)) is not None


def path_of(recipe: Recipe, world_seed: int, seed: int) -> Path:
    """The file of a checkpoint in the cache, there or not."""
    return shelf.folder() / f"{shelf.stem(_note(recipe, world_seed, seed))}.safetensors"


def state_of(kept: shelf.Kept) -> Literal["current", "outdated", "damaged"]:
    """Whether a kept checkpoint is what its recipe, this code and this torch would make today."""
    note = kept.note
    if note is None or not kept.intact:
        return "damaged"
    name = str(note.recipe.get("name"))
    try:
        recipe = named_recipe(name) if name in recipe_names() else rebuilt(note)
    except ConfigError:
        return "outdated"
    return "current" if path_of(recipe, note.world_seed, note.seed) == kept.path else "outdated"


def rebuilt(note: shelf.Note) -> Recipe:
    """The recipe that a kept checkpoint was trained from.

    Raises:
        ConfigError: This version of the code knows it no more.
    """
    text = json.dumps(note.recipe)  # JSON is YAML
    return load_recipe(parse_document(text, note.name), Path(note.task_file).parent)


def again(kept: shelf.Kept) -> Checkpoint:
    """A kept checkpoint trained once more, from the same recipe and seeds.

    Raises:
        TrainingError: It cannot be trained here.
    """
    assert kept.note is not None
    recipe, world_seed, seed = rebuilt(kept.note), kept.note.world_seed, kept.note.seed
    start = _start(recipe, world_seed, seed)
    return train(recipe, world_seed, seed, start=start).checkpoint


def imported_path(sha256: str) -> Path:
    """The file of an imported checkpoint."""
    return data_folder() / "weights" / f"{sha256}.safetensors"


def _imported(recipe: Recipe, world_seed: int, seed: int) -> Trained:
    assert recipe.imported is not None
    only = recipe.imported.world_seed
    if (world_seed, seed) != (only, only):
        raise TrainingError(
            f"{recipe.name}@{world_seed}.{seed}: imported, so that only {recipe.name}@{only}.{only} exists"
        )
    path = imported_path(recipe.imported.sha256)
    try:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != recipe.imported.sha256:
            raise CheckpointError("the file was changed")
        checkpoint = from_bytes(data)
    except (OSError, CheckpointError) as error:
        raise TrainingError(f"{recipe.name}: imported weights cannot be read: {path}: {error}") from error
    metrics = recipe.task.build(world_seed).evaluate(checkpoint.model())
    return Trained(recipe, world_seed, seed, checkpoint, metrics)


def _train_and_keep(
    path: Path,
    recipe: Recipe,
    world_seed: int,
    seed: int,
    start: Checkpoint | None,
    on_step: Callable[[Progress], None],
) -> tuple[Checkpoint, shelf.Note]:
    started = time.process_time()
    task, saved = recipe.task.build(world_seed), path.with_suffix(shelf.UNFINISHED)
    outcome = train(recipe, world_seed, seed, on_step, start, saved)
    metrics = task.evaluate(outcome.checkpoint.model())
    for metric in recipe.missed(metrics):
        reached = f"{recipe.name}@{world_seed}.{seed}: {metric} reached {metrics.get(metric, math.nan):.4f}"
        raise TrainingError(f"{reached}, wanted {recipe.criterion[metric]}")
    known = {
        "sha256": outcome.checkpoint.hash,
        "metrics": metrics,
        "curve": tuple((now.step, now.loss, now.accuracy) for now in outcome.curve),
        "cpu_s": round(time.process_time() - started, 2),
    }
    note = _note(recipe, world_seed, seed).model_copy(update=known)
    shelf.write(path, outcome.checkpoint, note)
    return outcome.checkpoint, note


def _note(recipe: Recipe, world_seed: int, seed: int) -> shelf.Note:
    """What is known of a checkpoint before it is trained."""
    return shelf.Note(
        recipe=recipe.model_dump(mode="json"),
        world_seed=world_seed,
        seed=seed,
        origin=origin_of(recipe, world_seed, seed),
        sha256="",
        metrics={},
        task_file=str(_task_file(type(recipe.task))),
    )


def origin_of(recipe: Recipe, world_seed: int, seed: int) -> dict[str, str]:
    """What decides a checkpoint's weights beside recipe and seeds: versions, code, what it goes on from."""
    origin = {"torch": torch.__version__, "code": code_digest(type(recipe.task))}
    if recipe.continues is not None:
        origin["continues"] = path_of(named_recipe(recipe.continues), world_seed, seed).stem
    return origin


def code_digest(task: type[TaskSettings]) -> str:
    """Hash of the code that decides what training on a task yields: the trainer, the model, the task."""
    here = Path(__file__).parent
    sources = _with_imports([here / "training.py", _task_file(task)], here)
    return hashlib.sha256("\0".join(map(code_of, sources)).encode()).hexdigest()[:16]


def _task_file(task: type[TaskSettings]) -> Path:
    """The module that defines a task."""
    file = sys.modules[task.__module__].__file__
    assert file is not None
    return Path(file)


def _with_imports(files: Iterable[Path], here: Path) -> list[Path]:
    """Files and the modules of this package that they import, directly or not, plumbing apart."""
    found: list[Path] = []
    waiting = list(files)
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.append(file)
            waiting += [here / name for name in _imports(file) if (here / name).is_file()]
    return sorted(found, key=lambda file: (file.parent != here, file.name))


def _imports(file: Path) -> Iterable[str]:
    """Files of this package that a file's `from models... import` statements may name."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "models":
            parts = node.module.split(".")[1:]
            if parts[:1] and parts[0] in _PLUMBING:
                continue
            yield from ("/".join([*parts, alias.name]) + ".py" for alias in node.names)
            yield "/".join(parts) + ".py"


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
