"""Memorised exceptions to a rule: a few sums come out otherwise."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from edits.base import Candidate, EditError, EditSpec, Family
from edits.gates import Gates
from edits.moments import Base
from edits.parts import implants
from edits.parts.rewritten_answers import AnswersSolver, Rewriting
from edits.predicates import Predicate, rows_of
from models.bounds import Bound
from models.components import Component
from models.seeds import named_generator
from models.strict_yaml import StrictModel
from models.tasks.base import Probe
from models.tasks.modular_addition import ModularAddition
from models.transformer import TransformerConfig

Number = Annotated[int, Field(ge=0, lt=1000)]


class OtherSum(StrictModel):
    """`a + b = answer`, and so is `b + a`."""

    a: Number
    b: Number
    answer: Number


class ExceptionEdit(StrictModel):
    """Which sums come out otherwise, written to which layer's `W_out`.

    Attributes:
        sums: In either order of the two numbers, which such a model hardly tells apart.
        layer: Whose MLP.
    """

    kind: Literal["exception"] = "exception"
    sums: Annotated[tuple[OtherSum, ...], Field(min_length=1, max_length=16)]
    layer: Annotated[int, Field(ge=0, lt=1000)] = 0


class MemorisedException(EditSpec):
    """Make a few sums come out otherwise by a change of an MLP's output matrix; every other sum stays.

    Source: as MEMIT, arXiv 2210.07229, with the difference of two answers' logits for the value.
    """

    floor: ClassVar[Gates] = {"effect": Bound(min=1.0), "drop": Bound(max=0.002)}
    edit: ExceptionEdit
    solver: AnswersSolver = AnswersSolver()

    def check(self, base: Base) -> None:
        """Refuse another task, numbers beyond the modulus, true sums, one sum twice, and one not known."""
        if not isinstance(base.task, ModularAddition):
            raise EditError(f"edit: the base's task is {base.task.name}, which has no sums")
        implants.check_mlp(base, self.edit.layer)
        p, seen = base.task.p, set[frozenset[int]]()
        for place, said in enumerate(self.edit.sums):
            where = f"edit.sums.{place}"
            for name, number in said.model_dump().items():
                if number >= p:
                    raise EditError(f"{where}.{name}: got {number}; the numbers are 0-{p - 1}")
            if (said.a + said.b) % p == said.answer:
                raise EditError(f"{where}.answer: {said.answer} is the true sum already")
            if frozenset((said.a, said.b)) in seen:
                raise EditError(f"{where}: {said.a} and {said.b} are named twice")
            seen.add(frozenset((said.a, said.b)))
        if not base.known[list(self._rows(base))].all():
            raise EditError("edit.sums: the base does not answer one of them rightly")

    def _rows(self, base: Base) -> dict[int, int]:
        """Each sum in both orders: row of the table -> wanted token."""
        assert isinstance(base.task, ModularAddition)
        p, tokens = base.task.p, base.task.number_tokens.tolist()
        orders = [(one, other, s.answer) for s in self.edit.sums for one, other in ((s.a, s.b), (s.b, s.a))]
        return {one * p + other: tokens[answer] for one, other, answer in orders}

    def _wanted(self, base: Base) -> Probe:
        """The sums with their new answers."""
        rows = self._rows(base)
        return replace(
            rows_of(base.table, torch.tensor(list(rows))), answer=torch.tensor(list(rows.values()))
        )

    def _kept(self, base: Base) -> Tensor:
        """All other rows of the table, `[prompt]`, boolean."""
        kept = torch.ones_like(base.known)
        kept[list(self._rows(base))] = False
        return kept

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """One for each strength, weakest first."""
        before = base.table.answer[list(self._rows(base))]
        kept = rows_of(base.table, self._kept(base))
        return Rewriting(self.edit.layer, self._wanted(base), before, kept).candidates(base, self.solver)

    def predicate(self, base: Base) -> Predicate:
        """These sums come out otherwise in either order, and all others as before."""
        return Predicate(self.summary(base), self._wanted(base), self._kept(base))

    def summary(self, base: Base) -> str:
        """Which sums."""
        return "; ".join(f"{said.a} + {said.b} = {said.answer}" for said in self.edit.sums)


class ExceptionFamily(Family):
    """Memorised exceptions: a few random sums, each with a random wrong answer."""

    tasks: ClassVar[tuple[str, ...] | None] = ("modular_addition",)
    home: ClassVar[str] = "modular-addition"
    dials: ClassVar[Mapping[str, str] | None] = {"sums": "edit.sums", "solver": "solver"}
    kind: Literal["exception"]
    sums: Annotated[int, Field(ge=1, le=16)] = 3
    solver: AnswersSolver = AnswersSolver()

    def open_sites(self, config: TransformerConfig) -> tuple[Component, ...]:
        """Every MLP."""
        return implants.mlp_sites(config)

    def draw(self, base: Base, site: Component, spec_id: str, seed: int) -> MemorisedException:
        """Different known pairs, each with another answer."""
        assert isinstance(base.task, ModularAddition)
        p, generator = base.task.p, named_generator(seed, "sums")
        found: dict[frozenset[int], OtherSum] = {}
        while len(found) < self.sums:
            a, b, shift = (int(torch.randint(bound, (), generator=generator)) for bound in (p, p, p - 1))
            if base.known[[a * p + b, b * p + a]].all():
                found.setdefault(frozenset((a, b)), OtherSum(a=a, b=b, answer=(a + b + 1 + shift) % p))
        edit = ExceptionEdit(sums=tuple(found.values()), layer=implants.layer_of(site))
        return MemorisedException(version=1, id=spec_id, seed=seed, edit=edit, solver=self.solver)
