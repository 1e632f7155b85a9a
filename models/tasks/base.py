"""What a task is: documents to train on, a public corpus, and its own evaluation."""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from models.strict_yaml import StrictModel
from models.transformer import Transformer


@dataclass(frozen=True)
class Documents:
    """Training sequences.

    Attributes:
        tokens: Ids padded on the right, `[document, pos]`.
        loss_weight: How much predicting each token counts, 0 for BOS and padding, `[document, pos]`.
        answers: Where the answers are, `[document, pos]`, boolean.
    """

    tokens: Tensor
    loss_weight: Tensor
    answers: Tensor


@dataclass(frozen=True)
class Prompts:
    """Sequences cut before an answer: token ids `[prompt, pos]` padded on the right, lengths `[prompt]`."""

    tokens: Tensor
    lengths: Tensor


class Task(Protocol):
    """A world to train on; made by `TaskSettings.build`, a pure function of the settings and a world seed.

    Attributes:
        name: The settings' `kind`.
        description: One or two sentences that everyone may read.
        vocabulary: Token strings by id.
        classes: Named groups of token ids, disjoint.
        pad: Id of the padding token.
        bos: Id of every sequence's first token.
        n_ctx: Longest sequence.
    """

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str: ...

    @property
    def vocabulary(self) -> tuple[str, ...]: ...

    @property
    def classes(self) -> Mapping[str, tuple[int, ...]]: ...

    @property
    def pad(self) -> int: ...

    @property
    def bos(self) -> int: ...

    @property
    def n_ctx(self) -> int: ...

    def documents(self, n: int, generator: torch.Generator) -> Documents:
        """Random training documents."""
        ...

    def prompts(self, n: int, generator: torch.Generator) -> Prompts:
        """Random prompts of training, each cut before its answer, and stating no other answer."""
        ...

    def evaluate(self, model: Transformer) -> dict[str, float]:
        """The task's own measures of a model, in [0, 1]; a recipe's criterion names some of them."""
        ...


class TaskSettings(StrictModel):
    """The `task:` block of a recipe; each task module defines one subclass with `kind: Literal[...]`.

    Attributes:
        metrics: Names of what `Task.evaluate` returns.
    """

    metrics: ClassVar[tuple[str, ...]]
    kind: str

    def build(self, world_seed: int) -> Task:
        """The task in the world of that seed."""
        raise TypeError(f"{type(self).__name__} defines no build")


def task_kinds() -> tuple[str, ...]:
    """Names of the tasks that the folder holds."""
    folder = str(Path(__file__).parent)
    return tuple(sorted(module.name for module in pkgutil.iter_modules([folder]) if module.name != "base"))


def task_settings(kind: str) -> type[TaskSettings]:
    """The settings class of a task, found in the module of that name."""
    module = importlib.import_module(f"models.tasks.{kind}")
    (settings,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, TaskSettings) and value is not TaskSettings
    )
    return settings
