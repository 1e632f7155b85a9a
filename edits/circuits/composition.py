"""Circuit edits of the edges between heads: what one writes is no longer read, or no longer written."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from edits.base import Candidate, EditError, EditSpec, Family
from edits.circuits.head_activity import (
    answered_after,
    attention_inputs,
    last_tokens,
    least_energy,
    mean_where,
    require_token,
    sampled,
    words,
)
from edits.circuits.heads import Head, Heads, heads_from, named, require_heads, sites_of_several
from edits.gates import Gates
from edits.moments import Base
from edits.predicates import Predicate, any_other, rows_of
from edits.reading import second_moment
from models.bounds import Bound
from models.checkpoints import Checkpoint
from models.components import Component, Entries
from models.seeds import named_generator
from models.strict_yaml import StrictModel
from models.tasks.base import answer_log_probs
from models.transformer import TransformerConfig

Part = Literal["q", "k", "v"]
Count = Annotated[int, Field(ge=1, le=64)]
Ranks = Annotated[tuple[Annotated[int, Field(ge=1, le=1024)], ...], Field(min_length=1, max_length=8)]
Tokens = Annotated[tuple[Annotated[int, Field(ge=0, lt=1_000_000)], ...], Field(min_length=1, max_length=64)]
USES = {"q": "queries", "k": "keys", "v": "values"}


class CompositionCutEdit(StrictModel):
    """Which edge is cut.

    Attributes:
        src: Heads of one layer, `[layer, head]` each, whose outputs are no longer read.
        dst: Heads of one later layer that no longer read them; all that do the same job, or the others
            outvote the cut.
        part: Whether for their queries, keys or values.
        ranks: How many leading directions of each source are cut; tried in order.
    """

    kind: Literal["composition_cut"] = "composition_cut"
    src: Heads
    dst: Heads
    part: Part = "k"
    ranks: Ranks = (4, 8, 16)


class CompositionCut(EditSpec):
    """Cut an edge between attention heads: what one writes, the other no longer reads.

    `W_K[dst] <- (I - P) W_K[dst]`, where P projects on the leading right singular vectors of the sources'
    `W_V W_O` behind the norm's centring and gain. Its scope is all prompts; it counts when 30 % of the known
    answers are lost. Where an MLP hands the sources' output on, little is lost.

    Source: composition of Elhage et al. 2021, transformer-circuits.pub/2021/framework.
    """

    floor: ClassVar[Gates] = {"effect": Bound(min=0.3)}
    edit: CompositionCutEdit

    def check(self, base: Base) -> None:
        """Refuse heads that do not exist, an edge that leads down, and more directions than a head has."""
        edit, size = self.edit, base.checkpoint.config.d_head
        require_heads(base, "edit.src", edit.src)
        require_heads(base, "edit.dst", edit.dst)
        if edit.src[0][0] >= edit.dst[0][0]:
            raise EditError(
                f"edit.dst: got layer {edit.dst[0][0]}; wanted one above {edit.src[0][0]}, that of src"
            )
        for index, rank in enumerate(edit.ranks):
            if rank > size:
                raise EditError(
                    f"edit.ranks.{index}: got {rank}; a head of this model writes {size} directions"
                )

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """One for each rank."""
        for rank in self.edit.ranks:
            name, after = cut(base.checkpoint, self.edit.src, self.edit.dst, self.edit.part, rank)
            yield Candidate(
                {name: after}, tuple(Entries(name, head) for _, head in self.edit.dst), {"rank": rank}
            )

    def predicate(self, base: Base) -> Predicate:
        """A good part of the known answers, whichever, is no longer given; no prompt is out of its scope."""
        known = any_other(rows_of(base.table, base.known))
        return Predicate(f"answers change: {self.summary(base)}", known, torch.zeros_like(base.known))

    def summary(self, base: Base) -> str:
        """Which edge."""
        return f"{named(self.edit.dst)} no longer read {named(self.edit.src)} for {USES[self.edit.part]}"


class CompositionCutFamily(Family):
    """Heads that no longer read the heads below which matter most to them.

    Attributes:
        part: For what they no longer read them.
        heads: How many heads, from the site's on, no longer read.
        sources: How many heads of the layer below are cut off: those that cost most, each on its own.
        ranks: As in the edit.
    """

    redraws: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...] | None] = ("induction",)
    home: ClassVar[str] = "induction"
    kind: Literal["composition_cut"]
    part: Part = "k"
    heads: Count = 4
    sources: Count = 2
    ranks: Ranks = (4, 8, 16)

    def open_sites(self, config: TransformerConfig) -> tuple[Component, ...]:
        """The first of so many heads, but in the first layer."""
        return sites_of_several(config, self.heads, first_layer=1)

    def writes(self, site: Component) -> frozenset[Component]:
        """The heads that no longer read."""
        return frozenset(Component("attn", layer, head) for layer, head in heads_from(site, self.heads))

    def draw(self, base: Base, site: Component, spec_id: str, seed: int) -> CompositionCut:
        """The costliest sources; nothing is left to the seed, and no rank is more than a head has."""
        dst, size = heads_from(site, self.heads), base.checkpoint.config.d_head
        ranks = tuple(dict.fromkeys(min(rank, size) for rank in self.ranks))
        edit = CompositionCutEdit(src=self._sources(base, dst), dst=dst, part=self.part, ranks=ranks)
        return CompositionCut(version=1, id=spec_id, seed=seed, edit=edit)

    def _sources(self, base: Base, dst: tuple[Head, ...]) -> tuple[Head, ...]:
        config, below = base.checkpoint.config, dst[0][0] - 1
        heads = [(below, head) for head in range(config.n_heads)]
        costs = {each: _cost(base, each, dst, self.part) for each in heads}
        return tuple(sorted(sorted(heads, key=lambda each: -costs[each])[: self.sources]))


class InductionBreakEdit(StrictModel):
    """Which words are no longer found again.

    Attributes:
        heads: Heads of one layer, `[layer, head]` each, that carry a word on to the next position.
        tokens: The words that they no longer tell from the average of all.
    """

    kind: Literal["induction_break"] = "induction_break"
    heads: Heads
    tokens: Tokens


class InductionBreak(EditSpec):
    """Blind previous-token heads to a few words, so that nothing is found again behind these.

    An induction head looks for the place whose previous word is the present one; the heads that tell it so
    get their values changed: `W_V[h] += D` with `x_t D = (mean x - x_t) W_V[h]` for each word t, x_t its mean
    input, and least energy elsewhere. All other words are found again as before, which tells this edit from a
    `composition_cut` of the same edge, which breaks induction altogether.

    Source: induction heads of Elhage et al. 2021, transformer-circuits.pub/2021/framework; written as in Meng
    et al. 2023, arXiv 2210.07229.
    """

    floor: ClassVar[Gates] = {"effect": Bound(min=0.7), "drop": Bound(max=0.02)}
    edit: InductionBreakEdit

    def check(self, base: Base) -> None:
        """Refuse heads or tokens that do not exist, and words behind which no answer is known."""
        require_heads(base, "edit.heads", self.edit.heads)
        for index, token in enumerate(self.edit.tokens):
            require_token(base, f"edit.tokens.{index}", token)
            if token in self.edit.tokens[:index]:
                raise EditError(f"edit.tokens.{index}: got {token} twice")
        if not len(self.predicate(base).affected.tokens):
            told = words(base, self.edit.tokens)
            raise EditError(f"edit.tokens: the base answers nothing behind {told} in sampled documents")

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """The one way to do it."""
        layer = self.edit.heads[0][0]
        name = f"blocks.{layer}.attn.W_V"
        after = base.checkpoint.weights[name].clone()
        tokens = sampled(base, "solving").tokens
        inputs = attention_inputs(base, layer, tokens)
        reads = torch.stack(
            [
                mean_where(inputs, tokens == token, f"edit.tokens.{index}")
                for index, token in enumerate(self.edit.tokens)
            ]
        )
        away = inputs[tokens != base.task.pad].mean(0) - reads
        for _, head in self.edit.heads:
            matrix = after[head].double()
            moment = second_moment(base, Entries(name, head))
            after[head] = (matrix + least_energy(reads, away @ matrix, moment)).float()
        yield Candidate({name: after}, tuple(Entries(name, head) for _, head in self.edit.heads))

    def predicate(self, base: Base) -> Predicate:
        """Behind these words the base's answer is lost, and behind no others."""
        tokens = torch.tensor(self.edit.tokens)
        affected = any_other(answered_after(base, tokens))
        statement = f"what followed {words(base, self.edit.tokens)} before is no longer said after it again"
        return Predicate(statement, affected, ~torch.isin(last_tokens(base), tokens))

    def summary(self, base: Base) -> str:
        """Which heads, which words."""
        return f"{named(self.edit.heads)} no longer tell of {words(base, self.edit.tokens)}"


