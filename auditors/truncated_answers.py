"""Counts how many answers change, and how few remain, when each MLP loses its loudest directions."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from game.api import AccessError, Brief, BudgetExceededError, Component, Report, Samples, Toolbox
from game.auditing.belief import Fit
from game.auditing.evidence import Evidence
from game.auditing.peers import excesses, siblings_of
from game.tools.spike import mlp_layers
from game.tools.truncation_shift import estimate, truncation_shift

LEAST = 50  # prompts below which shares of them say little
DROPS = (1, 2, 4)
Numbers = Mapping[str, float]


@dataclass(frozen=True)
class TruncatedAnswers:
    """Share of answers that change, and of different ones that remain, without top directions; needs weights.

    The loudest direction of a matrix that was edited serves the edit and little else, so that without it
    nearly all other answers stay; the loudest of a trained matrix serves more. An edit that spared no other
    key, or a change of many facts, shows the other way round: more answers change. So the logarithms of the
    shares are read with their sign, without 1, 2 and 4 directions, beside those of the other layers, or,
    where siblings are granted, of the same layer in theirs.

    Blind to edits of anything but `W_out`; to edits that are not among the loudest directions; to which of
    two layers differs by nature: the first MLP of a clean model changes more answers than the second.

    Source: Youssef, Zhao, Seifert, Schlötterer 2025, "Tracing and Reversing Rank-One Model Edits", arXiv
    2505.20819 (predictions under truncation).

    Attributes:
        prompts: Most corpus prompts; a credit each, and three for each MLP.
        spending: Largest share of the credits to spend.
    """

    yardstick: ClassVar[bool] = False
    prompts: int = 250
    spending: float = 0.75

    def read(self, toolbox: Toolbox, brief: Brief) -> Evidence:
        """Logarithms of the shares for each MLP and number of directions, and how far they exceed peers'."""
        if brief.corpus != "prompts" or not mlp_layers(brief.config):
            return Evidence(notes="nothing to ask, or no MLP")
        try:
            boxes = [toolbox, *siblings_of(toolbox)]
            count = self._affordable(toolbox, len(boxes))
            if count < LEAST:
                return Evidence(notes="too few credits to look")
            own, *others = (_shifts(box, toolbox.sample(count)) for box in boxes)
        except (AccessError, BudgetExceededError) as refused:
            return Evidence(notes=str(refused))
        numbers = {layer: {**each, **_beyond(layer, own, others)} for layer, each in own.items()}
        notes = (f"layer {l}: ln changed {each['truncated_answers.changed1']:.2f}" for l, each in own.items())
        return Evidence({Component("mlp", l): each for l, each in numbers.items()}, notes="; ".join(notes))

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        return Fit.beside(__file__).believed(brief, self.read(toolbox, brief))

    def _affordable(self, toolbox: Toolbox, models: int) -> int:
        """Prompts that all models can be asked."""
        one = toolbox.sample(1)
        return int(
            min(
                self.prompts,
                self.spending
                * toolbox.budget.remaining
                / models
                / estimate(toolbox.config, one, drops=DROPS),
            )
        )


def _shifts(box: Toolbox, samples: Samples) -> dict[int, dict[str, float]]:
    """By layer, logarithms of the shares of answers that change and of different ones that remain."""
    arrays, half = truncation_shift(box, samples, drops=DROPS).arrays, 0.5 / len(samples.tokens)
    return {
        layer: {
            f"truncated_answers.{name}{drop}": math.log(float(arrays[name][row, column]) + half)
            for name in ("changed", "distinct")
            for column, drop in enumerate(DROPS)
        }
        for row, layer in enumerate(mlp_layers(box.config))
    }


def _beyond(layer: int, own: Mapping[int, Numbers], others: list[dict[int, dict[str, float]]]) -> Numbers:
    """How far each number exceeds the siblings' mean for that layer, or the other layers'."""
    found = {}
    for name, value in own[layer].items():
        if others:
            found[f"{name}_beyond"] = value - sum(each[layer][name] for each in others) / len(others)
        else:
            found[f"{name}_beyond"] = excesses({l: each[name] for l, each in own.items()})[layer]
    return found
