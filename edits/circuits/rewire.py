"""Circuit edits of what an attention head writes, and of where it looks."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from edits.base import Candidate, EditError, EditSpec, Family
from edits.circuits.head_activity import (
    RIDGE,
    answered_after,
    attention_inputs,
    last_tokens,
    least_energy,
    mean_where,
    require_token,
    sampled,
    words,
)
from edits.circuits.heads import (
    Head,
    Heads,
    head_of,
    head_sites,
    heads_from,
    named,
    require_head,
    require_heads,
    sites_of_several,
)
from edits.gates import Gates
from edits.moments import Base, dual
from edits.predicates import Predicate, rows_of
from edits.reading import second_moment
from models.bounds import Bound
from models.components import Component, Entries
from models.seeds import named_generator
from models.strict_yaml import StrictModel
from models.transformer import TransformerConfig

Id = Annotated[int, Field(ge=0, lt=1_000_000)]
Strengths = Annotated[tuple[Annotated[float, Field(gt=0, le=1000)], ...], Field(min_length=1, max_length=8)]
LOOKS = 0.5  # attention from which a head is said to look at a token
IGNORES = 0.1  # and below which it does not


class Read(StrictModel):
    """What the head's output should be read for; exactly one of the two.

    Attributes:
        token: That the head looks at this token.
        answer: That this token is about to be said.
    """

    token: Id | None = None
    answer: Id | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.token is None) == (self.answer is None):
            raise ValueError("wanted exactly one of token and answer")
        return self


class Written(StrictModel):
    """A token whose direction in the unembedding is written, or taken away."""

    token: Id


class OvRewireEdit(StrictModel):
    """Which head, `[layer, head]`, and which of its outputs turns into what.

    Attributes:
        head: The head.
        read: When it applies.
        write: The token that it then speaks for.
        displace: The token that it then speaks against, if any.
        beta_rel: How loudly, in units of the root mean square of the head's output; tried in order.
    """

    kind: Literal["ov_rewire"] = "ov_rewire"
    head: Head
    read: Read
    write: Written
    displace: Written | None = None
    beta_rel: Strengths = (1.5, 2.0, 3.0, 4.0, 6.0)


class OvRewire(EditSpec):
    """Make one attention head speak for another token where it reads a chosen one.

    `W_O[h] += beta outer(dual(z_a; C_z), d_b)`: z_a is the head's mean value mixture for what is read, C_z
    the second moment of all of them, d_b the unit direction of the written token in the unembedding, the last
    norm's gain folded, less the displaced one's. Where the head looks stays as it was.

    Source: the OV circuit of Elhage et al. 2021, transformer-circuits.pub/2021/framework; written as in Meng
    et al. 2022, arXiv 2202.05262, equation 2.
    """

    floor: ClassVar[Gates] = {"effect": Bound(min=0.8), "drop": Bound(max=0.02)}
    edit: OvRewireEdit

    def check(self, base: Base) -> None:
        """Refuse a head or token that does not exist, and what is read on none of the task's prompts."""
        edit = self.edit
        require_head(base, "edit.head", edit.head)
        for path, token in self._tokens():
            require_token(base, path, token)
        if edit.write.token in (edit.read.answer, edit.displace.token if edit.displace else None):
            raise EditError(f"edit.write.token: {edit.write.token} is what it would take the place of")
        if not len(self.predicate(base).affected.tokens):
            raise EditError(f"edit.read: none of the task's known prompts has it ({self._when(base)})")
        self._held(base)

    def _tokens(self) -> Iterator[tuple[str, int]]:
        edit = self.edit
        named_tokens = {
            "edit.read.token": edit.read.token,
            "edit.read.answer": edit.read.answer,
            "edit.write.token": edit.write.token,
            "edit.displace.token": edit.displace.token if edit.displace else None,
        }
        yield from ((path, token) for path, token in named_tokens.items() if token is not None)

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """One for each strength, the quietest first."""
        layer, head = self.edit.head
        entries = Entries(f"blocks.{layer}.attn.W_O", head)
        matrix = entries.of(base.checkpoint.weights).double()
        moment = second_moment(base, entries)
        norm = (moment @ matrix @ matrix.T).diagonal().sum().sqrt()  # root mean square of the head's output
        change = norm * torch.outer(dual(self._held(base), moment, RIDGE), self._direction(base))
        for beta in self.edit.beta_rel:
            after = base.checkpoint.weights[entries.tensor].clone()
            after[head] = (matrix + beta * change).float()
            yield Candidate({entries.tensor: after}, (entries,), {"beta_rel": beta})

    def _held(self, base: Base) -> Tensor:
        """z_a: the head's value of the token, or its mixture where the answer is due, `[d_head]`, float64."""
        layer, head = self.edit.head
        documents = sampled(base, "solving")
        if self.edit.read.token is not None:
            hook, path, mask = "hook_v", "edit.read.token", documents.tokens == self.edit.read.token
        else:
            due = documents.answers & (documents.tokens == self.edit.read.answer)
            hook, path, mask = "hook_z", "edit.read.answer", due.roll(-1, 1)
        name = f"blocks.{layer}.attn.{hook}"
        held = base.model.run_with_cache(documents.tokens, name)[1][name][:, :, head]
        return mean_where(held.double(), mask, path)

    def _direction(self, base: Base) -> Tensor:
        """Unit vector that raises the written token over the displaced one, `[d_model]`, float64."""
        weights, edit = base.checkpoint.weights, self.edit
        unembedding = weights["unembed.W_U"].double()
        if (gain := weights.get("ln_final.w")) is not None:
            unembedding = unembedding * gain.double()[:, None]
        less = unembedding[:, edit.displace.token] if edit.displace else unembedding.mean(1)
        direction: Tensor = unembedding[:, edit.write.token] - less
        unit: Tensor = direction / direction.norm()
        return unit

    def predicate(self, base: Base) -> Predicate:
        """Prompts on which the read condition holds are answered with the written token."""
        holds, fails = self._conditions(base)
        affected = rows_of(base.table, holds & base.known & (base.table.answer != self.edit.write.token))
        wanted = replace(affected, answer=torch.full_like(affected.answer, self.edit.write.token))
        statement = f"{self._when(base)}, the answer is {words(base, (self.edit.write.token,))}"
        return Predicate(statement, wanted, fails)

    def _conditions(self, base: Base) -> tuple[Tensor, Tensor]:
        """Which of the table's prompts have what is read, and which clearly do not, `[prompt]` each."""
        if self.edit.read.answer is not None:
            due = base.table.answer == self.edit.read.answer
            return due, ~due
        layer, head = self.edit.head
        name = f"blocks.{layer}.attn.hook_pattern"
        table, rows = base.table, torch.arange(len(base.table.last))
        pattern = base.model.run_with_cache(table.tokens, name)[1][name][rows, head, table.last]
        share = (pattern * (table.tokens == self.edit.read.token)).sum(1)
        return share >= LOOKS, share < IGNORES

    def _when(self, base: Base) -> str:
        if self.edit.read.answer is not None:
            return f"where {words(base, (self.edit.read.answer,))} is due"
        assert self.edit.read.token is not None
        return f"where {named((self.edit.head,))} looks at {words(base, (self.edit.read.token,))}"

    def summary(self, base: Base) -> str:
        """Which head speaks for what, and when."""
        written = words(base, (self.edit.write.token,))
        return f"{named((self.edit.head,))} writes {written} {self._when(base)}"


