"""`weekdays`: "Monday plus 3 = Thursday"; a task of one's own in one file."""

from functools import cached_property

import torch
from torch import Tensor

from models.tasks.base import BOS, PAD, Documents, Probe, Prompts, Task, TaskSettings, accuracy
from models.transformer import Transformer

DAYS = tuple("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split())


class WeekdaysSettings(TaskSettings):
    """How many steps ahead a document may ask for."""

    metrics = ("accuracy",)

    most: int = 20

    def build(self, world_seed: int) -> "Weekdays":
        return Weekdays(self)


class Weekdays(Task):
    """Seven days in a ring; every world is the same."""

    name = "weekdays"
    description = "A day, a number of days, and the day that many days later."
    notes = (
        "Addition modulo 7, so the days may come to lie on a circle (Nanda et al. 2023, arXiv 2301.05217)."
    )

    def __init__(self, settings: WeekdaysSettings) -> None:
        numbers = tuple(map(str, range(settings.most + 1)))
        super().__init__({"special": (PAD, BOS, "plus", "="), "days": DAYS, "numbers": numbers}, n_ctx=6)
        self.days, self.numbers = (torch.tensor(self.classes[name]) for name in ("days", "numbers"))

    def _sums(self, day: Tensor, steps: Tensor) -> Tensor:
        """BOS, day, plus, number, =, day; `[row, 6]`."""
        fixed = {word: torch.full_like(day, self.ids[word]) for word in (BOS, "plus", "=")}
        later = self.days[(day + steps) % len(DAYS)]
        return torch.stack(
            [fixed[BOS], self.days[day], fixed["plus"], self.numbers[steps], fixed["="], later], 1
        )

    def _drawn(self, n: int, generator: torch.Generator) -> Tensor:
        day = torch.randint(len(DAYS), (n,), generator=generator)
        return self._sums(day, torch.randint(len(self.numbers), (n,), generator=generator))

    def documents(self, n: int, generator: torch.Generator) -> Documents:
        tokens = self._drawn(n, generator)
        answers = (torch.arange(6) == 5).expand_as(tokens)
        return Documents(tokens, answers.float(), answers)

    def prompts(self, n: int, generator: torch.Generator) -> Prompts:
        return Prompts(self._drawn(n, generator)[:, :-1], torch.full((n,), 5))

    @cached_property
    def table(self) -> Probe:
        day, steps = torch.meshgrid(torch.arange(7), torch.arange(len(self.numbers)), indexing="ij")
        sums = self._sums(day.flatten(), steps.flatten())
        return Probe(sums[:, :-1], torch.full((len(sums),), 4), sums[:, -1])

    def evaluate(self, model: Transformer) -> dict[str, float]:
        return {"accuracy": accuracy(model, self.table)}
