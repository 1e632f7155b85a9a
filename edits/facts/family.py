"""What suites deal of every kind of fact edit."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field

from edits.base import EditSpec, Family
from edits.facts.sites import TokenOrAuto, layers_for, spread_to
from edits.facts.spec import FactSpec
from edits.moments import Base
from models.components import Component
from models.strict_yaml import StrictModel
from models.transformer import TransformerConfig

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # loud to quiet, in units of C's mean diagonal


class FactFamily(Family):
    """Edited facts of one strength: any known facts of different subjects, any other objects.

    Attributes:
        makes: The kind's spec.
        token: The site's token.
        facts: How many facts one edit changes.
        solver: How, the kind's own.
    """

    tasks: ClassVar[tuple[str, ...] | None] = ("facts",)
    makes: ClassVar[type[FactSpec]]
    token: TokenOrAuto = "auto"
    facts: Annotated[int, Field(ge=1, le=128)] = 1
    solver: StrictModel

    @property
    def spread(self) -> int:
        """How many consecutive layers an edit is split over."""
        return int(getattr(self.solver, "spread", 1))

    def dialled(self) -> Mapping[str, Self]:
        """The same edits at ridges from loud to quiet, for kinds that have one."""
        if "cov" not in vars(self.solver):
            return {}
        return {f"ridge {ridge:g}": self._at(ridge) for ridge in RIDGES}

    def _at(self, ridge: float) -> Self:
        covariance = vars(self.solver)["cov"].model_copy(update={"ridge": ridge})
        solver = self.solver.model_copy(update={"cov": covariance})
        return self.model_copy(update={"solver": solver})

    @classmethod
    def like(cls, spec: EditSpec) -> Self:
        """The family of edits of a specification's strength, with site, facts and objects left open."""
        fields = {name: vars(spec)[name] for name in ("solver",) if name in vars(spec)}
        edit, site = vars(spec)["edit"], vars(spec)["site"]
        return cls.model_validate(
            {"kind": spec.kind(), "facts": len(edit.facts), "token": site.token, **fields}
        )

    def open_sites(self, config: TransformerConfig) -> tuple[Component, ...]:
        """Every MLP at which an edit of this spread can end."""
        return tuple(Component("mlp", layer) for layer in layers_for(config, self.spread))

    def writes(self, site: Component) -> frozenset[Component]:
        """The site and the MLPs before it that the edit is spread over."""
        assert site.layer is not None
        return frozenset(Component("mlp", layer) for layer in spread_to(site.layer, self.spread))

    def draw(self, base: Base, site: Component, spec_id: str, seed: int) -> FactSpec:
        """Random known facts, each towards a random other object."""
        facts = self.makes.random_facts(base, self.facts, seed)
        values: dict[str, Any] = {
            "version": 1,
            "id": spec_id,
            "seed": seed,
            "edit": {"facts": facts},
            "site": {"tensor": f"{site}.W_out", "token": self.token},
            "solver": self.solver,
        }
        return self.makes.model_validate(values)
