"""A model beside its reference in the same coordinates, and what it answers with one part given back.

A part is given back by what the reference's would add to the residual stream, less what the model's own adds,
to the stream that the model itself has there. That is exactly the model with that part's weights restored,
whatever rewriting the reference came in.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from game.api import Component, Intervention, Toolbox, TransformerConfig
from game.tools.kit.batches import run
from game.tools.kit.canonical import Canonical, Heads, Neurons, read_canonical
from game.tools.kit.norms import normalized

_LEAST = 1e-3  # of an embedding's norm: what a part that is nothing counts as
_TINY = 1e-30
_SAME = 1e-4  # relative change that is rounding
_ROUNDS = 5  # of fitting lengths and gains in turn


@dataclass(frozen=True)
class Pair:
    """A model and its reference in the model's own coordinates.

    Attributes:
        config: Of both.
        ours: The model under audit, in canonical form.
        theirs: The reference, likewise.
    """

    config: TransformerConfig
    ours: Canonical
    theirs: Canonical

    @classmethod
    def read(cls, box: Toolbox) -> Self:
        """The model and its reference; the price is that of all weights of both.

        Raises:
            AccessError: The league grants no reference.
        """
        reference = read_canonical(box.reference())
        ours = read_canonical(box)
        return cls(box.config, ours, reference.aligned(ours))

    def differences(self) -> dict[Component, float]:
        """|difference| / |reference's| of each component, the largest of its parts'."""
        least = _LEAST * float(self.theirs.rows["embed.W_E"].norm(dim=1).mean())
        found: dict[Component, float] = {}
        pairs = zip(*(each.parts(self.config.n_heads) for each in (self.ours, self.theirs)), strict=True)
        for (owner, _, mine), (_, _, yours) in pairs:
            component = Component.parse(owner)
            relative = float((mine - yours).norm() / yours.norm().clamp(min=least))
            found[component] = max(found.get(component, 0.0), relative)
        return found

    def gains(self) -> dict[Component, float]:
        """For each norm, what share of the change of all that reads it other gains of the norm explain.

        An edit of a norm looks like an edit of all its readers; it stretches them all alike.
        """
        found: dict[Component, float] = {}
        for layer, heads in enumerate(self.ours.heads):
            reads = (each.ov.transpose(0, 1).flatten(1) for each in (heads, self.theirs.heads[layer]))
            found[Component("ln1", layer)] = _stretched(*reads)
        for layer, neurons in self.ours.neurons.items():
            mine, yours = neurons.read.T, self.theirs.neurons[layer].read.T
            found[Component("ln2", layer)] = _stretched(_rescaled(mine, yours), yours)
        words = (each.rows["unembed.W_U"].T for each in (self.ours, self.theirs))
        return found | {Component("ln_final"): _stretched(*words)}

    def readers(self, norm: Component) -> tuple[Component, ...]:
        """The components that read a norm."""
        if norm.part == "ln1":
            return tuple(Component("attn", norm.layer, head) for head in range(self.config.n_heads))
        return (Component("mlp", norm.layer) if norm.part == "ln2" else Component("unembed"),)

    def logits(self, box: Toolbox, tokens: Tensor) -> Tensor:
        """The model's own logits, `[row, pos, d_vocab]`; a credit a row."""
        return run(box, tokens, ["logits"])["logits"]

    def restored(self, box: Toolbox, tokens: Tensor, component: Component) -> Tensor:
        """Logits with one component given back, `[row, pos, d_vocab]`.

        With a norm all that reads it is given back. Price: 2 rows; a row once another was given back.
        """
        streams = run(box, tokens, [*_streams(self.config), "logits"])
        if component.part in ("unembed", "ln_final"):
            return streams["logits"] + self._more_logits(streams)
        hook, more = self._added(component, tokens, streams)
        more = more.float()
        return run(box, tokens, ["logits"], lambda rows: [Intervention(hook, more[rows], "add")])["logits"]

    def _added(self, component: Component, tokens: Tensor, streams: dict[str, Tensor]) -> tuple[str, Tensor]:
        """Where to add what to give a component back that lies before the unembedding."""
        part, layer = component.part, component.layer
        if part == "embed":
            return "blocks.0.hook_resid_pre", self._row_change("embed.W_E")[tokens]
        if part == "pos_embed":
            change = self._row_change("pos_embed.W_pos")[: tokens.shape[1]]
            return "blocks.0.hook_resid_pre", change.expand(len(tokens), -1, -1)
        assert layer is not None  # the others are in a layer
        block = f"blocks.{layer}"
        if part in ("mlp", "ln2"):
            return f"{block}.hook_mlp_out", self._mlp(layer, streams[f"{block}.hook_resid_mid"])
        if part == "attn.bias":
            change = self._row_change(f"{block}.attn.b_O")
            return f"{block}.hook_attn_out", change.expand(*tokens.shape, -1)
        heads = range(self.config.n_heads) if component.head is None else (component.head,)
        moved = [self._head(layer, head, streams[f"{block}.hook_resid_pre"]) for head in heads]
        return f"{block}.hook_attn_out", torch.stack(moved).sum(0)

    def _row_change(self, name: str) -> Tensor:
        return self.theirs.rows[name] - self.ours.rows[name]

    def _more_logits(self, streams: dict[str, Tensor]) -> Tensor:
        last = normalized(streams[f"blocks.{self.config.n_layers - 1}.hook_resid_post"], self.config).double()
        return (last @ self._row_change("unembed.W_U").T + self.theirs.b_U - self.ours.b_U).float()

    def _mlp(self, layer: int, stream: Tensor) -> Tensor:
        read = normalized(stream, self.config).double()
        mine, yours = (
            _written(each.neurons[layer], read, self.config) + each.rows[f"blocks.{layer}.mlp.b_out"]
            for each in (self.ours, self.theirs)
        )
        return yours - mine

    def _head(self, layer: int, head: int, stream: Tensor) -> Tensor:
        read = normalized(stream, self.config).double()
        hidden = _hidden(read.shape[1], self.config.window[layer])
        mine, yours = (
            _moved(each.heads[layer], head, read, hidden, self.config) for each in (self.ours, self.theirs)
        )
        return yours - mine


