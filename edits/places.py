"""Matrices by name, as controls take them, and refusals of those that a base does not have."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from edits.base import Edited, EditError
from models.components import Entries
from models.naming import unknown
from models.strict_yaml import StrictModel
from models.transformer import TransformerConfig


class Place(StrictModel):
    """One matrix, and how loud its change is.

    Attributes:
        tensor: A matrix, or one head's, such as `blocks.0.mlp.W_out` or `blocks.2.attn.W_O[1]`.
        rel_norm: Norm of the change, in units of the matrix's norm.
    """

    tensor: Annotated[str, Field(pattern=r"^[a-z_]+\.([A-Za-z0-9_.]*\.)?W_[A-Za-z]+(\[\d+\])?$")]
    rel_norm: Annotated[float, Field(gt=0, le=1e4)]

    @property
    def entries(self) -> Entries:
        """The matrix."""
        return Entries.parse(self.tensor)


def _each_once(places: tuple[Place, ...]) -> tuple[Place, ...]:
    names = [place.tensor for place in places]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} is named twice")
    return places


Places = Annotated[tuple[Place, ...], Field(min_length=1, max_length=64), AfterValidator(_each_once)]


def places_of(edit: Edited, allowed: Sequence[str]) -> tuple[dict[str, Any], ...]:
    """The matrices of those tensors that an edit wrote to, as loud as there, as data of `Places`."""
    return tuple(
        {"tensor": str(entries), "rel_norm": rel_norm}
        for entries, rel_norm in edit.rel_norms.items()
        if entries.tensor in allowed
    )


def check_places(places: Sequence[Place], allowed: Sequence[str], config: TransformerConfig) -> None:
    """Refuse places that a model does not have.

    Raises:
        EditError: With the first of them.
    """
    for number, place in enumerate(places):
        check_entries(place.tensor, allowed, config, where=f"edit.at.{number}.tensor")


def check_entries(
    name: str, allowed: Sequence[str], config: TransformerConfig, where: str = "edit.tensor"
) -> None:
    """Refuse a name that is not among the allowed tensors or has no such head.

    Args:
        name: Such as `blocks.2.attn.W_O[1]`.
        allowed: Tensors, without heads.
        config: The model's.
        where: Path of the name in the specification.

    Raises:
        EditError: With what is allowed.
    """
    entries = Entries.parse(name)
    if entries.tensor not in allowed:
        raise EditError(f"{where}: {unknown('tensor', entries.tensor, allowed)}")
    has_heads = len(config.weight_shapes()[entries.tensor]) == 3
    if has_heads and entries.head is None:
        raise EditError(f"{where}: {name} has heads; wanted one of them, such as {name}[0]")
    if entries.head is not None and not has_heads:
        raise EditError(f"{where}: {entries.tensor} has no heads")
    if entries.head is not None and entries.head >= config.n_heads:
        raise EditError(f"{where}: no head {entries.head}; heads 0-{config.n_heads - 1}")