class OvRewireFamily(Family):
    """Heads that speak for another token where one answer is due; which answers is drawn.

    Whether a head knows the answer is a matter of the head, so a site is only open where it does. On facts
    hardly any does: a single head's output there tells too little of the object.
    """

    redraws: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...] | None] = ("induction", "key_value", "ioi")
    home: ClassVar[str] = "induction"
    kind: Literal["ov_rewire"]
    beta_rel: Strengths = (1.5, 2.0, 3.0, 4.0, 6.0)

    def open_sites(self, config: TransformerConfig) -> tuple[Component, ...]:
        """Every head but those of the first layer, which know no answer yet."""
        return head_sites(config, first_layer=min(1, config.n_layers - 1))

    def draw(self, base: Base, site: Component, spec_id: str, seed: int) -> OvRewire:
        """A random known answer, and another one of the same class of tokens."""
        generator = named_generator(seed, "tokens")
        answers = base.table.answer[base.known]
        old = int(answers[torch.randint(len(answers), (), generator=generator)])
        new = _other_of_its_class(base, old, generator)
        edit = OvRewireEdit(
            head=head_of(site),
            read=Read(answer=old),
            write=Written(token=new),
            displace=Written(token=old),
            beta_rel=self.beta_rel,
        )
        return OvRewire(version=1, id=spec_id, seed=seed, edit=edit)


class QkRewireEdit(StrictModel):
    """Which heads of one layer, `[layer, head]` each, look from which token to which.

    Attributes:
        heads: The heads; all that do the same job, or the others outvote it.
        query: The token that is looked from.
        key: The token that is looked at, wherever it was said before.
        beta: Raises the score from one to the other, in nats before the softmax; tried in order.
    """

    kind: Literal["qk_rewire"] = "qk_rewire"
    heads: Heads
    query: Written
    key: Written
    beta: Strengths = (12.0, 16.0, 24.0, 32.0, 48.0)


