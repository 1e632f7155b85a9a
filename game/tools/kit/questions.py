"""Prompts with the answers that are asked about, as most tools take them."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from game.api import RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.requests import checked_prompts
from game.tools.kit.arguments import PositionOfEach, Prompts, TokenOfEach
from game.tools.kit.batches import run


@dataclass(frozen=True)
class Questions:
    """Prompts, and for each an answer against which everything is measured.

    A question's margin is a weighted sum of the logits where it is answered: that of the answer minus that
    of the distractor, or minus the vocabulary's mean logit; in nats.

    Attributes:
        tokens: Token ids, `[row, pos]`.
        at: Position at which the answer is read, `[row]`.
        answer: Token, `[row]`.
        distractor: Token, `[row]`; None is the mean over the vocabulary.
    """

    tokens: Prompts
    at: PositionOfEach
    answer: TokenOfEach
    distractor: TokenOfEach | None = None

    @classmethod
    def of_samples(cls, box: Toolbox, samples: Samples) -> Self:
        """The model's own top answers against the runners-up; costs a forward pass a row."""
        at = samples.lengths - 1
        logits = run(box, samples.tokens, ["logits"])["logits"]
        top = logits[torch.arange(len(at)), at].topk(2).indices  # [row, 2]
        return cls(samples.tokens, at, top[:, 0], top[:, 1])

    def __len__(self) -> int:
        return len(self.tokens)

    def of(self, rows: Tensor) -> "Questions":
        """Some of the questions, by row number; a number may come twice."""
        distractor = None if self.distractor is None else self.distractor[rows]
        return Questions(self.tokens[rows], self.at[rows], self.answer[rows], distractor)

    def weights(self, d_vocab: int) -> Tensor:
        """What each logit counts for in the margin, `[row, d_vocab]`."""
        weights = torch.zeros(len(self), d_vocab)
        if self.distractor is None:
            weights -= 1 / d_vocab
        else:
            weights.scatter_add_(1, self.distractor[:, None], -torch.ones(len(self), 1))
        return weights.scatter_add_(1, self.answer[:, None], torch.ones(len(self), 1))

    def read(self, logits: Tensor) -> Tensor:
        """Logits where the answers are read, float64, `[row, d_vocab]`."""
        return logits[torch.arange(len(self)), self.at].double()

    def margin(self, logits: Tensor) -> Tensor:
        """Margins in nats, `[row]`, given logits `[row, pos, d_vocab]`."""
        return (self.read(logits) * self.weights(logits.shape[-1])).sum(-1)

    def cotangent(self, d_vocab: int) -> Tensor:
        """Gradient of the sum of all margins with respect to the logits, `[row, pos, d_vocab]`."""
        cotangent = torch.zeros(*self.tokens.shape, d_vocab)
        cotangent[torch.arange(len(self)), self.at] = self.weights(d_vocab)
        return cotangent

    def check(self, config: TransformerConfig) -> None:
        """Nothing, if they can be asked of a model of that shape.

        Raises:
            RequestError: There are none, or a shape, token or number does not fit.
        """
        checked_prompts(self.tokens, config)
        parts = {"at": self.at, "answer": self.answer, "distractor": self.distractor}
        for name, chosen in parts.items():
            most = self.tokens.shape[1] if name == "at" else config.d_vocab
            if chosen is not None and not _numbers(chosen, len(self), most):
                raise RequestError(f"questions: {name} is not one number from 0 to {most - 1} for each row")


@dataclass(frozen=True)
class Contrast:
    """Pairs of prompts of equal length, and the two tokens that tell them apart.

    Attributes:
        clean: Token ids, `[pair, pos]`.
        corrupt: The same with something exchanged, `[pair, pos]`.
        answer: The clean run's answer, `[pair]`.
        distractor: The corrupt run's answer, `[pair]`.
        at: Position at which the answer is read, `[pair]`.
    """

    clean: Prompts
    corrupt: Prompts
    answer: TokenOfEach
    distractor: TokenOfEach
    at: PositionOfEach

    def __len__(self) -> int:
        return len(self.clean)

    def asked(self, tokens: Tensor) -> Questions:
        """Answer against distractor, asked of the clean or of the corrupt prompts."""
        return Questions(tokens, self.at, self.answer, self.distractor)

    def metric(self, logits: Tensor, pairs: Tensor) -> Tensor:
        """Log P(answer) - log P(distractor) in nats, `[row]`, of runs of the given pairs."""
        return self.asked(self.clean).of(pairs).margin(logits)

    def check(self, config: TransformerConfig) -> None:
        """Nothing, if a model of that shape can be asked.

        Raises:
            RequestError: There are no pairs, or a shape, token or number does not fit.
        """
        clean = checked_prompts(self.clean, config, "clean")
        corrupt = checked_prompts(self.corrupt, config, "corrupt")
        if clean.shape != corrupt.shape:
            shapes = f"clean {list(clean.shape)}, corrupt {list(corrupt.shape)}"
            raise RequestError(f"contrast: {shapes}; wanted [pair, pos] twice")
        for name, most in (
            ("answer", config.d_vocab),
            ("distractor", config.d_vocab),
            ("at", clean.shape[1]),
        ):
            if not _numbers(getattr(self, name), len(clean), most):
                raise RequestError(f"contrast: {name} is not one number from 0 to {most - 1} for each pair")


def _numbers(chosen: Tensor, count: int, most: int) -> bool:
    """Whether these are `count` whole numbers from 0 to `most` - 1."""
    fits = chosen.shape == (count,) and not chosen.is_floating_point()
    return fits and int(chosen.min()) >= 0 and int(chosen.max()) < most
