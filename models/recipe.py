"""Recipes: YAML that names a task, an architecture and how to train; with two seeds it fixes a checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SerializeAsAny

from models.naming import unknown
from models.strict_yaml import ConfigError, Document, Fault, StrictModel, read_document
from models.tasks.base import Task, TaskSettings, task_kinds, task_settings
from models.transformer import TransformerConfig

FOLDER = Path(__file__).parent / "recipes"
Count = Annotated[int, Field(ge=1, le=100_000)]


class Architecture(StrictModel):
    """Shape of the model; vocabulary and context length come from the task."""

    n_layers: Annotated[int, Field(ge=1, le=64)]
    d_model: Annotated[int, Field(ge=2, le=4096)]
    n_heads: Annotated[int, Field(ge=1, le=64)]
    d_head: Annotated[int, Field(ge=1, le=1024)]
    d_mlp: Annotated[int, Field(ge=1, le=16384)]
    act_fn: Literal["relu", "gelu"] = "relu"
    normalization_type: Literal["LN", "RMS"] | None = "LN"
    window: tuple[int | None, ...]
    mlp: tuple[bool, ...]

    def config(self, task: Task) -> TransformerConfig:
        """The full config of a model for this task.

        Raises:
            ValueError: The numbers do not fit together.
        """
        return TransformerConfig(d_vocab=len(task.vocabulary), n_ctx=task.n_ctx, **self.model_dump())


class Training(StrictModel):
    """AdamW: warm-up, a constant rate until the answers are learned, then a linear cool-down.

    Attributes:
        lr: Peak learning rate.
        batch: Documents in a step.
        warmup: Steps of linear warm-up.
        answer_loss: The cool-down starts when the running mean loss on answers falls below this, nats.
        cooldown: Steps of linear decay to zero.
        max_steps: The cool-down starts here at the latest.
        betas: Adam's decay rates.
        weight_decay: AdamW's, on matrices only.
    """

    lr: Annotated[float, Field(gt=0, le=1)]
    batch: Count
    warmup: Count
    answer_loss: Annotated[float, Field(gt=0)]
    cooldown: Count
    max_steps: Count
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


class Recipe(StrictModel):
    """A family of checkpoints; the world seed and the training seed pick one.

    Attributes:
        criterion: Lower bounds on the task's own measures that a finished checkpoint must reach.
    """

    version: Literal[1]
    name: str
    description: str
    task: SerializeAsAny[TaskSettings]
    architecture: Architecture
    training: Training
    criterion: Mapping[str, float]


def recipe_names() -> tuple[str, ...]:
    """Names of the shipped recipes."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def shipped_recipe(name: str) -> Recipe:
    """The shipped recipe of that name.

    Raises:
        ConfigError: There is none.
    """
    if name not in recipe_names():
        raise ConfigError([Fault("", None, None, "", unknown("recipe", name, recipe_names()))])
    return load_recipe(read_document(FOLDER / f"{name}.yaml"))


def load_recipe(document: Document) -> Recipe:
    """The recipe that a document describes.

    Raises:
        ConfigError: Every fault, with its place.
    """
    task = document.data.get("task")
    kind = task.get("kind") if isinstance(task, dict) else None
    if isinstance(kind, str) and kind not in task_kinds():
        raise document.error(("task", "kind"), unknown("task", kind, task_kinds()))
    settings = task_settings(kind) if isinstance(kind, str) else TaskSettings
    recipe = document.validate(_recipe_of(settings))
    for metric in recipe.criterion:
        if metric not in settings.metrics:
            raise document.error(("criterion", metric), unknown("measure", metric, settings.metrics))
    try:
        recipe.architecture.config(recipe.task.build(0))
    except ValueError as error:
        raise document.error(("architecture",), str(error)) from error
    return recipe


def _recipe_of(settings: type[TaskSettings]) -> type[Recipe]:
    """`Recipe` with its task block narrowed to one task's settings."""

    class TaskRecipe(Recipe):
        task: settings  # type: ignore[valid-type]

    return TaskRecipe
