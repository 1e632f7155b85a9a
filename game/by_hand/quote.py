"""What a tool would cost with these words, and whether they fit, before the model is asked anything.

Some words stand for the model's own answers: the token that it would say, the nearest prompts that it
answers otherwise. To quote a price such answers are made up: neither price nor refusal tells anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from game.api import Budget, BudgetExceededError, Intervention, Samples, Toolbox
from game.by_hand.menu import Tool, price
from game.by_hand.subject import ToolSubject
from game.by_hand.words import given
from game.toolbox.meter import call_key
from game.toolbox.prices import forward_price, weight_price
from models.transformer import TransformerConfig


@dataclass(frozen=True)
class Quote:
    """Credits, if none of it was paid before.

    Attributes:
        tool: What the tool itself takes; None if it does not say.
        answers: What the model's own answers take, for which words stand.
    """

    tool: float | None
    answers: float

    @property
    def total(self) -> float | None:
        """Together; None if the tool does not say."""
        return None if self.tool is None else self.tool + self.answers

    def check(self, budget: Budget) -> None:
        """Nothing, if the credits left can pay, or the tool does not say what it takes.

        Raises:
            BudgetExceededError: They cannot.
        """
        if self.total is not None and self.total > budget.remaining:
            left = f"{budget.remaining:g} are left of {budget.total:g}"
            raise BudgetExceededError(f"costs {self.total:g} credits; {left}")

    def __str__(self) -> str:
        asked = f" and {self.answers:g} for the model's own answers" if self.answers else ""
        return f"{'an unknown price' if self.tool is None else f'{self.tool:g} credits'}{asked}"


def quote(tool: Tool, words: Mapping[str, Sequence[str]], subject: ToolSubject, seed: int = 0) -> Quote:
    """What a tool costs; nothing is charged.

    Args:
        tool: The tool.
        words: By parameter, as `given` takes them.
        subject: What it would be run on.
        seed: Of drawn prompts.

    Raises:
        WordsError: Words that do not fit.
        AccessError: The toolbox is closed.
    """
    box = _MadeUp(subject.box)
    found = given(tool, words, replace(subject, box=box), seed)
    return Quote(price(tool, subject.box.config, found.arguments, found.tokens), box.due)


class _MadeUp:
    """Knows the public prompts, makes the rest up, and counts what it would have cost."""

    def __init__(self, box: Toolbox) -> None:
        self._box, self.due = box, 0.0
        self._asked: set[bytes] = set()

    @property
    def config(self) -> TransformerConfig:
        return self._box.config

    @property
    def budget(self) -> Budget:
        return self._box.budget

    def logits(self, tokens: Tensor, interventions: Sequence[Intervention] = ()) -> Tensor:
        """Numbers drawn at random, `[row, pos, d_vocab]`, the same for the same prompts."""
        self._charge(call_key("forward", tokens), forward_price(len(tokens)))
        generator = torch.Generator().manual_seed(int(tokens.sum()))
        return torch.rand(*tokens.shape, self.config.d_vocab, generator=generator)

    def weight(self, name: str) -> Tensor:
        """Zeros in the weight's shape."""
        self._charge(call_key("weight", name), weight_price(self.config, name))
        return torch.zeros(self.config.weight_shapes()[name])

    def sample(self, n: int, seed: int = 0) -> Samples:
        """The real ones, which are public and free."""
        return self._box.sample(n, seed)

    def _charge(self, key: bytes, price: float) -> None:
        """A repeat is free."""
        self.due += 0.0 if key in self._asked else price
        self._asked.add(key)

    def activations(
        self, tokens: Tensor, names: Sequence[str], interventions: Sequence[Intervention] = ()
    ) -> dict[str, Tensor]:
        """No word stands for activations."""
        raise NotImplementedError

    def vjp(
        self,
        tokens: Tensor,
        names: Sequence[str],
        cotangent: Mapping[str, Tensor],
        interventions: Sequence[Intervention] = (),
    ) -> dict[str, Tensor]:
        """No word stands for gradients."""
        raise NotImplementedError

    def sibling(self, index: int) -> Toolbox:
        """No word stands for a sibling."""
        raise NotImplementedError

    def reference(self) -> Toolbox:
        """No word stands for a reference."""
        raise NotImplementedError
