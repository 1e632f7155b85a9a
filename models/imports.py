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
from models.recipe import FOLDER, Imported, Recipe, imports_folder, load_shape
from models.strict_yaml import Document, read_document
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
    kind = recipe.task.kind
    task_file = config.parent / kind if kind.endswith(".py") else None
    origin = Imported(sha256=checkpoint.hash, world_seed=world_seed)
    found = Candidate(recipe.model_copy(update={"imported": origin}), checkpoint, metrics, task_file)
    _check_name(document, found)
    return found


def keep(found: Candidate) -> Path:
    """Write weights, task file and, last, the recipe that makes them count; the recipe's file.

    Raises:
        OSError: The data folder cannot be written to.
    """
    write_atomically(imported_path(found.checkpoint.hash), to_bytes(found.checkpoint))
    if found.task_file is not None:
        write_atomically(imports_folder() / _own_task_file(found), found.task_file.read_bytes())
    path = imports_folder() / f"{found.recipe.name}.yaml"
    write_atomically(path, _yaml(found))
    return path


def _yaml(found: Candidate) -> bytes:
    """The recipe as it is kept."""
    data = found.recipe.model_dump(mode="json", exclude_unset=True)
    if found.task_file is not None:
        data["task"]["kind"] = _own_task_file(found)
    return yaml.safe_dump(data, sort_keys=False).encode()


def _own_task_file(found: Candidate) -> str:
    """What the user's task file is called where it is kept: its content decides."""
    assert found.task_file is not None
    return f"{found.recipe.name}-{hashlib.sha256(found.task_file.read_bytes()).hexdigest()[:12]}.py"


def _state(path: Path) -> Mapping[str, Tensor]:
    try:
        return load(path.read_bytes())
    except OSError as error:
        raise ImportFault([f"{path}: cannot be read: {error.strerror or error}"]) from error
    except SafetensorError as error:
        advice = "save the state dict with safetensors.torch.save_file"
        raise ImportFault([f"{path}: is not safetensors ({error}); {advice}"]) from error


def _check_name(document: Document, found: Candidate) -> None:
    """Refuse a name that a shipped recipe has, or an imported one of other content."""
    name = found.recipe.name
    if (FOLDER / f"{name}.yaml").exists():
        raise document.error(("name",), f'"{name}" is a shipped recipe; choose another name')
    path = imports_folder() / f"{name}.yaml"
    if path.exists() and path.read_bytes() != _yaml(found):
        raise document.error(("name",), f'"{name}" is imported already; choose another, or delete {path}')
