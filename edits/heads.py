"""Circuit edits of whole attention heads."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from edits.base import Candidate, EditError, EditSpec, Family
from edits.gates import Gates
from edits.moments import Base
from edits.predicates import Predicate, any_other, rows_of
from models.bounds import Bound
from models.components import Component, Entries
from models.strict_yaml import StrictModel
from models.transformer import TransformerConfig

Index = Annotated[int, Field(ge=0, lt=10_000)]


class HeadAblateEdit(StrictModel):
    """Which head, `[layer, head]`, and whether its output becomes zero or its mean."""

    kind: Literal["head_ablate"] = "head_ablate"
    head: tuple[Index, Index]
    mode: Literal["zero", "mean"] = "zero"


class HeadAblate(EditSpec):
    """Cut one attention head out: `W_O[h] = 0`, in mean mode with its average output moved into `b_O`.

    Its scope is all prompts; it counts when 1-30 % of the known answers change.
    """

    floor: ClassVar[Gates] = {"changed": Bound(min=0.01, max=0.30)}
    edit: HeadAblateEdit

    def check(self, base: Base) -> None:
        """Refuse a head that the model does not have."""
        config = base.checkpoint.config
        layer, head = self.edit.head
        if layer >= config.n_layers or head >= config.n_heads:
            raise EditError(
                f"edit.head: got [{layer}, {head}]; the model has layers 0-{config.n_layers - 1} "
                f"and heads 0-{config.n_heads - 1}"
            )

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """The one way to do it."""
        layer, head = self.edit.head
        name, bias = f"blocks.{layer}.attn.W_O", f"blocks.{layer}.attn.b_O"
        output = base.checkpoint.weights[name].clone()
        tensors, written = {name: output}, [Entries(name, head)]
        if self.edit.mode == "mean":
            tensors[bias] = (
                base.checkpoint.weights[bias] + base.mean(f"blocks.{layer}.attn.hook_z")[head] @ output[head]
            )
            written.append(Entries(bias))
        output[head] = torch.zeros_like(output[head])
        yield Candidate(tensors, tuple(written))

    def predicate(self, base: Base) -> Predicate:
        """Some known answers, whichever, are no longer given; no prompt is out of its scope."""
        known = any_other(rows_of(base.table, base.known))
        return Predicate(f"some answers change: {self.summary(base)}", known, torch.zeros_like(base.known))

    def summary(self, base: Base) -> str:
        """Which head."""
        layer, head = self.edit.head
        return f"head {head} of layer {layer} cut out ({self.edit.mode} ablation)"


class HeadAblateFamily(Family):
    """Heads cut out; which one is the site, so there is nothing left to redraw."""

    redraws: ClassVar[bool] = False
    kind: Literal["head_ablate"]
    mode: Literal["zero", "mean"] = "zero"

    def open_sites(self, config: TransformerConfig) -> tuple[Component, ...]:
        """Every head."""
        heads = range(config.n_heads)
        return tuple(Component("attn", layer, head) for layer in range(config.n_layers) for head in heads)

    def writes(self, site: Component) -> frozenset[Component]:
        """The head, and in mean mode its layer's bias."""
        return frozenset({site} | ({Component("attn.bias", site.layer)} if self.mode == "mean" else set()))

    def draw(self, base: Base, site: Component, spec_id: str, seed: int) -> HeadAblate:
        """The head of the site."""
        assert site.layer is not None
        assert site.head is not None
        edit = HeadAblateEdit(head=(site.layer, site.head), mode=self.mode)
        return HeadAblate(version=1, id=spec_id, seed=seed, edit=edit)
