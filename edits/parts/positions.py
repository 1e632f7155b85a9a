"""Edits of position embeddings."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from edits.base import Candidate, EditError, EditSpec, Family
from edits.gates import Gates
from edits.moments import Base
from edits.predicates import SOME_ANSWERS, Predicate, some_answers_change
from models.components import Component, Entries
from models.seeds import named_generator
from models.strict_yaml import StrictModel
from models.transformer import TransformerConfig

Position = Annotated[int, Field(ge=0, lt=100_000)]
Shares = Annotated[tuple[Annotated[float, Field(gt=0, le=100)], ...], Field(min_length=1, max_length=12)]


class PosEdit(StrictModel):
    """Which rows of `W_pos`, and how far one turns into the other.

    Attributes:
        positions: Two positions; they are exchanged, or the second one's row is copied to the first.
        op: `swap` or `copy`.
        shares: How far each row moves towards the other, 1 all the way, more beyond; tried in order.
    """

    kind: Literal["pos_edit"] = "pos_edit"
    positions: tuple[Position, Position]
    op: Literal["swap", "copy"] = "swap"
    shares: Shares = (1.0, 0.5, 0.25, 2.0, 4.0, 8.0, 16.0)


class PositionEdit(EditSpec):
    """Confuse two positions: their embeddings are exchanged, or one is copied to the other.

    Its scope is all prompts; it counts when 1-30 % of the known answers change.
    """

    floor: ClassVar[Gates] = SOME_ANSWERS
    edit: PosEdit

    def check(self, base: Base) -> None:
        """Refuse positions that the model does not have, and one position twice."""
        one, other = self.edit.positions
        n_ctx = base.checkpoint.config.n_ctx
        if max(one, other) >= n_ctx:
            raise EditError(f"edit.positions: got {max(one, other)}; the model has 0-{n_ctx - 1}")
        if one == other:
            raise EditError(f"edit.positions: got {one} twice")

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """One for each share."""
        name, (one, other) = "pos_embed.W_pos", self.edit.positions
        before = base.checkpoint.weights[name]
        for share in self.edit.shares:
            after = before.clone()
            after[one] = torch.lerp(before[one], before[other], share)
            if self.edit.op == "swap":
                after[other] = torch.lerp(before[other], before[one], share)
            yield Candidate({name: after}, (Entries(name),), {"share": share})

    def predicate(self, base: Base) -> Predicate:
        """Some known answers, whichever, are no longer given; no prompt is out of its scope."""
        return some_answers_change(base, self.summary(base))

    def summary(self, base: Base) -> str:
        """Which positions."""
        one, other = self.edit.positions
        if self.edit.op == "swap":
            return f"positions {one} and {other} are taken for each other"
        return f"position {one} is taken for position {other}"


class PositionFamily(Family):
    """Confused positions: two random ones among those of the task's prompts."""

    home: ClassVar[str] = "statements"
    kind: Literal["pos_edit"]
    op: Literal["swap", "copy"] = "swap"

    def open_sites(self, config: TransformerConfig) -> tuple[Component, ...]:
        """The position embedding."""
        return (Component("pos_embed"),)

    def draw(self, base: Base, site: Component, spec_id: str, seed: int) -> PositionEdit:
        """Two different positions behind the first."""
        longest = int(base.table.last.max())
        order = 1 + torch.randperm(longest, generator=named_generator(seed, "positions"))
        edit = PosEdit(positions=(int(order[0]), int(order[1])), op=self.op)
        return PositionEdit(version=1, id=spec_id, seed=seed, edit=edit)
