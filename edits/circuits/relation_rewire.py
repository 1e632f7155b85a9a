"""A circuit edit of the heads that fetch objects: one relation is answered as if another were asked."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from edits.base import Candidate, EditError, EditSpec, Family
from edits.circuits.head_activity import RIDGE
from edits.circuits.heads import Heads, heads_from, named, require_heads, sites_of_several
from edits.gates import Gates
from edits.moments import Base
from edits.predicates import Predicate, rows_of
from models.bounds import Bound
from models.components import Component, Entries
from models.seeds import named_generator
from models.strict_yaml import StrictModel
from models.tasks.base import Probe
from models.tasks.facts import Facts
from models.transformer import TransformerConfig

Id = Annotated[int, Field(ge=0, lt=10_000)]
Weights = Annotated[tuple[Annotated[float, Field(gt=0, le=1000)], ...], Field(min_length=1, max_length=8)]


class RelationRewireEdit(StrictModel):
    """Which relation is taken for which.

    Attributes:
        heads: Heads of one layer, `[layer, head]` each, that together fetch objects.
        asked: The relation whose prompts are answered anew.
        answered: The relation that they are answered as if they asked for.
        protect: Weight of the other relations' prompts, which should stay, against the asked one's; tried in
            order.
    """

    kind: Literal["relation_rewire"] = "relation_rewire"
    heads: Heads
    asked: Id
    answered: Id
    protect: Weights = (30.0, 10.0, 3.0, 1.0)


class RelationRewire(EditSpec):
    """Answer one relation as if another were asked, by rewriting what the fetching heads write.

    `W_O += (Z^T Z + c Z_o^T Z_o)^-1 Z^T T` over the heads together: Z holds their mixed values at the last
    token of the asked relation's prompts, Z_o those of all others, and T how the residual stream behind the
    layer differs when the other relation is asked of the same subject in the same phrasing. Solved on half of
    the subjects, judged on the rest.

    Source: the normal equations of Meng et al. 2023, arXiv 2210.07229, on attention outputs.
    """

    floor: ClassVar[Gates] = {"effect": Bound(min=0.8), "drop": Bound(max=0.02)}
    edit: RelationRewireEdit

    def check(self, base: Base) -> None:
        """Refuse a task without relations, and heads or relations that do not exist."""
        if not isinstance(base.task, Facts):
            raise EditError(f"edit: the base's task is {base.task.name}, which has no relations to rewire")
        count = len(base.facts.relations)
        for name in ("asked", "answered"):
            if getattr(self.edit, name) >= count:
                raise EditError(f"edit.{name}: got {getattr(self.edit, name)}; this world has 0-{count - 1}")
        if self.edit.asked == self.edit.answered:
            raise EditError(
                f"edit.answered: got {self.edit.answered}, which is the asked relation; wanted another"
            )
        require_heads(base, "edit.heads", self.edit.heads)
        if not len(self.predicate(base).affected.tokens):
            raise EditError("edit: the base knows both relations of none of the subjects that are kept aside")

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """One for each weight of the other prompts, the most careful first."""
        layer, heads = self.edit.heads[0][0], [head for _, head in self.edit.heads]
        name = f"blocks.{layer}.attn.W_O"
        asked, others, wanted = self._lessons(base, layer, heads)
        moment, other = asked.T @ asked / len(asked), others.T @ others / len(others)
        eye = torch.eye(len(moment), dtype=moment.dtype)
        for protect in self.edit.protect:
            normal = moment + protect * other + RIDGE * moment.diagonal().mean() * eye
            change = torch.linalg.solve(normal, asked.T @ wanted / len(asked))  # [head * d_head, d_model]
            after = base.checkpoint.weights[name].clone()
            after[heads] = (after[heads].double() + change.view(len(heads), -1, change.shape[1])).float()
            yield Candidate({name: after}, tuple(Entries(name, head) for head in heads), {"protect": protect})

    def _lessons(self, base: Base, layer: int, heads: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Z and Z_o, `[prompt, head * d_head]`, and T, `[prompt, d_model]`, of half the subjects, float64."""
        table, rows = base.facts.table, torch.arange(len(base.table.last))
        stream = "hook_resid_mid" if base.checkpoint.config.mlp[layer] else "hook_resid_post"
        hooks = [f"blocks.{layer}.attn.hook_z", f"blocks.{layer}.{stream}"]
        cache = base.model.run_with_cache(table.tokens, hooks)[1]
        mixed, resid = (cache[hook][rows, table.last].double() for hook in hooks)
        mixed = mixed[:, heads].flatten(1)
        taught = ~self._kept_aside(base)
        asked, answered = (table.relation == r for r in (self.edit.asked, self.edit.answered))
        change = resid[answered & taught] - resid[asked & taught]  # both by subject, then phrasing
        return mixed[asked & taught], mixed[~asked & taught], change

    def _kept_aside(self, base: Base) -> Tensor:
        """The table's prompts about the half of the subjects that nothing is solved on, `[prompt]`."""
        subjects = len(base.facts.subjects)
        order = torch.randperm(subjects, generator=named_generator(self.seed, "subjects kept aside"))
        return (order < subjects // 2)[base.facts.table.subject]

    def predicate(self, base: Base) -> Predicate:
        """Prompts that ask for one relation get the other's object; the other relations stay."""
        table, aside = base.facts.table, self._kept_aside(base)
        asked, answered = (
            ((table.relation == r) & aside).nonzero().flatten() for r in (self.edit.asked, self.edit.answered)
        )
        both = base.known[asked] & base.known[answered]
        prompts = rows_of(table, asked[both])
        wanted = Probe(prompts.tokens, prompts.last, table.answer[answered[both]])
        return Predicate(self.summary(base), wanted, table.relation != self.edit.asked)

    def summary(self, base: Base) -> str:
        """Which relation is taken for which, and where."""
        asked, answered = (base.facts.relations[r].name for r in (self.edit.asked, self.edit.answered))
        return f"asked for {asked}, the model answers {answered} ({named(self.edit.heads)})"


class RelationRewireFamily(Family):
    """Two relations at random, rewired in some heads of a layer.

    Attributes:
        heads: How many heads, from the site's on; all of a layer fetch best.
        protect: As in the edit.
    """

    redraws: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...] | None] = ("facts",)
    kind: Literal["relation_rewire"]
    heads: Annotated[int, Field(ge=1, le=64)] = 2
    protect: Weights = (30.0, 10.0, 3.0, 1.0)

    def open_sites(self, config: TransformerConfig) -> tuple[Component, ...]:
        """The first of so many heads, in the upper half, where objects are fetched if heads do it at all."""
        return sites_of_several(config, self.heads, first_layer=config.n_layers // 2)

    def writes(self, site: Component) -> frozenset[Component]:
        """The heads."""
        return frozenset(Component("attn", layer, head) for layer, head in heads_from(site, self.heads))

    def draw(self, base: Base, site: Component, spec_id: str, seed: int) -> RelationRewire:
        """Two different relations."""
        count = len(base.facts.relations)
        if count < 2:
            raise EditError(f"relation_rewire: {base.trained.name} has one relation; wanted two or more")
        order = torch.randperm(count, generator=named_generator(seed, "relations"))
        asked, answered = order[:2].tolist()
        edit = RelationRewireEdit(
            heads=heads_from(site, self.heads), asked=asked, answered=answered, protect=self.protect
        )
        return RelationRewire(version=1, id=spec_id, seed=seed, edit=edit)
