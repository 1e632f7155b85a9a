"""What is measured once on a base model and shared by every edit of it."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
from einops import einsum
from torch import Tensor

from models.checkpoints import Checkpoint
from models.seeds import named_generator
from models.tasks.base import Probe, Task, answer_log_probs
from models.tasks.facts import Fact, Facts
from models.transformer import Transformer
from models.zoo import Trained

T = TypeVar("T")


class Base:
    """A trained model under study; never written to.

    Args:
        trained: The checkpoint and where it came from.
    """

    def __init__(self, trained: Trained) -> None:
        self.trained: Trained = trained
        self.checkpoint: Checkpoint = trained.checkpoint
        self.task: Task = trained.task
        self._found: dict[Hashable, Any] = {}

    @property
    def hash(self) -> str:
        """The checkpoint's hash."""
        return self.checkpoint.hash

    @cached_property
    def model(self) -> Transformer:
        """The base as a model; hooks may be attached for a run, weights stay as they are."""
        return self.checkpoint.model()

    @property
    def table(self) -> Probe:
        """The task's prompts on which every change is judged."""
        return self.task.table

    @cached_property
    def log_probs(self) -> Tensor:
        """The base's log-probabilities on the table, `[prompt, d_vocab]`, nats."""
        return answer_log_probs(self.model, self.table)

    @cached_property
    def known(self) -> Tensor:
        """Which prompts the base answers truly, `[prompt]`, boolean."""
        return self.log_probs.argmax(-1) == self.table.answer

    @cached_property
    def facts(self) -> Facts:
        """The task as a world of facts, which fact editors need.

        Raises:
            TypeError: It is none.
        """
        if not isinstance(self.task, Facts):
            raise TypeError(f"task {self.task.name} has no facts to edit")
        return self.task

    @cached_property
    def known_facts(self) -> tuple[Fact, ...]:
        """The facts that the base answers in every phrasing; the only ones that are edited."""
        shape = (len(self.facts.subjects), len(self.facts.relations), -1)
        known = self.known.view(shape).all(-1).nonzero().tolist()
        return tuple(self.facts.fact(subject, relation) for subject, relation in known)

    def once(self, key: Hashable, measure: Callable[[], T]) -> T:
        """What a measurement of this base finds; made once for each key, and forgotten with the base."""
        if key not in self._found:
            self._found[key] = measure()
        found: T = self._found[key]
        return found

    def second_moment(self, hook: str, tokens: int, seed: int = 0) -> Tensor:
        """Uncentred second moment of an activation over sampled documents, `[..., d, d]`, float64.

        Every position counts, BOS included, padding not. A hook with a head axis gives one matrix a head.

        Args:
            hook: Hook point, `[batch, pos, d]` or `[batch, pos, head, d]`.
            tokens: At least this many positions.
            seed: Which documents.
        """

        def measure() -> Tensor:
            rows = self._sampled(hook, tokens, seed)
            return einsum(rows, rows, "token ... left, token ... right -> ... left right") / len(rows)

        return self.once(("second moment", hook, tokens, seed), measure)

    def mean(self, hook: str, tokens: int = 9000, seed: int = 0) -> Tensor:
        """Mean of an activation over sampled documents, `[..., d]`, float32."""
        return self._sampled(hook, tokens, seed).mean(0).float()

    def _sampled(self, hook: str, tokens: int, seed: int) -> Tensor:
        """An activation at every token of sampled documents, `[token, ..., d]`, float64."""
        generator = named_generator("moments", seed)
        rows: list[Tensor] = []
        while sum(len(chunk) for chunk in rows) < tokens:
            documents = self.task.documents(1 + tokens // 30, generator).tokens
            for start in range(0, len(documents), 100):
                chunk = documents[start : start + 100]
                activation = self.model.run_with_cache(chunk, hook)[1][hook]
                rows.append(activation[chunk != self.task.pad].double())
        return torch.cat(rows)[:tokens]


@dataclass(frozen=True)
class Spectrum:
    """Conditioning of a second moment, for the record: log10 condition number and participation ratio."""

    log_condition: float
    participation: float


def conditioning(moment: Tensor) -> Spectrum:
    """How far from round a second moment `[d, d]` is; zero eigenvalues count as the smallest double."""
    values = torch.linalg.eigvalsh(moment).clamp_min(0)
    smallest = values[0].clamp_min(torch.finfo(torch.float64).tiny)
    return Spectrum(float((values[-1] / smallest).log10()), float(values.sum() ** 2 / (values**2).sum()))


def weakest(moment: Tensor, mass: float) -> Tensor:
    """The eigenvectors of least energy that together hold at most `mass` of it, at least one, `[d, some]`."""
    vectors: Tensor
    values, vectors = torch.linalg.eigh(moment)  # ascending
    share = values.clamp_min(0).cumsum(0) / values.clamp_min(0).sum()
    return vectors[:, : max(1, int((share <= mass).sum()))]


def dual(vector: Tensor, moment: Tensor, ridge: float) -> Tensor:
    """The vector that reads 1 on `vector` and least energy elsewhere, `C_eps^-1 a / (a . C_eps^-1 a)`.

    Args:
        vector: `[d]`, float64.
        moment: Second moment C, `[d, d]`, float64.
        ridge: Added to the diagonal, in units of C's mean diagonal.

    Raises:
        ValueError: The vector is zero (a dead key).

    Source: Meng et al. 2022, arXiv 2202.05262, equation 2; one averaged key as in arXiv 2403.07175.
    """
    if not vector.abs().max() > 0:
        raise ValueError("dead key: the activation to be read is zero")
    eye = torch.eye(len(vector), dtype=moment.dtype)
    solved: Tensor = torch.linalg.solve(moment + ridge * moment.diagonal().mean() * eye, vector)
    return solved / (vector @ solved)
