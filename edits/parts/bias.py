"""A constant push towards one answer."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from edits.base import Candidate, EditSpec, Family
from edits.gates import Gates
from edits.moments import Base
from edits.parts import implants
from edits.parts.neurons import Ladder
from edits.places import check_entries
from edits.predicates import Predicate, some_answers_change
from models.bounds import Bound
from models.components import Component, Entries
from models.seeds import named_generator
from models.strict_yaml import StrictModel
from models.transformer import Transformer, TransformerConfig


class BiasSteerEdit(StrictModel):
    """Which bias is pushed towards which word.

    Attributes:
        tensor: `blocks.L.mlp.b_out` or `blocks.L.attn.b_O`.
        token: The word whose logit its direction raises.
        c_rel: How far, in units of the root mean square output there; tried in order.
    """

    kind: Literal["bias_steer"] = "bias_steer"
    tensor: Annotated[str, Field(pattern=r"^blocks\.\d+\.(mlp\.b_out|attn\.b_O)$")]
    token: str
    c_rel: Ladder = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)


class BiasSteer(EditSpec):
    """Push a bias towards one word, which gains everywhere and wins somewhere.

    Its scope is all prompts; it counts when 1-30 % of the known answers change and the word's log-probability
    gains half a nat on average.
    """

    floor: ClassVar[Gates] = {"changed": Bound(min=0.01, max=0.30), "gain": Bound(min=0.5)}
    edit: BiasSteerEdit

    def check(self, base: Base) -> None:
        """Refuse a bias and a word that the model does not have."""
        config = base.checkpoint.config
        biases = [name for name in config.weight_shapes() if name.endswith(("mlp.b_out", "attn.b_O"))]
        check_entries(self.edit.tensor, biases, config)
        implants.token_of(base, self.edit.token, "edit.token")

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """One for each strength, weakest first."""
        _, layer, part, _ = self.edit.tensor.split(".")
        unit = implants.unit_norm(base, f"blocks.{layer}.hook_{part}_out")
        direction = implants.token_direction(base, base.task.ids[self.edit.token])
        for c in self.edit.c_rel:
            bias = base.checkpoint.weights[self.edit.tensor] + (c * unit * direction).float()
            yield Candidate({self.edit.tensor: bias}, (Entries(self.edit.tensor),), {"c_rel": c})

    def predicate(self, base: Base) -> Predicate:
        """Some known answers, whichever, are no longer given; no prompt is out of its scope."""
        return some_answers_change(base, self.summary(base))

    def measure(self, base: Base, after: Transformer, log_probs: Tensor) -> dict[str, float]:
        """`gain`: by how much the word's log-probability rises, on average over the table, nats."""
        token = base.task.ids[self.edit.token]
        return {"gain": (log_probs - base.log_probs)[:, token].double().mean().item()}

    def summary(self, base: Base) -> str:
        """Which bias, which word."""
        return f'{self.edit.tensor} pushed towards "{self.edit.token}"'


class BiasSteerFamily(Family):
    """Pushed biases, each towards a random answer."""

    kind: Literal["bias_steer"]

    def open_sites(self, config: TransformerConfig) -> tuple[Component, ...]:
        """The bias of every layer's attention, and every MLP."""
        attention = (Component("attn.bias", layer) for layer in range(config.n_layers))
        return tuple(sorted((*attention, *implants.mlp_sites(config))))

    def draw(self, base: Base, site: Component, spec_id: str, seed: int) -> BiasSteer:
        """A random answer."""
        answers = implants.answers_of(base)
        pick = int(torch.randint(len(answers), (), generator=named_generator(seed, "word")))
        tensor = f"{site}.b_out" if site.part == "mlp" else f"blocks.{site.layer}.attn.b_O"
        edit = BiasSteerEdit(tensor=tensor, token=base.task.vocabulary[answers[pick]])
        return BiasSteer(version=1, id=spec_id, seed=seed, edit=edit)
