"""Low-rank adapters trained on a fact and merged into the weights."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from edits.base import Candidate
from edits.facts.descent import Answers, Descent, Weights, descend
from edits.facts.family import FactFamily
from edits.facts.sites import Place, Spread
from edits.facts.spec import FactSpec, RewriteSpec, RewrittenFacts
from edits.facts.value import KlLadder, Positive, Prefixes, Steps, value_rows
from edits.moments import Base
from models.components import Entries
from models.seeds import named_generator
from models.strict_yaml import StrictModel


class LoraEdit(RewrittenFacts):
    """Which facts, and the phrasing in which they are edited."""

    kind: Literal["lora"] = "lora"


class LoraSolver(StrictModel):
    """How.

    Attributes:
        matrices: Which of the MLP's matrices get an adapter.
        rank: The adapter's rank.
        alpha: Weight of the adapter, divided by its rank; its product is in units of the matrix's standard
            deviation.
        lr: Adam's learning rate for the two factors, which start at unit size and at zero.
        steps: At most this many steps.
        stop_loss: Stop when the loss falls below, nats.
        prefixes: Copies of the prompt behind sampled sentences.
        kl_ladder: Weights of the KL term, tried in order until the gates pass.
        spread: How many consecutive layers are adapted; the last one is the site's.
    """

    matrices: Annotated[tuple[Literal["W_in", "W_out"], ...], Field(min_length=1, max_length=2)] = ("W_out",)
    rank: Annotated[int, Field(ge=1, le=64)] = 2
    alpha: Positive = 1.0
    lr: Positive = 0.02
    steps: Steps = 70
    stop_loss: Annotated[float, Field(ge=0)] = 0.05
    prefixes: Prefixes = 8
    kl_ladder: KlLadder = (1.0, 4.0)
    spread: Spread = 1


class Lora(RewriteSpec):
    """Rewrite facts by training low-rank adapters of an MLP's matrices, merged into them.

    Source: Hu et al. 2021, arXiv 2106.09685, merged, with the loss of arXiv 2202.05262, equation 4.
    """

    edit: LoraEdit
    solver: LoraSolver = LoraSolver()

    @property
    def spread(self) -> int:
        """How many consecutive layers are adapted."""
        return self.solver.spread

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """One run for each KL weight of the ladder."""
        place, generator = self.place(base), named_generator(self.seed, "value prompts")
        prefixes = self.solver.prefixes
        rows = [value_rows(base, goal, place.token, prefixes, generator) for goal in self.goals(base)]
        answers = Answers(base.model, rows, place.layers[0])
        before = {name: base.checkpoint.weights[name] for name in self._adapted(place)}
        for kl in self.solver.kl_ladder:
            merged, found = self._trained(answers, before, kl)
            dials = {
                **place.dials,
                "facts": len(rows),
                "kl": kl,
                "steps": found.steps,
                "loss": round(found.loss, 6),
            }
            yield Candidate(merged, tuple(map(Entries, before)), dials)

    def _adapted(self, place: Place) -> list[str]:
        matrices = sorted(set(self.solver.matrices))
        return [f"blocks.{layer}.mlp.{matrix}" for layer in place.layers for matrix in matrices]

    def _trained(self, answers: Answers, before: Weights, kl: float) -> tuple[Weights, Descent]:
        """The matrices with their adapters merged, by name."""
        generator = named_generator(self.seed, "adapters")
        reads, writes = {}, {}
        for name, weight in before.items():
            reads[name] = torch.randn(len(weight), self.solver.rank, generator=generator).requires_grad_()
            writes[name] = torch.zeros(self.solver.rank, weight.shape[1]).requires_grad_()
        scale = {name: self.solver.alpha / self.solver.rank * weight.std() for name, weight in before.items()}

        def merged() -> dict[str, Tensor]:
            return {n: weight + scale[n] * reads[n] @ writes[n] for n, weight in before.items()}

        parameters = [*reads.values(), *writes.values()]
        optimizer = torch.optim.Adam(parameters, lr=self.solver.lr)
        steps, stop = self.solver.steps, self.solver.stop_loss
        found = descend(lambda: answers.loss(merged(), kl), optimizer.step, parameters, steps, stop)
        return {name: weight.detach() for name, weight in merged().items()}, found


class LoraFamily(FactFamily):
    """Rewritten facts of one strength: any known facts, any other objects, the first phrasing."""

    makes: ClassVar[type[FactSpec]] = Lora
    kind: Literal["lora"]
    solver: LoraSolver = LoraSolver()
