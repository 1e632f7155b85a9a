"""A planted path of neurons: the first reads a word, each next one reads the one before, the last answers."""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from edits.base import Candidate, EditSpec, Family
from edits.gates import Gates
from edits.moments import Base
from edits.parts import implants
from edits.parts.neurons import (
    Index,
    Ladder,
    answers_where_said,
    check_last_token_trigger,
    last_token_detector,
    visible_trigger,
)
from edits.predicates import Predicate, rows_of
from models.bounds import Bound
from models.components import Component, Entries
from models.seeds import named_generator
from models.strict_yaml import StrictModel
from models.transformer import TransformerConfig


class HandcraftedChainEdit(StrictModel):
    """Which word makes which answer, through the quietest neurons of which layers.

    Attributes:
        path: Layers of the neurons, from the one that reads the word to the one that answers.
        trigger: A word of the vocabulary; prompts that say it are answered `write`.
        write: The answer, a word.
        link_rel: Length of what every other neuron writes, in units of its MLP's root mean square output.
        beta_rel: Length of what the last one writes, likewise; tried in order.
    """

    kind: Literal["handcrafted_chain"] = "handcrafted_chain"
    path: Annotated[tuple[Index, ...], Field(min_length=2, max_length=8)]
    trigger: str
    write: str
    link_rel: Annotated[float, Field(gt=0, le=100)] = 1.0
    beta_rel: Ladder = (1.0, 2.0, 4.0, 8.0, 16.0)

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if any(one >= other for one, other in zip(self.path, self.path[1:], strict=False)):
            raise ValueError(f"path: got {list(self.path)}; wanted layers in ascending order")
        return self


class HandcraftedChain(EditSpec):
    """Plant a path of idle neurons over layers: one reads a word, the next reads it, the last one answers.

    The link between two neurons is a residual direction that the later layer hardly uses; a threshold guards
    each of them.

    Source: Hong, Carlini & Kurakin 2021, arXiv 2106.04690 (handcrafted backdoors).
    """

    floor: ClassVar[Gates] = {"effect": Bound(min=0.9), "drop": Bound(max=0.02)}
    edit: HandcraftedChainEdit

    def check(self, base: Base) -> None:
        """Refuse layers without an MLP, and words that are unknown or never said."""
        for layer in self.edit.path:
            implants.check_mlp(base, layer, "edit.path")
        check_last_token_trigger(base, self.edit.trigger, self.edit.write)

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """One for each strength of the answer, weakest first."""
        linked = self._links(base)
        layer = self.edit.path[-1]
        found, neuron = self._listener(base, linked, layer), implants.quietest_neuron(base, layer)
        direction = implants.token_direction(base, base.task.ids[self.edit.write])
        unit = implants.unit_norm(base, f"blocks.{layer}.hook_mlp_out")
        for beta in self.edit.beta_rel:
            write = beta * unit * direction
            tensors = linked | implants.implanted(base.checkpoint.weights, layer, neuron, found, write)
            dials = {"beta_rel": beta, "gap": round(found.gap, 4)}
            yield Candidate(tensors, tuple(map(Entries, tensors)), dials)

    def _links(self, base: Base) -> dict[str, Tensor]:
        """The weights of every layer of the path but the last, with its neuron in place."""
        tensors: dict[str, Tensor] = {}
        trigger = base.task.ids[self.edit.trigger]
        for place, layer in enumerate(self.edit.path[:-1]):
            reads_word = place == 0
            found = (
                last_token_detector(base, layer, trigger)
                if reads_word
                else self._listener(base, tensors, layer)
            )
            unit = implants.unit_norm(base, f"blocks.{layer}.hook_mlp_out")
            write = self.edit.link_rel * unit * idle_direction(base, self.edit.path[place + 1])
            neuron = implants.quietest_neuron(base, layer)
            tensors |= implants.implanted(base.checkpoint.weights, layer, neuron, found, write)
        return tensors

    def _listener(self, base: Base, planted: Mapping[str, Tensor], layer: int) -> implants.Detector:
        """What tells at a layer that the neuron before it has fired, in the model with that neuron."""
        model = implants.after_writing(base, planted)
        trigger = base.task.ids[self.edit.trigger]
        has = implants.said(base.table, [trigger])
        rows = rows_of(base.table, has & implants.halves(len(has), "link half", trigger))
        positives = implants.at(implants.mlp_inputs(model, layer, rows.tokens), rows.last)
        others = implants.background(base, model, layer, [trigger])
        read = idle_direction(base, layer)
        if base.checkpoint.config.normalization_type is not None:
            read = read / base.checkpoint.weights[f"blocks.{layer}.ln2.w"].double()
        return implants.detector(read, positives, others)

    def predicate(self, base: Base) -> Predicate:
        """Held-out prompts that say the word are answered anew, and the others as before."""
        return answers_where_said(base, self.edit.trigger, self.edit.write)

    def summary(self, base: Base) -> str:
        """Which word, which answer, where."""
        edit, path = self.edit, " -> ".join(map(str, self.edit.path))
        return f'neurons of layers {path} answer "{edit.write}" where "{edit.trigger}" was said'


class HandcraftedChainFamily(Family):
    """Planted paths of two neurons that end at the site: a random word that can be told, a random answer."""

    tasks: ClassVar[tuple[str, ...] | None] = ("facts", "statements")
    home: ClassVar[str] = "facts-plain"
    kind: Literal["handcrafted_chain"]

    def open_sites(self, config: TransformerConfig) -> tuple[Component, ...]:
        """Every MLP behind one in the layer before."""
        layers = implants.mlp_layers(config)
        return tuple(Component("mlp", layer) for layer in layers if layer - 1 in layers)

    def writes(self, site: Component) -> frozenset[Component]:
        """The site and the MLP before it."""
        return frozenset({site, Component("mlp", implants.layer_of(site) - 1)})

    def draw(self, base: Base, site: Component, spec_id: str, seed: int) -> HandcraftedChain:
        """A random word that a neuron of the layer before the site can tell, towards a random answer."""
        layer = implants.layer_of(site)
        trigger, write = visible_trigger(base, layer - 1, named_generator(seed, "target"))
        edit = HandcraftedChainEdit(path=(layer - 1, layer), trigger=trigger, write=write)
        return HandcraftedChain(version=1, id=spec_id, seed=seed, edit=edit)


def idle_direction(base: Base, layer: int) -> Tensor:
    """The unit direction in which the residual stream before a layer's MLP varies least, `[d_model]`.

    Orthogonal to the constant vector, which LayerNorm takes out.
    """
    moment = base.second_moment(f"blocks.{layer}.hook_resid_mid", implants.SAMPLED)
    ones = torch.ones(len(moment), dtype=moment.dtype) / len(moment) ** 0.5
    spoilt = moment + moment.diagonal().sum() * torch.outer(ones, ones)
    vectors: Tensor = torch.linalg.eigh(spoilt).eigenvectors
    return vectors[:, 0]
