"""The edit lab: one specification applied to one base, with everything that is known of it afterwards."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from edits.apply import apply
from edits.base import Edited, EditSpec, Family
from edits.kinds import families
from edits.moments import Base
from edits.truth import changed_entries, relative_norms
from models.components import Component, component_entries
from models.recipe import Recipe, named_recipe
from models.training import Progress
from models.zoo import trained


@dataclass(frozen=True)
class Change:
    """How one matrix changed, in the delivered file's coordinates.

    Attributes:
        tensor: Such as `blocks.0.mlp.W_out`.
        delta: After minus before, float64.
        sigma_before, sigma_after, sigma_delta: Singular values, descending.
    """

    tensor: str
    delta: Tensor
    sigma_before: Tensor
    sigma_after: Tensor
    sigma_delta: Tensor


@dataclass(frozen=True)
class Preview:
    """An edit or control on its base: before, what was asked for, what came out."""

    base: Base
    spec: EditSpec
    edited: Edited

    @property
    def summary(self) -> str:
        """What was done, to whom."""
        return self.spec.summary(self.base)

    def relative_changes(self) -> dict[Component, float]:
        """Norm of each component's change, in units of its norm, camouflage included."""
        before, after = self.edited.reference.weights, self.edited.checkpoint.weights
        changes = {}
        for component, owned in component_entries(self.base.checkpoint.config).items():
            old = torch.cat([entries.of(before).flatten() for entries in owned]).double()
            new = torch.cat([entries.of(after).flatten() for entries in owned]).double()
            changes[component] = float((new - old).norm() / old.norm().clamp_min(1e-12))
        return changes

    def loudest(self) -> Change | None:
        """The matrix that changed most in units of its norm, camouflage included; None if none changed."""
        before, after = self.edited.reference, self.edited.checkpoint
        norms = relative_norms(before, after, changed_entries(before, after))
        entries = max(norms, key=lambda each: norms[each], default=None)
        if entries is None:
            return None
        old, new = entries.of(before.weights).double(), entries.of(after.weights).double()
        return Change(str(entries), new - old, *map(torch.linalg.svdvals, (old, new, new - old)))


def preview(
    spec: EditSpec, recipe: Recipe, world: int, on_step: Callable[[Progress], None] = lambda _progress: None
) -> Preview:
    """The specification on a recipe's model of that world and training seed.

    Raises:
        EditError: It cannot be carried out there.
    """
    base = Base(trained(recipe, world, world, on_step=on_step))
    return Preview(base, spec, apply(base, spec))


def usual_recipe(spec: EditSpec) -> Recipe:
    """Where a kind is tried if no recipe is named: its family's home, for controls `facts-small`."""
    return named_recipe(families().get(spec.kind(), Family).home)