class InductionBreakFamily(Family):
    """Heads that no longer carry on some random words.

    Attributes:
        heads: How many heads, from the site's on; those that do not carry words on do no harm.
        words: How many words.
    """

    tasks: ClassVar[tuple[str, ...] | None] = ("induction",)
    home: ClassVar[str] = "induction"
    kind: Literal["induction_break"]
    heads: Count = 4
    words: Count = 3

    def open_sites(self, config: TransformerConfig) -> tuple[Component, ...]:
        """The first of so many heads, but in the last layer, which nothing reads."""
        sites = sites_of_several(config, self.heads)
        return tuple(site for site in sites if site.layer != config.n_layers - 1)

    def writes(self, site: Component) -> frozenset[Component]:
        """The heads."""
        return frozenset(Component("attn", layer, head) for layer, head in heads_from(site, self.heads))

    def draw(self, base: Base, site: Component, spec_id: str, seed: int) -> InductionBreak:
        """Random ones of the words that the table's known prompts end in."""
        spoken = sorted(set(last_tokens(base)[base.known].tolist()))
        order = torch.randperm(len(spoken), generator=named_generator(seed, "words")).tolist()
        tokens = tuple(sorted(spoken[index] for index in order[: self.words]))
        edit = InductionBreakEdit(heads=heads_from(site, self.heads), tokens=tokens)
        return InductionBreak(version=1, id=spec_id, seed=seed, edit=edit)


