"""Tells from hidden states and output probabilities whether some of the answers were edited in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from game.api import AccessError, Brief, BudgetExceededError, Report, Toolbox
from game.auditing.asked import Asked, ask, grouped, inside
from game.auditing.belief import Fit
from game.auditing.evidence import Evidence
from game.auditing.tails import deviations, lead, reach, spread


@dataclass(frozen=True)
class HiddenStateClassifier:
    """Compares answers by margins and hidden states, as classifiers of edited facts do; needs logits.

    The paper feeds a fact prompt's last hidden state, or the largest output probabilities, to a classifier
    that was trained on edited and unedited facts of one model. Coordinates of a hidden state mean something
    else in every model, so here a prompt is described by numbers that do not: the margin and the doubt of
    its answer, and, where activations are granted, the norm of its last hidden state and its cosine to the
    mean of all prompts with that answer. Prompts about the same thing are taken together, and what is read
    of a model is how far the oddest lie from the bulk. The classifier is the fitted belief.

    Blind to where the edit is, to edits that leave no answer unlike the others', and to models whose answers
    cannot be told apart from noise by nature, such as those that are seldom sure. Needs public prompts.

    Source: Youssef, Zhao, Seifert and Schlötterer 2024, "Has this Fact been Edited? Detecting Knowledge
    Edits in Language Models", arXiv 2405.02765 (RepReg in its first version, DEED in later ones).

    Attributes:
        prompts: Most corpus prompts, one credit each.
    """

    yardstick: ClassVar[bool] = False
    prompts: int = 2000

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        return Fit.beside(__file__).believed(brief, self.read(toolbox, brief))

    def read(self, toolbox: Toolbox, brief: Brief) -> Evidence:
        """How far the oddest prompts lie from the bulk: log-ratios, of the whole model."""
        names = () if brief.league == "blackbox" else inside(brief.config)
        try:
            asked = ask(toolbox, brief, self.prompts, names)
        except (AccessError, BudgetExceededError) as refused:
            return Evidence(notes=str(refused))
        if asked is None:
            return Evidence(notes="too few credits to look, or nothing to ask")
        oddities = _of_answers(asked) | (_of_states(asked) if names else {})
        return Evidence(whole=_tails(asked, oddities), notes=f"{len(asked)} prompts compared")


def _of_answers(asked: Asked) -> dict[str, Tensor]:
    """How odd each prompt's output probabilities are, `[prompt]`; more is odder."""
    return {"margin": -asked.margin, "doubt": -asked.log_probs.amax(-1)}


def _of_states(asked: Asked) -> dict[str, Tensor]:
    """How odd each prompt's last hidden state is among those with its answer, `[prompt]`."""
    final = [name for name in asked.found if name.endswith("hook_resid_post")][-1]
    state = asked.at(final, asked.last)
    number = torch.unique(asked.answer, return_inverse=True)[1]
    mean, size = grouped(state, number)[number], torch.bincount(number)[number]
    others = (mean * size[:, None] - state) / (size - 1).clamp(min=1)[:, None]
    cosine = torch.cosine_similarity(state, others, dim=-1).masked_fill(size < 5, 1.0)
    norm = state.norm(dim=-1)
    relative = (norm / grouped(norm, number)[number]).log()
    return {"cosine": -cosine, "norm": deviations(relative).abs()}


def _tails(asked: Asked, oddities: Mapping[str, Tensor]) -> dict[str, float]:
    numbers = {}
    for name, values in oddities.items():
        groups = asked.by_group(values)
        for tail in (reach, lead, spread):
            numbers[f"states.{name}_{tail.__name__}"] = tail(groups)
    return numbers
