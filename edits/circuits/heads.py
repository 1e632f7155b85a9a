"""Circuit edits of whole attention heads: cut out, turned up or around, exchanged."""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import AfterValidator, Field, model_validator
from torch import Tensor

from edits.base import Candidate, EditError, EditSpec, Family
from edits.gates import Gates
from edits.moments import Base
from edits.predicates import SOME_ANSWERS, Predicate, some_answers_change
from models.components import Component, Entries
from models.strict_yaml import StrictModel
from models.transformer import TransformerConfig

Index = Annotated[int, Field(ge=0, lt=10_000)]
Head = tuple[Index, Index]  # layer, head
Heads = Annotated[tuple[Head, ...], Field(min_length=1, max_length=64)]
PARTS: dict[str, tuple[str, ...]] = {"qk": ("W_Q", "b_Q", "W_K", "b_K"), "ov": ("W_V", "b_V", "W_O")}


class HeadAblateEdit(StrictModel):
    """Which head, `[layer, head]`, and whether its output becomes zero or its mean."""

    kind: Literal["head_ablate"] = "head_ablate"
    head: Head
    mode: Literal["zero", "mean"] = "zero"


class HeadAblate(EditSpec):
    """Cut one attention head out: `W_O[h] = 0`, in mean mode with its average output moved into `b_O`.

    Its scope is all prompts; it counts when 1-30 % of the known answers change.
    """

    floor: ClassVar[Gates] = SOME_ANSWERS
    edit: HeadAblateEdit

    def check(self, base: Base) -> None:
        """Refuse a head that the model does not have."""
        require_head(base, "edit.head", self.edit.head)

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
        """Some known answers, whichever, are no longer given."""
        return some_answers_change(base, self.summary(base))

    def summary(self, base: Base) -> str:
        """Which head."""
        layer, head = self.edit.head
        return f"head {head} of layer {layer} cut out ({self.edit.mode} ablation)"


class HeadAblateFamily(Family):
    """Heads cut out; which one is the site, so there is nothing left to redraw."""

    redraws: ClassVar[bool] = False
    dials: ClassVar[Mapping[str, str] | None] = {"mode": "edit.mode"}
    kind: Literal["head_ablate"]
    mode: Literal["zero", "mean"] = "zero"

    def open_sites(self, config: TransformerConfig) -> tuple[Component, ...]:
        """Every head."""
        return head_sites(config)

    def writes(self, site: Component) -> frozenset[Component]:
        """The head, and in mean mode its layer's bias."""
        return frozenset({site} | ({Component("attn.bias", site.layer)} if self.mode == "mean" else set()))

    def draw(self, base: Base, site: Component, spec_id: str, seed: int) -> HeadAblate:
        """The head of the site."""
        edit = HeadAblateEdit(head=head_of(site), mode=self.mode)
        return HeadAblate(version=1, id=spec_id, seed=seed, edit=edit)


def _changes_something(factor: float) -> float:
    if factor in (0.0, 1.0):
        raise ValueError(f"got {factor}, but {'nothing would change' if factor else 'head_ablate does that'}")
    return factor


Factor = Annotated[float, Field(ge=-100, le=100), AfterValidator(_changes_something)]


class HeadScaleEdit(StrictModel):
    """Which head, `[layer, head]`, and the factor of its output."""

    kind: Literal["head_scale"] = "head_scale"
    head: Head
    alpha: Factor = -1.0


class HeadScale(EditSpec):
    """Turn one attention head up, down or around: `W_O[h] *= alpha`; below 0 it writes the opposite.

    Its scope is all prompts; it counts when 1-30 % of the known answers change.
    """

    floor: ClassVar[Gates] = SOME_ANSWERS
    edit: HeadScaleEdit

    def check(self, base: Base) -> None:
        """Refuse a head that the model does not have."""
        require_head(base, "edit.head", self.edit.head)

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """The one way to do it."""
        layer, head = self.edit.head
        name = f"blocks.{layer}.attn.W_O"
        output = base.checkpoint.weights[name].clone()
        output[head] *= self.edit.alpha
        yield Candidate({name: output}, (Entries(name, head),))

    def predicate(self, base: Base) -> Predicate:
        """Some known answers, whichever, are no longer given."""
        return some_answers_change(base, self.summary(base))

    def summary(self, base: Base) -> str:
        """Which head, and the factor."""
        layer, head = self.edit.head
        return f"output of head {head} of layer {layer} times {self.edit.alpha:g}"


