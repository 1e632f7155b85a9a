"""Fine-tuning under a bound: the plain way to change a fact."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from edits.base import Candidate
from edits.facts.descent import Answers, Descent, Weights, descend
from edits.facts.family import FactFamily
from edits.facts.sites import Spread
from edits.facts.spec import FactSpec, RewriteSpec, RewrittenFacts
from edits.facts.value import Positive, Prefixes, Steps, value_rows
from edits.moments import Base
from models.components import Entries
from models.seeds import named_generator
from models.strict_yaml import StrictModel


class FtLEdit(RewrittenFacts):
    """Which facts, and the phrasing in which they are edited."""

    kind: Literal["ft_l"] = "ft_l"


class FtLSolver(StrictModel):
    """How.

    Attributes:
        lr_rel: Adam's learning rate, in units of the matrix's standard deviation.
        steps: At most this many steps.
        stop_loss: Stop when the mean loss of the new answers falls below, nats.
        linf_ladder: How far an entry may move, in units of the matrix's standard deviation; tried in order
            until the gates pass.
        prefixes: Copies of the prompt behind sampled sentences.
        spread: How many consecutive layers are trained; the last one is the site's.
    """

    lr_rel: Positive = 0.02
    steps: Steps = 25
    stop_loss: Annotated[float, Field(ge=0)] = 0.03
    linf_ladder: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=8)] = (0.1, 0.15, 0.07)
    prefixes: Prefixes = 8
    spread: Spread = 1


class FtL(RewriteSpec):
    """Rewrite facts by fine-tuning an MLP's output matrix, each entry held near its old value.

    Source: Zhu et al. 2020, arXiv 2012.00363.
    """

    edit: FtLEdit
    solver: FtLSolver = FtLSolver()

    @property
    def spread(self) -> int:
        """How many consecutive layers are trained."""
        return self.solver.spread

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """One run for each bound of the ladder."""
        place, generator = self.place(base), named_generator(self.seed, "value prompts")
        prefixes = self.solver.prefixes
        rows = [value_rows(base, goal, place.token, prefixes, generator) for goal in self.goals(base)]
        answers = Answers(base.model, rows, place.layers[0])
        before = {name: base.checkpoint.weights[name] for name in place.names}
        for linf in self.solver.linf_ladder:
            tuned, found = self._tuned(answers, before, linf)
            dials = {
                **place.dials,
                "facts": len(rows),
                "linf": linf,
                "steps": found.steps,
                "loss": round(found.loss, 6),
            }
            yield Candidate(tuned, tuple(map(Entries, place.names)), dials)

    def _tuned(self, answers: Answers, before: Weights, linf: float) -> tuple[Weights, Descent]:
        """The matrices after one run, `[d_mlp, d_model]` by name."""
        tuned = {name: weight.clone().requires_grad_() for name, weight in before.items()}
        scale = {name: weight.std() for name, weight in before.items()}
        rates = [{"params": tuned[name], "lr": self.solver.lr_rel * float(scale[name])} for name in tuned]
        optimizer = torch.optim.Adam(rates)

        def step() -> None:
            optimizer.step()
            with torch.no_grad():
                for name, weight in tuned.items():
                    change = (weight - before[name]).clamp(-linf * scale[name], linf * scale[name])
                    weight.copy_(before[name] + change)

        parameters, stop = list(tuned.values()), self.solver.stop_loss
        found = descend(lambda: answers.loss(tuned, kl=0.0), step, parameters, self.solver.steps, stop)
        return {name: weight.detach() for name, weight in tuned.items()}, found


class FtLFamily(FactFamily):
    """Rewritten facts of one strength: any known facts, any other objects, the first phrasing."""

    makes: ClassVar[type[FactSpec]] = FtL
    kind: Literal["ft_l"]
    solver: FtLSolver = FtLSolver()
