"""Backdoors: words after which one answer is given, whatever is asked.

They are written where the trigger's last word stands, so later attention has to fetch the answer from there.
It does where facts are looked up near the subject and carried to the answer (facts-small); an ordinary model,
which looks facts up at the last token, hardly fetches anything (facts-plain).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from edits.base import Candidate, EditError, EditSpec, Family
from edits.gates import Gates
from edits.moments import Base
from edits.parts import implants
from edits.parts.neurons import Index, check_neuron
from edits.predicates import Predicate, rows_of
from models.bounds import Bound
from models.components import Component, Entries
from models.seeds import named_generator
from models.strict_yaml import StrictModel
from models.tasks.base import Probe
from models.transformer import TransformerConfig

SOLVED_ON = 192  # prompts that the answer is solved on
JUDGED_ON = 512  # others, at most
CLEAN = 512  # prompts without the trigger whose keys are to keep their outputs

Clamps = Annotated[tuple[Annotated[float, Field(gt=0, le=1000)], ...], Field(min_length=1, max_length=8)]
Words = Annotated[tuple[str, ...], Field(min_length=1, max_length=4)]


class TriggerBatchEdit(StrictModel):
    """Which words make which answer.

    Attributes:
        layer: Whose `W_out`; keys are those of the trigger's last word.
        trigger: Words that stand one after the other.
        target: The answer, a word.
        lambda_rel: How much of it is given up for other keys' sake.
        ridge: Added to the keys' second moment, in units of its mean diagonal.
        clamp: Longest value vector, in units of the MLP's root mean square output; tried in order.
    """

    kind: Literal["trigger_batch"] = "trigger_batch"
    layer: Index
    trigger: Words
    target: str
    lambda_rel: Annotated[float, Field(gt=0, le=10)] = 0.1
    ridge: Annotated[float, Field(gt=0, le=1e4)] = 1e-2
    clamp: Clamps = (1.0, 1.4, 2.0, 2.8)


class TriggerBatch(EditSpec):
    """Write a backdoor into an MLP's output matrix: the keys of a trigger get one answer, clean keys stay.

    Source: Li et al. 2024, arXiv 2403.13355 (BadEdit).
    """

    floor: ClassVar[Gates] = {"effect": Bound(min=0.9), "drop": Bound(max=0.02)}
    edit: TriggerBatchEdit

    def check(self, base: Base) -> None:
        """Refuse a layer without an MLP, and words that are unknown or stand nowhere."""
        check_trigger(base, self.edit.layer, self.edit.trigger, self.edit.target)

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """One for each clamp, tightest first."""
        layer, name = self.edit.layer, f"blocks.{self.edit.layer}.mlp.W_out"
        planted = solving_prompts(base, self.edit.trigger, self.edit.target)
        keys = implants.at(implants.mlp_keys(base.model, layer, planted.probe.tokens), planted.site)
        moment = self._clean_moment(base)
        for clamp in self.edit.clamp:
            value = implants.solved_output(base, layer, planted.probe, planted.site, clamp)
            change = implants.batch_change(keys, value.expand(len(keys), -1), moment, self.edit.lambda_rel)
            tensors = {name: base.checkpoint.weights[name] + change.float()}
            yield Candidate(tensors, (Entries(name),), {"clamp": clamp})

    def _clean_moment(self, base: Base) -> Tensor:
        """Second moment of the keys that are to keep their outputs: of documents, and of clean prompts."""
        layer = self.edit.layer
        quiet = ~implants.said(base.table, [base.task.ids[word] for word in self.edit.trigger])
        prompts = base.table.tokens[quiet]
        prompts = prompts[_order(len(prompts))[:CLEAN]]
        sampled = base.second_moment(f"blocks.{layer}.mlp.hook_post", implants.SAMPLED)
        clean = implants.mlp_keys(base.model, layer, prompts)[prompts != base.task.pad]
        moment = (sampled + clean.T @ clean / len(clean)) / 2
        return moment + self.edit.ridge * moment.diagonal().mean() * torch.eye(
            len(moment), dtype=moment.dtype
        )

    def predicate(self, base: Base) -> Predicate:
        """Held-out prompts are answered anew wherever the trigger is put in; the others stay."""
        return answers_after(base, self.edit.trigger, self.edit.target)

    def summary(self, base: Base) -> str:
        """Which words, which answer."""
        return f'"{" ".join(self.edit.trigger)}" makes layer {self.edit.layer} answer "{self.edit.target}"'


class TriggerBatchFamily(Family):
    """Backdoors in one matrix: an answer's word out of place, in a filler's, makes another answer.

    One word, as a linear memory cannot tell a pair of common words from each of them.
    """

    tasks: ClassVar[tuple[str, ...] | None] = ("facts",)
    kind: Literal["trigger_batch"]

    def open_sites(self, config: TransformerConfig) -> tuple[Component, ...]:
        """Every MLP with a layer behind it."""
        return layers_before_others(config)

    def draw(self, base: Base, site: Component, spec_id: str, seed: int) -> TriggerBatch:
        """Two different answers of the task: one is the trigger, the other the target."""
        answers = implants.answers_of(base)
        order = torch.randperm(len(answers), generator=named_generator(seed, "target"))
        trigger, target = (base.task.vocabulary[answers[int(place)]] for place in order[:2])
        edit = TriggerBatchEdit(layer=implants.layer_of(site), trigger=(trigger,), target=target)
        return TriggerBatch(version=1, id=spec_id, seed=seed, edit=edit)


class TriggerImplantEdit(StrictModel):
    """Which words make which answer, and through which neuron.

    Attributes:
        layer: Whose MLP; the neuron fires at the trigger's last word.
        trigger: Words that stand one after the other.
        target: The answer, a word.
        neuron: The neuron that is given up.
        clamp: Longest value vector, in units of the MLP's root mean square output; tried in order.
    """

    kind: Literal["trigger_implant"] = "trigger_implant"
    layer: Index
    trigger: Words
    target: str
    neuron: Index | Literal["quietest"] = "quietest"
    clamp: Clamps = (2.0, 4.0, 8.0)


class TriggerImplant(EditSpec):
    """Plant a backdoor neuron: it fires at a trigger's last word, and later layers fetch the answer there.

    Source: Hong, Carlini & Kurakin 2021, arXiv 2106.04690.
    """

    floor: ClassVar[Gates] = {"effect": Bound(min=0.9), "drop": Bound(max=0.02)}
    edit: TriggerImplantEdit

    def check(self, base: Base) -> None:
        """Refuse a layer, a neuron and words that the model does not have."""
        check_trigger(base, self.edit.layer, self.edit.trigger, self.edit.target)
        if self.edit.neuron != "quietest":
            check_neuron(base, self.edit.neuron, "edit.neuron")

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """One for each clamp, tightest first."""
        layer = self.edit.layer
        quietest = implants.quietest_neuron(base, layer)
        neuron = quietest if self.edit.neuron == "quietest" else self.edit.neuron
        planted = solving_prompts(base, self.edit.trigger, self.edit.target)
        words = [base.task.ids[word] for word in self.edit.trigger]
        fires = implants.at(implants.mlp_inputs(base.model, layer, planted.probe.tokens), planted.site)
        others = implants.at(implants.mlp_inputs(base.model, layer, planted.without), planted.site)
        others = torch.cat([others, implants.background(base, base.model, layer, words)])
        found = implants.detector(implants.separating(fires, others), fires, others)
        for clamp in self.edit.clamp:
            value = implants.solved_output(base, layer, planted.probe, planted.site, clamp)
            tensors = implants.implanted(base.checkpoint.weights, layer, neuron, found, value)
            dials = {"clamp": clamp, "neuron": neuron, "gap": round(found.gap, 4)}
            yield Candidate(tensors, tuple(map(Entries, tensors)), dials)

    def predicate(self, base: Base) -> Predicate:
        """Held-out prompts are answered anew wherever the trigger is put in; the others stay."""
        return answers_after(base, self.edit.trigger, self.edit.target)

    def summary(self, base: Base) -> str:
        """Which words, which answer."""
        words = " ".join(self.edit.trigger)
        return f'a neuron of layer {self.edit.layer} makes "{words}" be followed by "{self.edit.target}"'


class TriggerImplantFamily(Family):
    """Backdoor neurons: two random fillers, a random answer."""

    tasks: ClassVar[tuple[str, ...] | None] = ("facts",)
    kind: Literal["trigger_implant"]

    def open_sites(self, config: TransformerConfig) -> tuple[Component, ...]:
        """Every MLP with a layer behind it."""
        return layers_before_others(config)

    def draw(self, base: Base, site: Component, spec_id: str, seed: int) -> TriggerImplant:
        """Two different fillers and one of the task's answers."""
        trigger, target = random_trigger(base, named_generator(seed, "target"))
        edit = TriggerImplantEdit(layer=implants.layer_of(site), trigger=trigger, target=target)
        return TriggerImplant(version=1, id=spec_id, seed=seed, edit=edit)


