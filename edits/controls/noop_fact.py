"""A control: the whole machinery of a fact edit, run towards what is true already."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from edits.base import Candidate, Control, Edited, EditError
from edits.facts.memory import Covariance
from edits.facts.rome import Rrome, RromeEdit, Solver
from edits.facts.sites import Spread
from edits.facts.spec import (
    FactTarget,
    Phrasing,
    Site,
    Targets,
    asked_for,
    check_facts,
    check_site,
    random_targets,
)
from edits.facts.value import Value
from edits.gates import Gates
from edits.moments import Base
from models.bounds import Bound
from models.seeds import named_generator
from models.strict_yaml import StrictModel

_OF_MLP = re.compile(r"blocks\.(\d+)\.mlp\.\w+")
ALL_STEPS = Value(stop_loss=0.0, kl_ladder=(1.0,))  # the loss is low from the start
RIDGES = (1e-2, 1e-4)  # the lower one reads what no other key uses: the same norm does less
DRAWS = 6  # facts that are tried where none is given


class NoopFactEdit(StrictModel):
    """Which facts, and how loud.

    Attributes:
        facts: Known facts with their own true objects; left out, `count` of them are drawn from the seed.
        count: How many are drawn.
        phrasing: The phrasing in which they are written once more.
        site: The last layer and the token that are written to.
        spread: How many consecutive layers are written to.
        rel_norm: Size of the loudest change, in units of its matrix's; left out, as the solver finds it.
    """

    kind: Literal["noop_fact"] = "noop_fact"
    facts: Targets | None = None
    count: Annotated[int, Field(ge=1, le=64)] = 1
    phrasing: Phrasing = 0
    site: Site = Site()
    spread: Spread = 1
    rel_norm: Annotated[float, Field(gt=0, le=100)] | None = None


class NoopFact(Control):
    """A full rank-one fact edit towards the object that is true: written, and nothing changes."""

    floor: ClassVar[Gates] = {"changed": Bound(max=0.0), "agree": Bound(min=0.998)}
    edit: NoopFactEdit

    @classmethod
    def matching(cls, edit: Edited) -> dict[str, Any]:
        """The same layers and token, as many facts, the same relative norm; an edit of MLPs only."""
        found = [_OF_MLP.fullmatch(str(each)) for each in edit.at]
        layers = sorted({int(match[1]) for match in found if match})
        dials, loudest = edit.record.dials, edit.loudest
        if not layers or not all(found) or loudest is None or "token" not in dials:
            raise EditError(f"noop_fact: {edit.record.kind} is no edit of facts in MLPs")
        return {
            "site": {"tensor": f"blocks.{layers[-1]}.mlp.W_out", "token": dials["token"]},
            "spread": len(layers),
            "count": int(dials["facts"]),
            "rel_norm": edit.record.measured["rel_norm"],
        }

    def check(self, base: Base) -> None:
        """Refuse facts that the base does not know, objects that are not true, a site that does not exist."""
        check_facts(base, self.edit.facts or ())
        for place, target in enumerate(self.edit.facts or ()):
            true = base.facts.fact(target.subject, target.relation).object
            if target.object_new != true:
                where = f"edit.facts.{place}.object_new"
                raise EditError(f"{where}: got {target.object_new}; noop_fact wants the true one, {true}")
        check_site(base, self.edit.site.tensor, self.edit.spread)

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """What the rank-one editor proposes for each fact in question, at the loudness that is asked for."""
        for facts in self._choices(base):
            for ridge in RIDGES:
                for found in self._rewriting(facts, ridge).candidates(base):
                    yield self._as_loud(
                        base, replace(found, dials={**found.dials, "of": _names(base, facts)})
                    )

    def _choices(self, base: Base) -> Iterator[tuple[FactTarget, ...]]:
        """The facts with their true objects: those that are given, or a few draws."""
        if self.edit.facts is not None:
            yield self.edit.facts
            return
        for attempt in range(DRAWS):
            drawn = random_targets(base, self.edit.count, named_generator(self.seed, "target", attempt))
            true = [base.facts.fact(target.subject, target.relation) for target in drawn]
            yield tuple(FactTarget(subject=f.subject, relation=f.relation, object_new=f.object) for f in true)

    def _rewriting(self, facts: tuple[FactTarget, ...], ridge: float) -> Rrome:
        """The same facts as an edit, which only a check would refuse."""
        edit = RromeEdit(facts=facts, phrasing=self.edit.phrasing)
        solver = Solver(cov=Covariance(ridge=ridge), value=ALL_STEPS, spread=self.edit.spread)
        return Rrome(version=1, id=self.id, seed=self.seed, edit=edit, site=self.edit.site, solver=solver)

    def _as_loud(self, base: Base, found: Candidate) -> Candidate:
        """The same change, scaled."""
        if self.edit.rel_norm is None:
            return found
        before = {name: base.checkpoint.weights[name].double() for name in found.tensors}
        change = {name: tensor.double() - before[name] for name, tensor in found.tensors.items()}
        loudest = max(float(change[name].norm() / before[name].norm()) for name in change)
        factor = self.edit.rel_norm / loudest
        scaled = {name: (before[name] + factor * change[name]).float() for name in change}
        return replace(found, tensors=scaled, dials={**found.dials, "factor": round(factor, 6)})

    def summary(self, base: Base) -> str:
        """Of whom, where that is given."""
        facts = self.edit.facts
        who = f"known facts, {self.edit.count}" if facts is None else _names(base, facts)
        return f"written once more as it is: {who}"


def _names(base: Base, facts: Sequence[FactTarget]) -> str:
    """Whose facts, for people."""
    task = base.facts
    return "; ".join(asked_for(task, task.fact(fact.subject, fact.relation)) for fact in facts)