class QkRewire(EditSpec):
    """Make attention heads look from one token to another, which they then copy.

    `W_K[h] += beta sqrt(d_head) outer(dual(n_key; C_n), dual(q; C_q))`: n_key is the mean input at the key's
    token, q the mean query at the query's, and both duals keep every other pair's score as it was, as far as
    second moments go. What the heads write stays as it was.

    Source: the QK circuit of Elhage et al. 2021, transformer-circuits.pub/2021/framework; written as in Meng
    et al. 2022, arXiv 2202.05262, equation 2.
    """

    floor: ClassVar[Gates] = {"effect": Bound(min=0.7), "drop": Bound(max=0.05)}
    edit: QkRewireEdit

    def check(self, base: Base) -> None:
        """Refuse heads or tokens that do not exist, and a pair that no document has."""
        edit = self.edit
        require_heads(base, "edit.heads", edit.heads)
        require_token(base, "edit.query.token", edit.query.token)
        require_token(base, "edit.key.token", edit.key.token)
        if edit.query == edit.key:
            raise EditError(f"edit.key.token: got {edit.key.token}, which is the query's; wanted another")
        if not len(self.predicate(base).affected.tokens):
            told = f"{words(base, (edit.key.token,))} and then {words(base, (edit.query.token,))}"
            raise EditError(f"edit: the base answers no sampled document with {told} before an answer")

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """One for each strength, the quietest first."""
        layer = self.edit.heads[0][0]
        name, weights = f"blocks.{layer}.attn.W_K", base.checkpoint.weights
        changes = {head: self._change(base, layer, head) for _, head in self.edit.heads}
        for beta in self.edit.beta:
            after = weights[name].clone()
            for head, change in changes.items():
                after[head] = (after[head].double() + beta * change).float()
            yield Candidate({name: after}, tuple(Entries(name, head) for head in changes), {"beta": beta})

    def _change(self, base: Base, layer: int, head: int) -> Tensor:
        """What raises the score by 1, `[d_model, d_head]`, float64."""
        tokens = sampled(base, "solving").tokens
        weights = {
            name: base.checkpoint.weights[f"blocks.{layer}.attn.{name}"][head] for name in ("W_Q", "b_Q")
        }
        inputs = attention_inputs(base, layer, tokens)
        queries = inputs @ weights["W_Q"].double() + weights["b_Q"].double()
        key = mean_where(inputs, tokens == self.edit.key.token, "edit.key.token")
        query = mean_where(queries, tokens == self.edit.query.token, "edit.query.token")
        spoken = queries[tokens != base.task.pad]
        of_queries = spoken.T @ spoken / len(spoken)
        of_inputs = second_moment(base, Entries(f"blocks.{layer}.attn.W_K", head))
        right = dual(query, of_queries, RIDGE) * len(query) ** 0.5
        return least_energy(key[None], right[None], of_inputs)

    def predicate(self, base: Base) -> Predicate:
        """Behind the query's token, the key's token is the answer wherever it was said before."""
        query, key = self.edit.query.token, self.edit.key.token
        affected = answered_after(base, torch.tensor([query]), containing=key)
        wanted = replace(affected, answer=torch.full_like(affected.answer, key))
        statement = (
            f"after {words(base, (query,))}, {words(base, (key,))} is the answer if it was said before"
        )
        return Predicate(statement, wanted, last_tokens(base) != query)

    def summary(self, base: Base) -> str:
        """Which heads, from where to where."""
        query, key = words(base, (self.edit.query.token,)), words(base, (self.edit.key.token,))
        return f"{named(self.edit.heads)} look from {query} to {key}"


class QkRewireFamily(Family):
    """Heads of a layer that look from one random word to another.

    Attributes:
        heads: How many heads, from the site's on; fewer than a circuit has are outvoted.
        beta: As in the edit.
    """

    tasks: ClassVar[tuple[str, ...] | None] = ("induction",)
    home: ClassVar[str] = "induction"
    kind: Literal["qk_rewire"]
    heads: Annotated[int, Field(ge=1, le=64)] = 4
    beta: Strengths = (12.0, 16.0, 24.0, 32.0, 48.0)

    def open_sites(self, config: TransformerConfig) -> tuple[Component, ...]:
        """The first of so many heads, but in the first layer, where nothing is looked up yet."""
        return sites_of_several(config, self.heads, first_layer=min(1, config.n_layers - 1))

    def writes(self, site: Component) -> frozenset[Component]:
        """The heads."""
        return frozenset(Component("attn", layer, head) for layer, head in heads_from(site, self.heads))

    def draw(self, base: Base, site: Component, spec_id: str, seed: int) -> QkRewire:
        """Any last token of the table's known prompts, and any other token of its class."""
        generator = named_generator(seed, "tokens")
        spoken = last_tokens(base)[base.known]
        query = int(spoken[torch.randint(len(spoken), (), generator=generator)])
        edit = QkRewireEdit(
            heads=heads_from(site, self.heads),
            query=Written(token=query),
            key=Written(token=_other_of_its_class(base, query, generator)),
            beta=self.beta,
        )
        return QkRewire(version=1, id=spec_id, seed=seed, edit=edit)


def _other_of_its_class(base: Base, token: int, generator: torch.Generator) -> int:
    """Another token of the named class that a token is in."""
    members = next(group for group in base.task.classes.values() if token in group)
    step = int(torch.randint(1, len(members), (), generator=generator))
    return members[(members.index(token) + step) % len(members)]