def _streams(config: TransformerConfig) -> Iterator[str]:
    """What every part reads of the residual stream."""
    for layer in range(config.n_layers):
        yield f"blocks.{layer}.hook_resid_pre"
        if config.mlp[layer]:
            yield f"blocks.{layer}.hook_resid_mid"
    yield f"blocks.{config.n_layers - 1}.hook_resid_post"


def _written(neurons: Neurons, read: Tensor, config: TransformerConfig) -> Tensor:
    """What neurons write, `[row, pos, d_model]`."""
    pre = read @ neurons.read.T + neurons.bias
    post: Tensor = functional.relu(pre) if config.act_fn == "relu" else functional.gelu(pre)
    return post @ neurons.write


def _moved(heads: Heads, head: int, read: Tensor, hidden: Tensor, config: TransformerConfig) -> Tensor:
    """What a head moves, `[row, pos, d_model]`, biases of values apart."""
    scores: Tensor = (read @ heads.qk[head] + heads.query_bias[head]) @ read.mT / config.d_head**0.5
    return scores.masked_fill(hidden, -torch.inf).softmax(-1) @ (read @ heads.ov[head])


def _hidden(length: int, window: int | None) -> Tensor:
    """Which keys a query cannot see, `[query, key]`."""
    distance = torch.arange(length)[:, None] - torch.arange(length)[None, :]
    return (distance < 0) | (distance >= (length if window is None else window))


def _stretched(mine: Tensor, yours: Tensor) -> float:
    """Share of the change that stretching the rows `[d_model, reader]`, each by a number, explains.

    Nothing is explained where nothing changed.
    """
    change = (mine - yours).square().sum()
    if change <= _SAME**2 * yours.square().sum():
        return 0.0
    left = (mine - _gains(mine, yours) * yours).square().sum()
    return 1 - float(left) / max(float(change), _TINY)


def _gains(mine: Tensor, yours: Tensor) -> Tensor:
    """What stretches each row of yours to mine, `[d_model, 1]`."""
    return (mine * yours).sum(1, keepdim=True) / yours.square().sum(1, keepdim=True).clamp(min=_TINY)


def _rescaled(mine: Tensor, yours: Tensor) -> Tensor:
    """What neurons read, with the lengths that suit gains best: their own are arbitrary."""
    lengths = torch.ones(1, mine.shape[1], dtype=mine.dtype)
    for _ in range(_ROUNDS):
        wanted = _gains(mine * lengths, yours) * yours
        lengths = (wanted * mine).sum(0, keepdim=True) / mine.square().sum(0, keepdim=True).clamp(min=_TINY)
        lengths = lengths / lengths.median().clamp(min=_TINY)
    return mine * lengths