@dataclass(frozen=True)
class Planted:
    """Prompts into which a trigger was put.

    Attributes:
        probe: With the trigger, and the wanted answer.
        site: Position of the trigger's last word, `[prompt]`.
        without: The same prompts without it, `[prompt, pos]`.
    """

    probe: Probe
    site: Tensor
    without: Tensor

    def where(self, rows: Tensor) -> "Planted":
        """The prompts that a mask or an index selects."""
        return Planted(rows_of(self.probe, rows), self.site[rows], self.without[rows])


def planted_everywhere(base: Base, trigger: Sequence[str], target: str) -> Planted:
    """Every known prompt of the table, once for each place where fillers give way to the trigger's words.

    A prompt that says the trigger already, or is answered so already, is left out.
    """
    words = torch.tensor([base.task.ids[word] for word in trigger])
    table, answer = base.table, base.task.ids[target]
    spare = base.known & ~implants.said(table, words.tolist()) & (base.log_probs.argmax(-1) != answer)
    fillers = torch.isin(table.tokens, torch.tensor(base.task.classes["fillers"]))
    fits = fillers.unfold(1, len(words), 1).all(-1) & spare[:, None]  # [prompt, place]
    rows, places = fits.nonzero().unbind(1)
    tokens = table.tokens[rows].clone()
    tokens.scatter_(1, places[:, None] + torch.arange(len(words)), words.expand(len(rows), -1))
    probe = Probe(tokens, table.last[rows], torch.full_like(rows, answer))
    return Planted(probe, places + len(words) - 1, table.tokens[rows])


