"""The control that is the base in other coordinates."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import AfterValidator, Field

from edits.base import Candidate, Control, EditError
from edits.camouflage.base import CamouflageError, Exact, Pass, rewritten
from edits.camouflage.folder import AnyPass, exact_passes, passes
from edits.controls.other_weights import check_camouflage, replaced
from edits.gates import Gates
from edits.moments import Base
from models.bounds import Bound
from models.seeds import named_generator, named_seed
from models.strict_yaml import StrictModel
from models.transformer import TransformerConfig


def _exact(chosen: tuple[AnyPass, ...]) -> tuple[AnyPass, ...]:
    for each in chosen:
        if not each.exact:
            exact = ", ".join(kind for kind, each in passes().items() if issubclass(each, Exact))
            raise ValueError(f"{each.kind} is approximate; allowed: {exact}")
    return chosen


class GaugeOnlyEdit(StrictModel):
    """Which rewritings.

    Attributes:
        passes: Exact camouflage passes in order; `drawn` is a random choice of those that suit the model.
    """

    kind: Literal["gauge_only"] = "gauge_only"
    passes: (
        Literal["drawn"]
        | Annotated[tuple[AnyPass, ...], Field(min_length=1, max_length=32), AfterValidator(_exact)]
    ) = "drawn"


class GaugeOnly(Control):
    """Exact camouflage without an edit: many weights move, no answer does."""

    replaces: ClassVar[bool] = True
    floor: ClassVar[Gates] = {"kl": Bound(max=1e-3), "agree": Bound(min=0.998)}
    edit: GaugeOnlyEdit

    def check(self, base: Base) -> None:
        """Refuse passes that the model does not suit, and camouflage of a change that is none."""
        check_camouflage(self)
        for each in self.edit.passes if self.edit.passes != "drawn" else ():
            try:
                each.check(base.checkpoint.config)
            except CamouflageError as error:
                raise EditError(f"edit.passes: {error}") from error

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """The base, rewritten."""
        config, seed = base.checkpoint.config, named_seed(self.seed, "gauge only")
        chosen = self._chosen(config)
        weights = rewritten(base.checkpoint.weights, config, chosen, seed)
        yield replaced(base, weights, {"passes": ", ".join(each.kind for each in chosen)})

    def _chosen(self, config: TransformerConfig) -> tuple[Pass, ...]:
        if self.edit.passes != "drawn":
            return self.edit.passes
        fitting = exact_passes(config)
        generator = named_generator(self.seed, "passes")
        order = torch.randperm(len(fitting), generator=generator).tolist()
        count = 1 + int(torch.randint(len(fitting), (), generator=generator))
        return tuple(fitting[index] for index in order[:count])

    def summary(self, base: Base) -> str:
        """What was rewritten."""
        kinds = ", ".join(each.kind for each in self._chosen(base.checkpoint.config))
        return f"the same function in other coordinates ({kinds})"
