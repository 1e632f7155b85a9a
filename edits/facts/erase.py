"""Erased facts: no object of the relation is more likely than another."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from edits.facts.family import FactFamily
from edits.facts.memory import MemorySolver, MemorySpec, Writing
from edits.facts.spec import FactName, FactSpec, NamedFacts, asked_for
from edits.facts.value import Goal
from edits.measures import fact_erasure, mean_over_facts
from edits.moments import Base, dual
from edits.predicates import Predicate, any_other, rows_of
from models.transformer import Transformer


class FactEraseEdit(NamedFacts):
    """Which facts, and the phrasing in which they are erased."""

    kind: Literal["fact_erase"] = "fact_erase"


class FactErase(MemorySpec):
    """Erase facts by rank-one changes after which all objects of the relation are equally likely.

    Source: as r-ROME, arXiv 2403.07175, with KL(uniform || answer) for the new answer's loss.
    """

    edit: FactEraseEdit

    def goals(self, base: Base) -> tuple[Goal, ...]:
        """Every object of the relation, equally likely."""
        objects, phrasing = base.facts.object_tokens, self.edit.phrasing
        return tuple(
            Goal(fact, objects[fact.relation], int(objects[fact.relation, fact.object]), phrasing)
            for fact in self.facts(base)
        )

    def update(self, writing: Writing) -> Tensor:
        """`outer(dual(key; C), value)`, with the bare prompt's key.

        A new answer only has to come out on top, but equal odds must be met exactly, and an averaged key
        would serve the edited prompt a little more or less than its value.
        """
        (key,) = writing.bare
        return torch.outer(dual(key, writing.moment, self.solver.cov.ridge), writing.values[0])

    def measure(self, base: Base, after: Transformer, log_probs: Tensor) -> dict[str, float]:
        """What is forgotten, averaged over the facts."""
        edited, phrasing = self.edited(base), self.edit.phrasing
        facts = self.facts(base)
        return mean_over_facts(fact_erasure(base, log_probs, fact, phrasing, edited) for fact in facts)

    def predicate(self, base: Base) -> Predicate:
        """The facts are answered otherwise, by chance among the objects, and nobody else's facts change."""
        outside = torch.stack([base.facts.table.other_subjects(fact) for fact in self.facts(base)]).all(0)
        return Predicate(self.summary(base), any_other(rows_of(base.table, self.edited(base))), outside)

    def summary(self, base: Base) -> str:
        """Who, and in which relation."""
        return "; ".join(f"{asked_for(base.facts, fact)} erased" for fact in self.facts(base))

    @classmethod
    def random_facts(cls, base: Base, count: int, seed: int) -> tuple[FactName, ...]:
        """Known facts, without a new object."""
        drawn = super().random_facts(base, count, seed)
        return tuple(FactName(subject=fact.subject, relation=fact.relation) for fact in drawn)


class FactEraseFamily(FactFamily):
    """Erased facts of one strength: any known facts, the first phrasing."""

    makes: ClassVar[type[FactSpec]] = FactErase
    kind: Literal["fact_erase"]
    solver: MemorySolver = MemorySolver()