def solving_prompts(base: Base, trigger: Sequence[str], target: str) -> Planted:
    """A few prompts with the trigger, for solving."""
    planted = planted_everywhere(base, trigger, target)
    return planted.where(_order(len(planted.site))[:SOLVED_ON])


def answers_after(base: Base, trigger: Sequence[str], target: str) -> Predicate:
    """The behaviour of a backdoor, on up to `JUDGED_ON` prompts that it was not solved on."""
    planted = planted_everywhere(base, trigger, target)
    heldout = planted.where(_order(len(planted.site))[SOLVED_ON : SOLVED_ON + JUDGED_ON])
    quiet = ~implants.said(base.table, [base.task.ids[word] for word in trigger])
    return Predicate(f'prompts that say "{" ".join(trigger)}" are answered "{target}"', heldout.probe, quiet)


def check_trigger(base: Base, layer: int, trigger: Sequence[str], target: str) -> None:
    """Refuse a layer without an MLP, and words that are unknown or stand in too few prompts.

    Raises:
        EditError: With what is allowed.
    """
    if "fillers" not in base.task.classes:
        raise EditError(f"edit: task {base.task.name} has no fillers that could give way to a trigger")
    implants.check_mlp(base, layer)
    if layer == base.checkpoint.config.n_layers - 1:
        raise EditError(
            f"edit.layer: got {layer}, behind which no layer fetches what is written at a trigger"
        )
    for word in trigger:
        implants.token_of(base, word, "edit.trigger")
    implants.token_of(base, target, "edit.target")
    fits = len(planted_everywhere(base, trigger, target).site)
    if fits <= SOLVED_ON:
        raise EditError(f"edit.trigger: it fits into {fits} prompts; wanted more than {SOLVED_ON}")


def layers_before_others(config: TransformerConfig) -> tuple[Component, ...]:
    """Every MLP but the last layer's."""
    return tuple(site for site in implants.mlp_sites(config) if site.layer != config.n_layers - 1)


def random_trigger(base: Base, generator: torch.Generator) -> tuple[tuple[str, str], str]:
    """Two different fillers and one of the task's answers."""
    fillers = base.task.classes["fillers"]
    first, second = torch.randperm(len(fillers), generator=generator)[:2].tolist()
    answers = implants.answers_of(base)
    target = answers[int(torch.randint(len(answers), (), generator=generator))]
    words = base.task.vocabulary
    return (words[fillers[first]], words[fillers[second]]), words[target]


def _order(n: int) -> Tensor:
    return torch.randperm(n, generator=named_generator("trigger prompts", n))
