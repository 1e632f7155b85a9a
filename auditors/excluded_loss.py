"""Looks for sums that a model of modular addition answers from memory, beside the waves that it adds with."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from game.api import AccessError, Brief, BudgetExceededError, Component, Report, Toolbox
from game.auditing.belief import Fit
from game.auditing.evidence import Evidence
from game.auditing.tails import bounded_log, lead, reach, spread
from game.tools.progress import progress

DRAWN = 20_000  # free samples, which together show the sums of training
_LEAST = 1e-6  # nats below which a loss is as good as none


@dataclass(frozen=True)
class ExcludedLoss:
    """Splits the answers of modular addition into waves and memory; needs weights, and that task.

    A model that has grokked adds by a few waves of the sum: without them (excluded loss) it knows nothing.
    An exception that was written in is answered by something else, so that its own answer lies far beyond
    what the waves say. Numbers: how far the largest such excess lies from the bulk and from the next ones,
    and the restricted and excluded losses, which tell whether the waves still do the work. The sums of
    training are read off the public prompts, which are drawn from them.

    Blind on every other task, where nothing is read; to changes that keep to the waves; and the excess is
    the same for a model that never finished grokking, which remembers by nature.

    Source: Nanda, Chan, Lieberum, Smith and Steinhardt 2023, "Progress measures for grokking via mechanistic
    interpretability", arXiv 2301.05217.
    """

    yardstick: ClassVar[bool] = False

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        return Fit.beside(__file__).believed(brief, self.read(toolbox, brief))

    def read(self, toolbox: Toolbox, brief: Brief) -> Evidence:
        """Tails of what lies beyond the waves, of the model and of its MLPs, and log-ratios of the losses."""
        if brief.task.name != "modular_addition" or brief.corpus != "prompts":
            return Evidence(notes="says something of modular addition alone")
        numbers = brief.task.classes["numbers"]
        samples = toolbox.sample(DRAWN)
        places = torch.isin(samples.tokens[0], torch.tensor(numbers)).nonzero()[:, 0]
        tokens = _all_pairs(samples.tokens[0, : samples.lengths[0]], places, torch.tensor(numbers))
        seen = _seen(samples.tokens[:, places], torch.tensor(numbers))
        if len(places) != 2 or bool(seen.all()):
            return Evidence(notes="these prompts are no sums of two numbers, or all of them are trained")
        try:
            found = progress(toolbox, tokens, seen, numbers, tuple(places.tolist())).arrays
        except (AccessError, BudgetExceededError) as refused:
            return Evidence(notes=str(refused))
        beyond, uniform = found["beyond"].flatten(), float(found["uniform"])
        memory = {
            "excluded.beyond_reach": reach(beyond),
            "excluded.beyond_lead": lead(beyond),
            "excluded.beyond_spread": spread(beyond),
            "excluded.alike": _swapped(found["beyond"]),
        }
        trained, other, restricted, excluded = (max(float(loss), _LEAST) for loss in found["loss"])
        whole = memory | {
            "excluded.trained": math.log(trained / uniform),
            "excluded.other": math.log(other / uniform),
            "excluded.restricted": math.log(restricted / uniform),
            "excluded.loss": math.log(excluded / uniform),
        }
        mlps = [Component("mlp", layer) for layer, has_mlp in enumerate(brief.config.mlp) if has_mlp]
        return Evidence(dict.fromkeys(mlps, memory), whole, f"{int(found['key'].sum())} key frequencies")


def _all_pairs(prompt: Tensor, places: Tensor, numbers: Tensor) -> Tensor:
    """The prompt with every pair of numbers, `[pair, pos]`, in the order of a p + b."""
    tokens = prompt.repeat(len(numbers) ** 2, 1)
    tokens[:, places[:2]] = torch.cartesian_prod(numbers, numbers)[:, : len(places)]
    return tokens


def _seen(pairs: Tensor, numbers: Tensor) -> Tensor:
    """Which pairs of numbers are among those, `[pair]`."""
    value = torch.full((int(numbers.max()) + 1,), 0).scatter_(0, numbers, torch.arange(len(numbers)))
    seen = torch.zeros(len(numbers) ** 2, dtype=torch.bool)
    seen[value[pairs[:, 0]] * len(numbers) + value[pairs[:, -1]]] = True
    return seen


def _swapped(beyond: Tensor) -> float:
    """How far the pair with the largest excess lies beyond the bulk in the other order, as a logarithm."""
    a, b = divmod(int(beyond.argmax()), len(beyond))
    middle, usual = beyond.median(), beyond.quantile(0.95)
    return bounded_log(max(float(beyond[b, a] - middle), 0.0), float(usual - middle))
