"""Where a fact is written: which layers' MLPs, at which token."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from edits.facts.tracing import Token
from models.transformer import TransformerConfig

Spread = Annotated[int, Field(ge=1, le=16)]
TokenOrAuto = Literal["subject_last", "last", "auto"]


@dataclass(frozen=True)
class Place:
    """A token, and the layers that are written to, in order; values are solved at the last of them."""

    token: Token
    layers: tuple[int, ...]

    @property
    def layer(self) -> int:
        """The layer at which values are solved."""
        return self.layers[-1]

    @property
    def names(self) -> tuple[str, ...]:
        """The output matrices of these layers."""
        return tuple(f"blocks.{layer}.mlp.W_out" for layer in self.layers)

    @property
    def dials(self) -> dict[str, float | str]:
        """The site, for the record."""
        return {"layer": self.layer, "token": self.token}


def layers_for(config: TransformerConfig, spread: int) -> list[int]:
    """The layers at which an edit over `spread` consecutive MLPs can end."""
    return [
        layer
        for layer in range(spread - 1, config.n_layers)
        if all(config.mlp[_first(layer, spread) : layer + 1])
    ]


def spread_to(layer: int, spread: int) -> tuple[int, ...]:
    """That many consecutive layers, the last of which is `layer`."""
    return tuple(range(_first(layer, spread), layer + 1))


def _first(layer: int, spread: int) -> int:
    return layer - spread + 1
