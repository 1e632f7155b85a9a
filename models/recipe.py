"""Recipes: YAML that names a task, an architecture and how to train; with two seeds it fixes a checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SerializeAsAny

from models.bounds import BoundOrMinimum
from models.folders import data_folder
from models.naming import unknown
from models.strict_yaml import ConfigError, Document, Fault, StrictModel, read_document
from models.tasks.base import Task, TaskError, TaskSettings, task_kinds, task_settings
from models.transformer import TransformerConfig

FOLDER = Path(__file__).parent / "recipes"
Count = Annotated[int, Field(ge=1, le=100_000)]
Rate = Annotated[float, Field(ge=0, lt=1)]


class Architecture(StrictModel):
    """Shape of the model; the vocabulary comes from the task.

    Attributes:
        n_ctx: Context length; the task's longest sequence unless it is given.
    """

    n_layers: Annotated[int, Field(ge=1, le=64)]
    d_model: Annotated[int, Field(ge=2, le=4096)]
    n_heads: Annotated[int, Field(ge=1, le=64)]
    d_head: Annotated[int, Field(ge=1, le=1024)]
    d_mlp: Annotated[int, Field(ge=1, le=16384)]
    act_fn: Literal["relu", "gelu"] = "relu"
    normalization_type: Literal["LN", "RMS"] | None = "LN"
    window: tuple[int | None, ...]
    mlp: tuple[bool, ...]
    n_ctx: Count | None = None

    def config(self, task: Task) -> TransformerConfig:
        """The full config of a model for this task.

        Raises:
            ValueError: The numbers do not fit together.
        """
        if self.n_ctx is not None and self.n_ctx < task.n_ctx:
            raise ValueError(f"n_ctx: got {self.n_ctx}, but the task's sequences have {task.n_ctx} tokens")
        shape = self.model_dump(exclude={"n_ctx"})
        return TransformerConfig(d_vocab=len(task.vocabulary), n_ctx=self.n_ctx or task.n_ctx, **shape)


class Training(StrictModel):
    """AdamW: warm-up, a constant rate until the task is learned, then a linear cool-down.

    Attributes:
        lr: Peak learning rate.
        batch: Documents in a step.
        warmup: Steps of linear warm-up.
        answer_loss: The cool-down starts when the running mean loss on answers falls below this, nats.
        check_every: The cool-down starts when the recipe's criterion is met, which is tried every so many
            steps; for what the loss on training data does not tell, such as grokking.
        cooldown: Steps of linear decay to zero.
        max_steps: The cool-down starts here at the latest.
        betas: Adam's decay rates.
        weight_decay: AdamW's, on matrices only.
        embed_scale, pos_scale: Spread of the initial token and position embeddings, in units of
            `d_model**-0.5`. Larger tokens and smaller positions shorten the plateau before facts are learned.
    """

    lr: Annotated[float, Field(gt=0, le=1)]
    batch: Count
    warmup: Count
    answer_loss: Annotated[float, Field(gt=0)] | None = None
    check_every: Count | None = None
    cooldown: Count
    max_steps: Count
    betas: tuple[Rate, Rate] = (0.9, 0.98)
    weight_decay: Annotated[float, Field(ge=0, le=100)] = 0.0
    embed_scale: Annotated[float, Field(gt=0, le=100)] = 1.0
    pos_scale: Annotated[float, Field(gt=0, le=100)] = 1.0


class Imported(StrictModel):
    """Weights that a user brought, for one world.

    Attributes:
        sha256: Of the canonical checkpoint file.
        world_seed: The world that they were trained in.
    """

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    world_seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


class Recipe(StrictModel):
    """A family of checkpoints; the world seed and the training seed pick one.

    Attributes:
        continues: Shipped recipe whose checkpoint of the same seeds training goes on from, instead of random
            weights.
        imported: Weights that came from elsewhere, and are not trained here.
        criterion: Bounds on the task's own measures that a finished checkpoint must keep; a bare number is a
            lower bound.
    """

    version: Literal[1]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]
    description: str
    task: SerializeAsAny[TaskSettings]
    architecture: Architecture
    training: Training | None = None
    continues: str | None = None
    imported: Imported | None = None
    criterion: Mapping[str, BoundOrMinimum] = {}

    def missed(self, metrics: Mapping[str, float]) -> list[str]:
        """The measures that do not keep their bound, or are not there."""
        nan = float("nan")  # keeps no bound
        return [name for name, bound in self.criterion.items() if not bound.admits(metrics.get(name, nan))]


def recipe_names() -> tuple[str, ...]:
    """Names of the shipped recipes, then of the imported ones."""
    return tuple(path.stem for folder in (FOLDER, imports_folder()) for path in sorted(folder.glob("*.yaml")))


def imports_folder() -> Path:
    """Where recipes of imported models are kept."""
    return data_folder() / "recipes"


def named_recipe(name: str) -> Recipe:
    """The shipped or imported recipe of that name.

    Raises:
        ConfigError: There is none.
    """
    if name not in recipe_names():
        raise ConfigError([Fault("", None, None, "", unknown("recipe", name, recipe_names()))])
    shipped = FOLDER / f"{name}.yaml"
    return read_recipe(shipped if shipped.exists() else imports_folder() / f"{name}.yaml")


def read_recipe(path: Path) -> Recipe:
    """The recipe in a file; a task file that it names is looked for beside it.

    Raises:
        ConfigError: Every fault, with its place.
    """
    return load_recipe(read_document(path), path.parent)


def load_recipe(document: Document, folder: Path = FOLDER) -> Recipe:
    """The recipe that a document describes.

    Args:
        document: YAML.
        folder: Where the name of a task file starts.

    Raises:
        ConfigError: Every fault, with its place.
    """
    recipe = load_shape(document, folder)
    if recipe.training is None and recipe.imported is None:
        raise document.error((), "wanted training, which makes the weights")
    return recipe


def load_shape(document: Document, folder: Path) -> Recipe:
    """The recipe that a document describes, which need not say where weights come from.

    Raises:
        ConfigError: Every fault, with its place.
    """
    settings = _settings(document, folder)
    recipe = document.validate(_recipe_of(settings))
    measured = recipe.task.measured()
    for metric in recipe.criterion:
        if metric not in measured:
            raise document.error(("criterion", metric), unknown("measure", metric, measured))
    try:
        task = recipe.task.build(0)
    except Exception as error:  # a user's own task can fail in any way
        message = f"cannot be built: {type(error).__name__}: {error}"
        raise document.error(("task",), message) from error
    try:
        config = recipe.architecture.config(task)
    except ValueError as error:
        raise document.error(("architecture",), str(error)) from error
    if recipe.continues is not None:
        _check_continued(document, recipe.continues, config)
    return recipe


def _settings(document: Document, folder: Path) -> type[TaskSettings]:
    """The settings class of a document's task."""
    task = document.data.get("task")
    kind = task.get("kind") if isinstance(task, dict) else None
    if not isinstance(kind, str):
        return TaskSettings
    if kind not in task_kinds() and not kind.endswith(".py"):
        message = f"{unknown('task', kind, task_kinds())}, or a Python file beside the recipe"
        raise document.error(("task", "kind"), message)
    try:
        return task_settings(kind, folder)
    except TaskError as error:
        raise document.error(("task", "kind"), str(error)) from error


def _check_continued(document: Document, name: str, config: TransformerConfig) -> None:
    """Refuse to go on from what does not exist, is itself a continuation, or has another shape."""
    names = [path.stem for path in sorted(FOLDER.glob("*.yaml"))]
    if name not in names:
        raise document.error(("continues",), unknown("recipe", name, names))
    parent = read_document(FOLDER / f"{name}.yaml")
    if "continues" in parent.data:
        raise document.error(("continues",), f"{name} continues another recipe itself")
    first = load_recipe(parent)
    if first.architecture.config(first.task.build(0)) != config:
        raise document.error(("continues",), f"{name} trains a model of another shape")


def _recipe_of(settings: type[TaskSettings]) -> type[Recipe]:
    """`Recipe` with its task block narrowed to one task's settings."""

    class TaskRecipe(Recipe):
        task: settings  # type: ignore[valid-type]

    return TaskRecipe
