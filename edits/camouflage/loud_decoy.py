"""Something loud and inert beside a quiet edit."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from edits.camouflage.base import Approximate, CamouflageError, Solved, Weights
from edits.inert import inert_change
from models.components import Entries


class LoudDecoy(Approximate):
    """Approximate: a random rank-one change of another MLP's `W_out`, loud in its weights and inert.

    The edit stays the only thing that was written; a control that stands in for it has the decoy alone.

    Attributes:
        rel_norm: Norm of the decoy, in units of the matrix's norm.
        tail_mass: Share of the neurons' energy that the decoy's read direction may see.
        away_from: Where the decoy must not be; `written` is wherever the edit wrote. A control gets the names
            from the edit that it stands in for.
    """

    kind: Literal["loud_decoy"] = "loud_decoy"
    rel_norm: Annotated[float, Field(gt=0, le=10)] = 0.6
    tail_mass: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    away_from: Literal["written"] | tuple[str, ...] = "written"

    def blurred(self, solved: Solved, generator: torch.Generator) -> Weights:
        """One `W_out` with the decoy.

        Raises:
            CamouflageError: Every MLP was written to.
        """
        taken = map(str, solved.written) if self.away_from == "written" else self.away_from
        config = solved.base.checkpoint.config
        places = [f"blocks.{layer}.mlp.W_out" for layer, has_mlp in enumerate(config.mlp) if has_mlp]
        free = sorted(set(places) - set(taken), key=places.index)
        if not free:
            raise CamouflageError("loud_decoy: the edit writes to every MLP, and there is no other")
        name = free[int(torch.randint(len(free), (), generator=generator))]
        change, _ = inert_change(solved.as_it_stands, Entries(name), self.rel_norm, self.tail_mass, generator)
        decoyed: Tensor = solved.weights[name] + change.float()
        return {name: decoyed}

    def at(self, written: Sequence[Entries]) -> Self:
        """The same pass with the places of that edit for `written`."""
        named = tuple(map(str, written)) if self.away_from == "written" else self.away_from
        return self.model_copy(update={"away_from": named})
