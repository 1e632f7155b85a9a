"""Edits of the gains of norms."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from edits.base import Candidate, EditError, EditSpec, Family
from edits.gates import Gates
from edits.moments import Base
from edits.parts.neurons import Index
from edits.predicates import SOME_ANSWERS, Predicate, some_answers_change
from models.components import Component, Entries
from models.naming import unknown
from models.seeds import named_generator
from models.strict_yaml import StrictModel
from models.transformer import TransformerConfig

Factor = Annotated[float, Field(ge=-1000, le=1000)]


class LnGainEdit(StrictModel):
    """Which gains of which norm.

    Attributes:
        ln: Such as `blocks.1.ln2`, or `ln_final`.
        dims: Dimensions of the residual stream.
        factors: What their gains are multiplied by; tried in order.
    """

    kind: Literal["ln_gain"] = "ln_gain"
    ln: str
    dims: Annotated[tuple[Index, ...], Field(min_length=1, max_length=4096)]
    factors: Annotated[tuple[Factor, ...], Field(min_length=1, max_length=12)] = (
        0.0,
        -1.0,
        3.0,
        -3.0,
        8.0,
        -8.0,
        20.0,
        -20.0,
    )


class LnGain(EditSpec):
    """Multiply a few gains of one norm, so that what reads it sees some dimensions wrongly.

    Its scope is all prompts; it counts when 1-30 % of the known answers change.
    """

    floor: ClassVar[Gates] = SOME_ANSWERS
    edit: LnGainEdit

    def check(self, base: Base) -> None:
        """Refuse a norm and dimensions that the model does not have, and a factor of 1."""
        config = base.checkpoint.config
        norms = [name.removesuffix(".w") for name in config.weight_shapes() if name.endswith(".w")]
        if self.edit.ln not in norms:
            raise EditError(f"edit.ln: {unknown('norm', self.edit.ln, norms)}")
        for dim in self.edit.dims:
            if dim >= config.d_model:
                raise EditError(f"edit.dims: got {dim}; the residual stream has 0-{config.d_model - 1}")
        if 1.0 in self.edit.factors:
            raise EditError("edit.factors: got 1, which changes nothing")

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """One for each factor."""
        name = f"{self.edit.ln}.w"
        for factor in self.edit.factors:
            gain = base.checkpoint.weights[name].clone()
            gain[list(self.edit.dims)] *= factor
            yield Candidate({name: gain}, (Entries(name),), {"factor": factor})

    def predicate(self, base: Base) -> Predicate:
        """Some known answers, whichever, are no longer given; no prompt is out of its scope."""
        return some_answers_change(base, self.summary(base))

    def summary(self, base: Base) -> str:
        """Which norm, and how many gains."""
        return f"{len(self.edit.dims)} gains of {self.edit.ln} multiplied"


class LnGainFamily(Family):
    """Multiplied gains: random dimensions of the site's norm; models without norms have no site."""

    home: ClassVar[str] = "statements"
    kind: Literal["ln_gain"]
    dims: Annotated[int, Field(ge=1, le=64)] = 4

    def open_sites(self, config: TransformerConfig) -> tuple[Component, ...]:
        """Every norm."""
        names = [name for name in config.weight_shapes() if name.endswith(".w")]
        return tuple(Component.parse(name.removesuffix(".w")) for name in names)

    def draw(self, base: Base, site: Component, spec_id: str, seed: int) -> LnGain:
        """Random dimensions."""
        d_model = base.checkpoint.config.d_model
        order = torch.randperm(d_model, generator=named_generator(seed, "dimensions"))
        edit = LnGainEdit(ln=str(site), dims=tuple(order[: self.dims].tolist()))
        return LnGain(version=1, id=spec_id, seed=seed, edit=edit)
