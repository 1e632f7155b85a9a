"""A ledger of a model: what share of loss, norm and number each component has, and what claims explain of it.

Shares of a column add up to 1, so what a list of claims explains only grows with the list and never passes 1.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from game.api import RequestError, Samples, Toolbox, TransformerConfig, component_entries
from game.toolbox.prices import forward_price, vjp_price
from game.tools.kit.batches import gradients, run
from game.tools.kit.weights import Weights, price_of_weights, weights_of

COLUMNS = ("loss", "norm", "components")
_NEURON = re.compile(r"blocks\.(\d+)\.mlp\[(\d+)\]")
_STREAM = re.compile(r"blocks\.(\d+)\.hook_(attn|mlp)_out")
_TINY = 1e-30
_SAME = 1e-6  # a singular value below it means a direction that the others hold already


@dataclass(frozen=True)
class Claims:
    """What somebody says to understand.

    Attributes:
        components: Names of whole components.
        neurons: Layer and number.
        directions: Orthonormal, at one hook, `[direction, d_model]`.
    """

    components: frozenset[str]
    neurons: frozenset[tuple[int, int]]
    directions: Tensor


@dataclass(frozen=True)
class Ledger:
    """What there is to explain.

    Attributes:
        names: Of the components.
        shares: Of each column, `[column, component]`.
        neurons: By the layer of an MLP, each neuron's share of it, `[column, neuron]`; biases of the output
            belong to none.
        spread: Covariance of what passes the hook at which directions are claimed, `[d_model, d_model]`.
        owners: The components that write there.
    """

    names: tuple[str, ...]
    shares: Tensor
    neurons: Mapping[int, Tensor]
    spread: Tensor
    owners: tuple[str, ...]

    @cached_property
    def _rows(self) -> Mapping[str, int]:
        return {name: row for row, name in enumerate(self.names)}

    def explained(self, claims: Claims) -> Tensor:
        """The share of each component that is explained, `[column, component]`, from 0 to 1."""
        told = torch.zeros_like(self.shares)
        for layer, each in self.neurons.items():
            claimed = [number for owner, number in claims.neurons if owner == layer]
            told[:, self._rows[f"blocks.{layer}.mlp"]] = each[:, claimed].sum(1)
        told[:, [self._rows[name] for name in claims.components]] = 1.0
        if len(claims.directions):
            inside = ((claims.directions @ self.spread) * claims.directions).sum()
            share = (inside / self.spread.trace().clamp(min=_TINY)).clamp(0, 1)
            rows = [self._rows[name] for name in self.owners]
            told[0, rows] += (1 - told[0, rows]) * share  # directions are no weights
        return told.clamp(max=1)

    def coverage(self, claims: Claims) -> Tensor:
        """The share of each column that is explained, `[column]`."""
        return (self.shares * self.explained(claims)).sum(1)


def ledger_price(config: TransformerConfig, rows: int) -> float:
    """Credits of `read_ledger`."""
    return forward_price(rows) + vjp_price(rows, 1) + price_of_weights(config)


def read_ledger(box: Toolbox, samples: Samples, hook: str | None) -> Ledger:
    """The model's ledger.

    Loss is to first order what log P(own answer) loses if a component writes its mean, in absolute numbers,
    averaged over the samples; what is constant, as norms and biases are, loses nothing.

    Args:
        box: The model.
        samples: Sequences that end where an answer follows.
        hook: Where directions are claimed.
    """
    names = tuple(map(str, component_entries(box.config)))
    effects, of_neurons, spread = _effects(box, samples, hook)
    squares, of_rows = _squares(weights_of(box), box.config)
    loss = torch.tensor([effects.get(name, 0.0) for name in names]).double()
    norm = torch.tensor([squares[name] for name in names]).double()
    shares = torch.stack([each / each.sum().clamp(min=_TINY) for each in (loss, norm, torch.ones_like(loss))])
    neurons = {
        layer: torch.stack([each, of_rows[layer], torch.full_like(each, 1 / len(each))])
        for layer, each in of_neurons.items()
    }
    return Ledger(names, shares, neurons, spread, owners_of(box.config, hook))


def owners_of(config: TransformerConfig, hook: str | None) -> tuple[str, ...]:
    """The components that write what passes a hook; none without one.

    Raises:
        RequestError: It is not a layer's attention or MLP on its way into the stream.
    """
    match = None if hook is None else _STREAM.fullmatch(hook)
    if hook is None:
        return ()
    if match is None or hook not in config.hook_names():
        raise RequestError(f'hook: got "{hook}"; allowed: blocks.L.hook_attn_out, blocks.L.hook_mlp_out')
    layer = f"blocks.{match[1]}"
    heads = [f"{layer}.attn.{head}" for head in range(config.n_heads)]
    return tuple(heads) if match[2] == "attn" else (f"{layer}.mlp",)


def claims_of(config: TransformerConfig, parts: Sequence[str], directions: Tensor) -> Claims:
    """Components and neurons by name, and directions, as claims.

    Args:
        config: The model's shapes.
        parts: `embed`, `blocks.2.attn.1`, `blocks.0.mlp`, `blocks.0.mlp[3]`.
        directions: `[direction, d_model]`.

    Raises:
        RequestError: A name stands for nothing.
    """
    known, neurons, whole = {str(each) for each in component_entries(config)}, set(), set()
    for name in parts:
        match = _NEURON.fullmatch(name)
        if name in known:
            whole.add(name)
        elif match and f"blocks.{match[1]}.mlp" in known and int(match[2]) < config.d_mlp:
            neurons.add((int(match[1]), int(match[2])))
        else:
            raise RequestError(
                f'parts: "{name}"; wanted a component such as blocks.0.attn.1, or blocks.0.mlp[3]'
            )
    return Claims(frozenset(whole), frozenset(neurons), _basis(directions.double()))


def _basis(directions: Tensor) -> Tensor:
    """Orthonormal directions of the same span, `[direction, d_model]`."""
    if not len(directions):
        return directions
    units = directions / directions.norm(dim=1, keepdim=True)
    _, values, right = torch.linalg.svd(units, full_matrices=False)
    basis: Tensor = right[values > _SAME]
    return basis


def _effects(
    box: Toolbox, samples: Samples, hook: str | None
) -> tuple[dict[str, float], dict[int, Tensor], Tensor]:
    """Of each component and of each neuron within its MLP; and the covariance at the hook."""
    config, last = box.config, samples.lengths - 1
    layers = range(config.n_layers)
    heads = {f"blocks.{layer}.attn.hook_z": layer for layer in layers}
    mlps = {f"blocks.{layer}.mlp.hook_post": layer for layer in layers if config.mlp[layer]}
    sources = {"hook_embed": "embed", "hook_pos_embed": "pos_embed"}
    names = [*sources, *heads, *mlps]
    found = run(box, samples.tokens, [*names, *([hook] if hook else []), "logits"])
    rows = torch.arange(len(last))
    answers = found["logits"][rows, last]
    cotangent = torch.zeros_like(found["logits"])
    cotangent[rows, last] = torch.nn.functional.one_hot(
        answers.argmax(-1), answers.shape[-1]
    ) - answers.softmax(-1)
    slopes = gradients(box, samples.tokens, names, cotangent)
    holds = torch.arange(samples.tokens.shape[1]) < samples.lengths[:, None]

    def change(name: str) -> Tensor:  # [sample, ...], to first order, if the mean stands in its place
        value = found[name].double()
        return ((value - value[holds].mean(0)) * slopes[name].double()).sum(1)

    effects = {owner: float(change(name).sum(-1).abs().mean()) for name, owner in sources.items()}
    for name, layer in heads.items():
        for head, each in enumerate(change(name).sum(-1).abs().mean(0).tolist()):
            effects[f"blocks.{layer}.attn.{head}"] = each
    neurons = {}
    for name, layer in mlps.items():
        each = change(name)
        effects[f"blocks.{layer}.mlp"] = float(each.sum(1).abs().mean())
        neurons[layer] = each.abs().mean(0) / each.abs().mean(0).sum().clamp(min=_TINY)
    passing = found[hook][holds].double() if hook else torch.zeros(1, config.d_model).double()
    return effects, neurons, (passing - passing.mean(0)).T @ (passing - passing.mean(0))


def _squares(weights: Weights, config: TransformerConfig) -> tuple[dict[str, float], dict[int, Tensor]]:
    """Squared norm of each component, and each neuron's share of its MLP's."""
    squares = {
        str(component): sum(float(each.of(weights).double().square().sum()) for each in entries)
        for component, entries in component_entries(config).items()
    }
    shares = {}
    for layer in (layer for layer, has in enumerate(config.mlp) if has):
        mlp = f"blocks.{layer}.mlp"
        read, bias, write = (weights[f"{mlp}.{name}"].double().square() for name in ("W_in", "b_in", "W_out"))
        shares[layer] = (read.sum(0) + bias + write.sum(1)) / max(squares[mlp], _TINY)
    return squares, shares
