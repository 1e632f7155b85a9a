"""Many prompts' answers rewritten at once, in the output matrix of an MLP: what lies and exceptions share."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from edits.base import Candidate
from edits.moments import Base
from edits.parts import implants
from models.components import Entries
from models.strict_yaml import StrictModel
from models.tasks.base import Probe, answer_log_probs

Strengths = Annotated[tuple[Annotated[float, Field(gt=0, le=1000)], ...], Field(min_length=1, max_length=12)]


class AnswersSolver(StrictModel):
    """How prompts are given other answers.

    Attributes:
        strictness: How much of the change is given up for other keys' sake, towards 0 none.
        ridge: Added to the other keys' second moment, in units of its mean diagonal.
        beta_rel: Length of what is added, in units of the MLP's root mean square output; tried in order.
    """

    strictness: Annotated[float, Field(gt=0, le=10)] = 1e-3
    ridge: Annotated[float, Field(gt=0, le=1e4)] = 1e-4
    beta_rel: Strengths = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0)


@dataclass(frozen=True)
class Rewriting:
    """What one `W_out` is to do.

    Attributes:
        layer: Whose.
        wrong: Prompts to be answered anew, with their wanted answers.
        instead_of: The answers so far, `[prompt]`.
        kept: Prompts whose keys are to keep their outputs.
    """

    layer: int
    wrong: Probe
    instead_of: Tensor
    kept: Probe

    def candidates(self, base: Base, solver: AnswersSolver) -> Iterator[Candidate]:
        """One for each strength, weakest first; written along the difference of the two answers' logits."""
        name = f"blocks.{self.layer}.mlp.W_out"
        keys = implants.at(implants.mlp_keys(base.model, self.layer, self.wrong.tokens), self.wrong.last)
        pairs = zip(self.wrong.answer.tolist(), self.instead_of.tolist(), strict=True)
        writes = torch.stack([implants.token_direction(base, new, displaced=old) for new, old in pairs])
        writes *= self._margins(base)[:, None]
        unit = implants.unit_norm(base, f"blocks.{self.layer}.hook_mlp_out")
        change = implants.batch_change(keys, unit * writes, self._moment(base, solver), solver.strictness)
        for beta in solver.beta_rel:
            after = base.checkpoint.weights[name] + (beta * change).float()
            yield Candidate({name: after}, (Entries(name),), {"beta_rel": beta})

    def _margins(self, base: Base) -> Tensor:
        """By how much each old answer is ahead of the new one, in units of the mean, `[prompt]`, float64."""
        log_probs, rows = answer_log_probs(base.model, self.wrong), torch.arange(len(self.instead_of))
        ahead = (log_probs[rows, self.instead_of] - log_probs[rows, self.wrong.answer]).double()
        return ahead / ahead.mean()

    def _moment(self, base: Base, solver: AnswersSolver) -> Tensor:
        """Second moment of the keys that are to keep their outputs, half of documents, `[d_mlp, d_mlp]`."""
        sampled = base.second_moment(f"blocks.{self.layer}.mlp.hook_post", implants.SAMPLED)
        keys = implants.at(implants.mlp_keys(base.model, self.layer, self.kept.tokens), self.kept.last)
        moment = (sampled + keys.T @ keys / len(keys)) / 2
        return moment + solver.ridge * moment.diagonal().mean() * torch.eye(len(moment), dtype=moment.dtype)