class HeadScaleFamily(Family):
    """Heads of one factor; which one is the site, so there is nothing left to redraw."""

    redraws: ClassVar[bool] = False
    dials: ClassVar[Mapping[str, str] | None] = {"alpha": "edit.alpha"}
    kind: Literal["head_scale"]
    alpha: Factor = -1.0

    def open_sites(self, config: TransformerConfig) -> tuple[Component, ...]:
        """Every head."""
        return head_sites(config)

    def draw(self, base: Base, site: Component, spec_id: str, seed: int) -> HeadScale:
        """The head of the site."""
        edit = HeadScaleEdit(head=head_of(site), alpha=self.alpha)
        return HeadScale(version=1, id=spec_id, seed=seed, edit=edit)


class HeadSwapEdit(StrictModel):
    """Two heads, `[layer, head]` each, and what they exchange.

    Attributes:
        a: One head.
        b: The other, of the same layer or another.
        part: `qk`, where they look; `ov`, what they write; or `both`, which within a layer is a symmetry.
    """

    kind: Literal["head_swap"] = "head_swap"
    a: Head
    b: Head
    part: Literal["qk", "ov", "both"] = "qk"

    @model_validator(mode="after")
    def _no_symmetry(self) -> Self:
        if self.a == self.b:
            raise ValueError(f"b: got {list(self.b)}, which is a; wanted another head")
        if self.part == "both" and self.a[0] == self.b[0]:
            raise ValueError(
                "part: exchanging both of two heads of one layer changes no answer; allowed: qk, ov"
            )
        return self


class HeadSwap(EditSpec):
    """Exchange where two attention heads look (`qk`), or what they write (`ov`).

    Within a layer both come to the same function, with the heads' names exchanged. Its scope is all prompts;
    it counts when 1-30 % of the known answers change.
    """

    floor: ClassVar[Gates] = SOME_ANSWERS
    edit: HeadSwapEdit

    def check(self, base: Base) -> None:
        """Refuse heads that the model does not have."""
        require_head(base, "edit.a", self.edit.a)
        require_head(base, "edit.b", self.edit.b)

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """The one way to do it."""
        tensors: dict[str, Tensor] = {}
        written = []
        for (layer, head), donor in ((self.edit.a, self.edit.b), (self.edit.b, self.edit.a)):
            for name in self._names():
                own, other = f"blocks.{layer}.attn.{name}", f"blocks.{donor[0]}.attn.{name}"
                after = tensors.setdefault(own, base.checkpoint.weights[own].clone())
                after[head] = base.checkpoint.weights[other][donor[1]]
                if not torch.equal(after[head], base.checkpoint.weights[own][head]):
                    written.append(Entries(own, head))
        yield Candidate(tensors, tuple(written))

    def _names(self) -> tuple[str, ...]:
        return (*PARTS["qk"], *PARTS["ov"]) if self.edit.part == "both" else PARTS[self.edit.part]

    def predicate(self, base: Base) -> Predicate:
        """Some known answers, whichever, are no longer given."""
        return some_answers_change(base, self.summary(base))

    def summary(self, base: Base) -> str:
        """Which heads, and what they exchange."""
        (layer, head), (other_layer, other), part = self.edit.a, self.edit.b, self.edit.part
        what = {"qk": "where they look", "ov": "what they write", "both": "all weights"}[part]
        return f"head {head} of layer {layer} and head {other} of layer {other_layer} exchange {what}"


