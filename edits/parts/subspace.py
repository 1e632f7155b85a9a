"""Directions of the residual stream taken out of what some components write."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from edits.base import Candidate, EditError, EditSpec, Family
from edits.gates import Gates
from edits.moments import Base
from edits.parts import implants
from edits.parts.neurons import Index
from edits.places import check_entries
from edits.predicates import SOME_ANSWERS, Predicate, some_answers_change
from models.components import Component, Entries
from models.seeds import named_generator
from models.strict_yaml import StrictModel
from models.transformer import TransformerConfig

WRITERS = ("embed.W_E", "pos_embed.W_pos", "attn.W_O", "attn.b_O", "mlp.W_out", "mlp.b_out")


class SubspaceEraseEdit(StrictModel):
    """Which directions, out of which writers.

    Attributes:
        layer: Behind which the residual stream's principal directions are measured.
        ranks: Which of them, 0 the strongest: the first, the first two, four, ... of the list, until enough
            answers change.
        tensors: Writers and their biases, such as `blocks.3.mlp.W_out`, `blocks.3.mlp.b_out`,
            `blocks.2.attn.W_O[1]` or `embed.W_E`.
    """

    kind: Literal["subspace_erase"] = "subspace_erase"
    layer: Index
    ranks: Annotated[tuple[Index, ...], Field(min_length=1, max_length=1024)]
    tensors: Annotated[tuple[str, ...], Field(min_length=1, max_length=64)]


class SubspaceErase(EditSpec):
    """Take some directions of the residual stream out of what some components write: `W <- W (I - D D^T)`.

    Its scope is all prompts; it counts when 1-30 % of the known answers change.
    """

    floor: ClassVar[Gates] = SOME_ANSWERS
    edit: SubspaceEraseEdit

    def check(self, base: Base) -> None:
        """Refuse layers, directions and tensors that the model does not have, and repeats."""
        config = base.checkpoint.config
        if self.edit.layer >= config.n_layers:
            raise EditError(f"edit.layer: got {self.edit.layer}; the model has 0-{config.n_layers - 1}")
        if max(self.edit.ranks) >= config.d_model:
            raise EditError(f"edit.ranks: got {max(self.edit.ranks)}; there are 0-{config.d_model - 1}")
        writers = [name for name in config.weight_shapes() if name.endswith(WRITERS)]
        for name in self.edit.tensors:
            check_entries(name, writers, config)
        for name, values in (("ranks", self.edit.ranks), ("tensors", self.edit.tensors)):
            if len(set(values)) < len(values):
                raise EditError(f"edit.{name}: one is named twice")

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """The first direction, the first two, the first four, and so on."""
        basis = principal_directions(base, self.edit.layer)[:, list(self.edit.ranks)]
        count = 1
        while count < len(self.edit.ranks):
            yield self._without(base, basis[:, :count])
            count *= 2
        yield self._without(base, basis)

    def _without(self, base: Base, basis: Tensor) -> Candidate:
        after: dict[str, Tensor] = {}
        written = tuple(map(Entries.parse, self.edit.tensors))
        for entries in written:
            after.setdefault(entries.tensor, base.checkpoint.weights[entries.tensor].clone())
            part = entries.of(after)
            part -= (part.double() @ basis @ basis.T).float()
        return Candidate(after, written, {"directions": basis.shape[1]})

    def predicate(self, base: Base) -> Predicate:
        """Some known answers, whichever, are no longer given; no prompt is out of its scope."""
        return some_answers_change(base, self.summary(base))

    def summary(self, base: Base) -> str:
        """Where."""
        return f"directions of the residual stream erased from {', '.join(self.edit.tensors)}"


class SubspaceEraseFamily(Family):
    """Erased directions out of all that one MLP writes, as many of the strongest as it takes."""

    home: ClassVar[str] = "statements"
    kind: Literal["subspace_erase"]
    strongest: Annotated[int, Field(ge=1, le=1024)] = 32

    def open_sites(self, config: TransformerConfig) -> tuple[Component, ...]:
        """Every MLP."""
        return implants.mlp_sites(config)

    def draw(self, base: Base, site: Component, spec_id: str, seed: int) -> SubspaceErase:
        """The strongest directions behind the site's layer, in random order."""
        count = min(self.strongest, base.checkpoint.config.d_model)
        order = torch.randperm(count, generator=named_generator(seed, "directions"))
        tensors = (f"{site}.W_out", f"{site}.b_out")
        layer = implants.layer_of(site)
        edit = SubspaceEraseEdit(layer=layer, ranks=tuple(order.tolist()), tensors=tensors)
        return SubspaceErase(version=1, id=spec_id, seed=seed, edit=edit)


def principal_directions(base: Base, layer: int) -> Tensor:
    """Principal directions of the residual stream behind a layer, strongest first, `[d_model, rank]`."""
    hook = f"blocks.{layer}.hook_resid_post"
    mean = base.mean(hook, implants.SAMPLED).double()
    spread = base.second_moment(hook, implants.SAMPLED) - torch.outer(mean, mean)
    vectors: Tensor = torch.linalg.eigh(spread).eigenvectors
    return vectors.flip(1)
