"""Bring your own: a recipe out of weights from elsewhere and a task, so that edits and audits run on them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from models.checkpoints import Checkpoint, to_bytes, write_atomically
from models.recipe import FOLDER, Imported, Recipe, imports_folder, load_shape, read_recipe
from models.strict_yaml import ConfigError, Document, read_document
from models.tl_import import ImportFault, checkpoint_of_state
from models.zoo import imported_path


@dataclass(frozen=True)
class Candidate:
    """A model that is about to be imported; nothing is written yet.

    Attributes:
        recipe: What will be named by suites and commands.
        checkpoint: Its weights.
        metrics: The task's own measures of it.
        task_file: The user's task file, if it has one.
    """

    recipe: Recipe
    checkpoint: Checkpoint
    metrics: dict[str, float]
    task_file: Path | None


def candidate(weights: Path, config: Path, world_seed: int) -> Candidate:
    """What weights and a config make together.

    Args:
        weights: Safetensors with TransformerLens's names.
        config: A recipe that may leave training out.
        world_seed: The world of the task that the weights were trained in.

    Raises:
        ConfigError: Faults of the config, with their places.
        ImportFault: The weights cannot be read or do not fit the config, with every tensor that does not.
    """
    document = read_document(config)
    for key in ("continues", "imported"):
        if key in document.data:
            raise document.error((key,), "is not for an imported model, whose weights are given")
    recipe = load_shape(document, config.parent)
    task = recipe.task.build(world_seed)
    checkpoint = checkpoint_of_state(_state(weights), recipe.architecture.config(task))
    metrics = task.evaluate(checkpoint.model())
    for metric in recipe.missed(metrics):
        message = f"these weights reach {metrics[metric]:.4f}, wanted {recipe.criterion[metric]}"
        raise document.error(("criterion", metric), message)
    origin = Imported(sha256=checkpoint.hash, world_seed=world_seed)
    kind = recipe.task.kind
    task_file = config.parent / kind if kind.endswith(".py") else None
    whole = recipe.model_copy(update={"imported": origin})
    _check_name(document, whole)
    return Candidate(whole, checkpoint, metrics, task_file)


def keep(found: Candidate) -> Path:
    """Write weights, task file and, last, the recipe that makes them count; the recipe's file.

    Raises:
        OSError: The data folder cannot be written to.
    """
    name = found.recipe.name
    write_atomically(imported_path(found.checkpoint.hash), to_bytes(found.checkpoint))
    data = found.recipe.model_dump(mode="json", exclude_unset=True)
    if found.task_file is not None:
        source = found.task_file.read_bytes()
        own = f"{name}-{hashlib.sha256(source).hexdigest()[:12]}.py"
        write_atomically(imports_folder() / own, source)
        data["task"]["kind"] = own
    path = imports_folder() / f"{name}.yaml"
    write_atomically(path, yaml.safe_dump(data, sort_keys=False).encode())
    return path


def _state(path: Path) -> Mapping[str, Tensor]:
    try:
        return load(path.read_bytes())
    except OSError as error:
        raise ImportFault([f"{path}: cannot be read: {error.strerror or error}"]) from error
    except SafetensorError as error:
        advice = "save the state dict with safetensors.torch.save_file"
        raise ImportFault([f"{path}: is not safetensors ({error}); {advice}"]) from error


def _check_name(document: Document, recipe: Recipe) -> None:
    """Refuse a name that a shipped recipe has, or an imported one of other content."""
    if (FOLDER / f"{recipe.name}.yaml").exists():
        raise document.error(("name",), f'"{recipe.name}" is a shipped recipe; choose another name')
    path = imports_folder() / f"{recipe.name}.yaml"
    try:
        taken = path.exists() and read_recipe(path).imported != recipe.imported
    except ConfigError:
        taken = True
    if taken:
        raise document.error(
            ("name",), f'"{recipe.name}" is imported already; choose another, or delete {path}'
        )
