"""What a task is: documents to train on, a public corpus, prompts with answers, and its own evaluation."""

import hashlib
import importlib
import importlib.util
import pkgutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import torch
from torch import Tensor

from models.strict_yaml import StrictModel
from models.transformer import Transformer

PAD, BOS = "<pad>", "<bos>"


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


@dataclass(frozen=True)
class Probe:
    """Prompts whose answers are known, as parallel columns; a task may add columns of its own.

    Attributes:
        tokens: BOS, prompt, padding on the right, `[prompt, pos]`.
        last: Position of the prompt's last token, `[prompt]`.
        answer: The token that should follow, `[prompt]`.
    """

    tokens: Tensor
    last: Tensor
    answer: Tensor


@dataclass(frozen=True)
class Finding:
    """A measured trace of how a model does its task.

    Attributes:
        meaning: What a high value says, in one sentence.
        axes: Name of each axis, such as `("layer", "head")`.
        values: The measure.
    """

    meaning: str
    axes: tuple[str, ...]
    values: Tensor


class Task(ABC):
    """A world to train on; made by `TaskSettings.build`, a pure function of the settings and a world seed.

    Args:
        words: The vocabulary in named groups, disjoint; `special` holds at least `PAD` and `BOS`.
        n_ctx: Longest sequence.

    Attributes:
        name: The settings' `kind`.
        description: One or two sentences that everyone may read.
        notes: What is known of how trained models do it, with sources.
        vocabulary: Token strings by id.
        classes: Named groups of token ids, disjoint.
        ids: Token ids by string.
        pad: Id of the padding token.
        bos: Id of every sequence's first token.
        n_ctx: Longest sequence.
    """

    name: str
    description: str
    notes: str

    def __init__(self, words: Mapping[str, Sequence[str]], n_ctx: int) -> None:
        self.vocabulary = tuple(word for group in words.values() for word in group)
        self.ids = {word: token for token, word in enumerate(self.vocabulary)}
        self.classes = {name: tuple(self.ids[word] for word in group) for name, group in words.items()}
        self.pad, self.bos, self.n_ctx = self.ids[PAD], self.ids[BOS], n_ctx

    def text(self, tokens: Tensor) -> str:
        """A row of token ids as words, without padding."""
        return " ".join(self.vocabulary[token] for token in tokens.tolist() if token != self.pad)

    @abstractmethod
    def documents(self, n: int, generator: torch.Generator) -> Documents:
        """Random training documents."""

    @abstractmethod
    def prompts(self, n: int, generator: torch.Generator) -> Prompts:
        """Random prompts of training, each cut before its answer, and stating no other answer."""

    @property
    @abstractmethod
    def table(self) -> Probe:
        """The prompts on which every change of a model is judged; the same at every call."""

    @abstractmethod
    def evaluate(self, model: Transformer) -> dict[str, float]:
        """The task's own measures of a model, in [0, 1]; a recipe's criterion names some of them."""

    def probes(self) -> Mapping[str, Probe]:
        """Named sets of prompts that ask for one thing each, such as held-out ones or contrast pairs."""
        return {"table": self.table}

    def findings(self, model: Transformer) -> Mapping[str, Finding]:
        """Traces of the known mechanism in a model, such as each head's induction score."""
        return {}


class TaskError(ValueError):
    """A file that defines no task."""


class TaskSettings(StrictModel):
    """The `task:` block of a recipe; each task module defines one subclass, with its own `kind` if shipped.

    Attributes:
        metrics: Names of what `Task.evaluate` may return.
    """

    metrics: ClassVar[tuple[str, ...]]
    kind: str

    def measured(self) -> tuple[str, ...]:
        """The measures that a world of these settings has; all of them unless a task says otherwise."""
        return self.metrics

    def build(self, world_seed: int) -> Task:
        """The task in the world of that seed."""
        raise TypeError(f"{type(self).__name__} defines no build")


def task_kinds() -> tuple[str, ...]:
    """Names of the tasks that the folder holds."""
    folder = str(Path(__file__).parent)
    return tuple(sorted(module.name for module in pkgutil.iter_modules([folder]) if module.name != "base"))


def task_settings(kind: str, folder: Path) -> type[TaskSettings]:
    """The settings class of a task: the one in the module of that name, or in a Python file.

    Args:
        kind: A shipped task, or a file name that ends in `.py`.
        folder: Where a relative file name starts.

    Raises:
        TaskError: No such file, it fails on import, or it holds no settings class of its own, or several.
    """
    is_file = kind.endswith(".py")
    module = _module_of(folder / kind) if is_file else importlib.import_module(f"models.tasks.{kind}")
    own = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, TaskSettings) and value.__module__ == module.__name__
    ]
    if len(own) != 1:
        raise TaskError(f"wanted one subclass of TaskSettings in {kind}, found {len(own)}")
    return own[0]


def _module_of(path: Path) -> ModuleType:
    """A user's file as a module, under a private name that changes with its place and content."""
    if not path.is_file():
        raise TaskError(f"{path}: no such file")
    content = str(path.resolve()).encode() + b"\0" + path.read_bytes()
    name = f"_task_{path.stem}_{hashlib.sha256(content).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        place = f"line {error.lineno}: " if isinstance(error, SyntaxError) else ""
        raise TaskError(f"{path}: {place}fails on import: {type(error).__name__}: {error}") from error
    return module


def joined(parts: Sequence[Tensor], pad: int) -> Tensor:
    """Rows side by side with their padding moved to the right end, cut to the longest row, `[n, pos]`."""
    tokens = torch.cat(list(parts), 1)
    padding = tokens == pad
    order = padding.to(torch.uint8).argsort(dim=1, stable=True)
    return tokens.gather(1, order)[:, : int((~padding).sum(1).max())]


@torch.no_grad()
def answer_log_probs(model: Transformer, probe: Probe, rows: int = 400) -> Tensor:
    """Log-probabilities of every token as each prompt's answer, `[prompt, d_vocab]`, nats.

    Args:
        model: The model.
        probe: The prompts.
        rows: Prompts in one forward pass; a few hundred are fastest on a CPU.
    """
    device = model.unembed.W_U.device
    order = probe.last.argsort(stable=True)  # prompts of like length together: padding costs what words do
    found = torch.empty(len(order), model.cfg.d_vocab)
    for chosen in torch.split(order, rows):
        last = probe.last[chosen]
        tokens = probe.tokens[chosen, : int(last.max()) + 1].to(device)
        resid = model.through_blocks(model.embedded(tokens))
        found[chosen] = model.logits_of(resid[torch.arange(len(last)), last]).log_softmax(-1).cpu()
    return found


def accuracy(model: Transformer, probe: Probe) -> float:
    """Share of a probe's prompts that the model answers rightly."""
    return (answer_log_probs(model, probe).argmax(-1) == probe.answer).double().mean().item()
