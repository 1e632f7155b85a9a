"""Components: the units of location, and the total map from parameter entries to them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from torch import Tensor

from models.naming import quoted, unknown
from models.transformer import TransformerConfig

_PARTS = ("embed", "pos_embed", "ln1", "attn", "attn.bias", "ln2", "mlp", "ln_final", "unembed")
_ENTRIES = re.compile(r"([A-Za-z0-9_.]+)(?:\[(\d+)\])?")
_PATTERN = re.compile(r"blocks\.(\d+)\.(ln1|ln2|mlp|attn\.bias|attn)(?:\.(\d+))?")


@dataclass(frozen=True)
class Component:
    """One unit of location: an embedding, a norm, one attention head, a layer's b_O, an MLP, the unembedding.

    Attributes:
        part: `embed`, `pos_embed`, `ln1`, `attn` (one head), `attn.bias` (b_O), `ln2`, `mlp`, `ln_final`
            or `unembed`.
        layer: The layer, or None outside the layers.
        head: The head, for `attn` only.
    """

    part: str
    layer: int | None = None
    head: int | None = None

    def __post_init__(self) -> None:
        in_block = self.part in _PARTS[2:7]
        if self.part not in _PARTS:
            raise ValueError(unknown("component part", self.part, _PARTS))
        if in_block != (self.layer is not None) or (self.part == "attn") != (self.head is not None):
            raise ValueError(
                f"component {self}: a layer and a head belong to heads, a layer to parts of a block"
            )

    def __str__(self) -> str:
        if self.layer is None:
            return self.part
        head = "" if self.head is None else f".{self.head}"
        return f"blocks.{self.layer}.{self.part}{head}"

    def __lt__(self, other: "Component") -> bool:
        return self._order < other._order

    @cached_property
    def _order(self) -> tuple[int, int, int]:
        """Order of the forward pass; the last norm and the unembedding come after every layer."""
        outside = {"embed": -2, "pos_embed": -1, "ln_final": 10**6, "unembed": 10**6}
        layer = outside[self.part] if self.layer is None else self.layer
        return layer, _PARTS.index(self.part), -1 if self.head is None else self.head

    @classmethod
    def parse(cls, text: str) -> Self:
        """The component of that name, such as `blocks.2.attn.1`.

        Raises:
            ValueError: The text names no component.
        """
        match = _PATTERN.fullmatch(text)
        if match:
            layer, part, head = match.groups()
            if (part == "attn") == (head is not None):
                return cls(part, int(layer), None if head is None else int(head))
        elif text in ("embed", "pos_embed", "ln_final", "unembed"):
            return cls(text)
        raise ValueError(
            f'component "{text}" is not one of embed, pos_embed, blocks.L.ln1, blocks.L.attn.H, '
            "blocks.L.attn.bias, blocks.L.ln2, blocks.L.mlp, ln_final, unembed"
        )


@dataclass(frozen=True)
class Entries:
    """Part of a tensor: all of it, or one head's slice on the first axis, as in `blocks.2.attn.W_O[1]`."""

    tensor: str
    head: int | None = None

    def __str__(self) -> str:
        return self.tensor if self.head is None else f"{self.tensor}[{self.head}]"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The entries of that name.

        Raises:
            ValueError: The text is no such name.
        """
        match = _ENTRIES.fullmatch(text)
        if match is None:
            raise ValueError(f"{quoted(text)} names no weight; wanted such as blocks.2.attn.W_O[1]")
        tensor, head = match.groups()
        return cls(tensor, None if head is None else int(head))

    def of(self, weights: Mapping[str, Tensor]) -> Tensor:
        """These entries of a model's weights, a view."""
        weight = weights[self.tensor]
        return weight if self.head is None else weight[self.head]


def component_entries(config: TransformerConfig) -> dict[Component, tuple[Entries, ...]]:
    """Each component's parameter entries, in order; every entry of every weight is in exactly one."""
    owned: dict[Component, list[Entries]] = {}
    for tensor in config.weight_shapes():
        for head, component in _owners(tensor, config.n_heads):
            owned.setdefault(component, []).append(Entries(tensor, head))
    return {component: tuple(owned[component]) for component in sorted(owned)}


def component_of(tensor: str, head: int | None = None) -> Component:
    """The component that a tensor, or one head's slice of it, belongs to."""
    module, _, name = tensor.rpartition(".")
    if not module.startswith("blocks."):
        return Component(module)
    _, layer, part = module.split(".")
    if part != "attn":
        return Component(part, int(layer))
    return Component("attn.bias", int(layer)) if name == "b_O" else Component("attn", int(layer), head)


def _owners(tensor: str, n_heads: int) -> list[tuple[int | None, Component]]:
    if ".attn." in tensor and not tensor.endswith("b_O"):
        return [(head, component_of(tensor, head)) for head in range(n_heads)]
    return [(None, component_of(tensor))]