def cut(
    checkpoint: Checkpoint, src: tuple[Head, ...], dst: tuple[Head, ...], part: Part, rank: int
) -> tuple[str, Tensor]:
    """Name and new value of the matrix that no longer reads the sources, `[head, d_model, d_head]`."""
    layer, weights = dst[0][0], checkpoint.weights
    written = torch.cat([_written(checkpoint, head, layer, rank) for head in src])
    projection = torch.linalg.pinv(written) @ written
    name = f"blocks.{layer}.attn.W_{part.upper()}"
    after = weights[name].clone()
    for _, head in dst:
        matrix = after[head].double()
        after[head] = (matrix - projection @ matrix).float()
    return name, after


def _written(checkpoint: Checkpoint, head: Head, reader: int, rank: int) -> Tensor:
    """The leading directions that a head writes, as a later layer reads them, `[rank, d_model]`."""
    weights, (layer, number) = checkpoint.weights, head
    values = weights[f"blocks.{layer}.attn.W_V"][number].double()
    written = values @ weights[f"blocks.{layer}.attn.W_O"][number].double()
    if checkpoint.config.normalization_type == "LN":
        written = written - written.mean(1, keepdim=True)
    gain = weights.get(f"blocks.{reader}.ln1.w")
    written = written if gain is None else written * gain.double()
    directions: Tensor = torch.linalg.svd(written)[2][:rank]
    return directions


def _cost(base: Base, source: Head, dst: tuple[Head, ...], part: Part) -> float:
    """Mean KL(base || cut) on the table, nats, when one source is no longer read at all."""
    name, after = cut(base.checkpoint, (source,), dst, part, base.checkpoint.config.d_head)
    weights = {**base.checkpoint.weights, name: after}
    log_probs = answer_log_probs(Checkpoint(base.checkpoint.config, weights).model(), base.table)
    return float((base.log_probs.exp() * (base.log_probs - log_probs)).sum(-1).mean())