class HeadSwapFamily(Family):
    """Heads that exchange a part with one partner each, which the site tells; nothing is left to redraw.

    Attributes:
        part: What they exchange.
        up: How many layers above the site its partner is, at the same place; within a layer heads 0 and 1,
            2 and 3, and so on are partners, and the even one is the site.
    """

    redraws: ClassVar[bool] = False
    kind: Literal["head_swap"]
    part: Literal["qk", "ov", "both"] = "qk"
    up: Annotated[int, Field(ge=0, le=100)] = 0

    @model_validator(mode="after")
    def _no_symmetry(self) -> Self:
        if self.part == "both" and self.up == 0:
            raise ValueError(
                "part: exchanging both within a layer changes no answer; allowed: qk, ov, or up: 1"
            )
        return self

    def open_sites(self, config: TransformerConfig) -> tuple[Component, ...]:
        """Every head with a partner; within a layer, the even ones."""
        sites = [site for site in head_sites(config) if self.up or head_of(site)[1] % 2 == 0]
        heads = set(head_sites(config))
        return tuple(site for site in sites if self._partner(site) in heads)

    def writes(self, site: Component) -> frozenset[Component]:
        """The head and its partner."""
        return frozenset({site, self._partner(site)})

    def _partner(self, site: Component) -> Component:
        layer, head = head_of(site)
        return Component("attn", layer + self.up, head if self.up else head ^ 1)

    def draw(self, base: Base, site: Component, spec_id: str, seed: int) -> HeadSwap:
        """The head of the site with its partner."""
        edit = HeadSwapEdit(a=head_of(site), b=head_of(self._partner(site)), part=self.part)
        return HeadSwap(version=1, id=spec_id, seed=seed, edit=edit)


def head_sites(config: TransformerConfig, first_layer: int = 0) -> tuple[Component, ...]:
    """Every head, from a layer on."""
    layers, heads = range(first_layer, config.n_layers), range(config.n_heads)
    return tuple(Component("attn", layer, head) for layer in layers for head in heads)


def head_of(site: Component) -> Head:
    """(layer, head) of a site that is one."""
    assert site.layer is not None
    assert site.head is not None
    return site.layer, site.head


def heads_from(site: Component, count: int) -> tuple[Head, ...]:
    """So many heads of a layer, from the site's on."""
    layer, head = head_of(site)
    return tuple((layer, head + offset) for offset in range(count))


def sites_of_several(config: TransformerConfig, count: int, first_layer: int = 0) -> tuple[Component, ...]:
    """The heads, from a layer on, from which a layer still has so many; `heads_from` at each."""
    return tuple(
        site for site in head_sites(config, first_layer) if head_of(site)[1] + count <= config.n_heads
    )


def require_heads(base: Base, path: str, heads: tuple[Head, ...]) -> None:
    """Refuse heads that the model does not have, that repeat, or that are of different layers.

    Raises:
        EditError: With what was got.
    """
    for index, place in enumerate(heads):
        require_head(base, f"{path}.{index}", place)
    if len(set(heads)) < len(heads) or len({layer for layer, _ in heads}) > 1:
        raise EditError(
            f"{path}: got {[list(place) for place in heads]}; wanted different heads of one layer"
        )


def named(heads: tuple[Head, ...]) -> str:
    """Heads of one layer for people, such as `heads 0, 2 of layer 1`."""
    numbers = ", ".join(str(head) for _, head in heads)
    return f"head{'s' if len(heads) > 1 else ''} {numbers} of layer {heads[0][0]}"


def require_head(base: Base, path: str, place: Head) -> None:
    """Refuse a head that the model does not have.

    Args:
        base: The model.
        path: Where the specification names it, such as `edit.head`.
        place: (layer, head).

    Raises:
        EditError: There is no such head.
    """
    config, (layer, head) = base.checkpoint.config, place
    if layer >= config.n_layers or head >= config.n_heads:
        raise EditError(
            f"{path}: got [{layer}, {head}]; the model has layers 0-{config.n_layers - 1} "
            f"and heads 0-{config.n_heads - 1}"
        )
