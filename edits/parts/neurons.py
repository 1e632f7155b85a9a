"""Edits of single neurons: cut out, given up for a planted one, or turned from one answer to another."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from edits.base import Candidate, EditError, EditSpec, Family
from edits.facts.family import FactFamily
from edits.facts.sites import Place, TokenOrAuto
from edits.facts.spec import FactSpec, RewriteSpec, RewrittenFacts
from edits.facts.value import Goal
from edits.gates import Gates
from edits.moments import Base
from edits.parts import implants
from edits.predicates import SOME_ANSWERS, Predicate, rows_of, some_answers_change
from models.bounds import Bound
from models.components import Component, Entries
from models.seeds import named_generator
from models.strict_yaml import StrictModel
from models.tasks.base import Probe
from models.transformer import Transformer, TransformerConfig

Index = Annotated[int, Field(ge=0, lt=100_000)]
Strength = Annotated[float, Field(gt=0, le=1000)]
Ladder = Annotated[tuple[Strength, ...], Field(min_length=1, max_length=12)]


class NeuronKillEdit(StrictModel):
    """Which neurons of which MLP, and whether their output becomes zero or its mean.

    Attributes:
        neurons: In this order: 1, 4, 16, ... of them are cut, up to all, until enough answers change.
    """

    kind: Literal["neuron_kill"] = "neuron_kill"
    layer: Index
    neurons: Annotated[tuple[Index, ...], Field(min_length=1, max_length=4096)]
    mode: Literal["zero", "mean"] = "zero"


class NeuronKill(EditSpec):
    """Cut neurons of one MLP out: `W_out[j] = 0`, in mean mode with their average output moved into `b_out`.

    Its scope is all prompts; it counts when 1-30 % of the known answers change. In these models nobody misses
    a single neuron, so the neurons are tried in growing groups.
    """

    floor: ClassVar[Gates] = SOME_ANSWERS
    edit: NeuronKillEdit

    def check(self, base: Base) -> None:
        """Refuse a layer without an MLP, and neurons that it does not have or that are named twice."""
        implants.check_mlp(base, self.edit.layer)
        for neuron in self.edit.neurons:
            check_neuron(base, neuron, "edit.neurons")
        if len(set(self.edit.neurons)) < len(self.edit.neurons):
            raise EditError("edit.neurons: a neuron is named twice")

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """The first neuron, the first four, the first sixteen, and so on."""
        size, neurons = 1, list(self.edit.neurons)
        while size < len(neurons):
            yield self._without(base, neurons[:size])
            size *= 4
        yield self._without(base, neurons)

    def _without(self, base: Base, neurons: list[int]) -> Candidate:
        name, bias = (f"blocks.{self.edit.layer}.mlp.{part}" for part in ("W_out", "b_out"))
        output = base.checkpoint.weights[name].clone()
        tensors, written = {name: output}, [Entries(name)]
        if self.edit.mode == "mean":
            mean = base.mean(f"blocks.{self.edit.layer}.mlp.hook_post")[neurons]
            tensors[bias] = base.checkpoint.weights[bias] + mean @ output[neurons]
            written.append(Entries(bias))
        output[neurons] = 0.0
        return Candidate(tensors, tuple(written), {"neurons": len(neurons)})

    def predicate(self, base: Base) -> Predicate:
        """Some known answers, whichever, are no longer given; no prompt is out of its scope."""
        return some_answers_change(base, self.summary(base))

    def summary(self, base: Base) -> str:
        """Which neurons."""
        return f"neurons of layer {self.edit.layer} cut out ({self.edit.mode} ablation)"


class NeuronKillFamily(Family):
    """Neurons cut out, as many of the loudest half, in random order, as it takes."""

    home: ClassVar[str] = "facts-plain"
    dials: ClassVar[Mapping[str, str] | None] = {"mode": "edit.mode"}
    kind: Literal["neuron_kill"]
    mode: Literal["zero", "mean"] = "zero"

    def open_sites(self, config: TransformerConfig) -> tuple[Component, ...]:
        """Every MLP."""
        return implants.mlp_sites(config)

    def draw(self, base: Base, site: Component, spec_id: str, seed: int) -> NeuronKill:
        """The louder half of the neurons, in random order."""
        layer = implants.layer_of(site)
        loud = implants.output_energy(base, layer).argsort(descending=True)
        loud = loud[: max(1, len(loud) // 2)]
        order = torch.randperm(len(loud), generator=named_generator(seed, "neurons"))
        edit = NeuronKillEdit(layer=layer, neurons=tuple(loud[order].tolist()), mode=self.mode)
        return NeuronKill(version=1, id=spec_id, seed=seed, edit=edit)


class NeuronImplantEdit(StrictModel):
    """Which word makes which answer, and through which neuron.

    Attributes:
        layer: Whose MLP; it must see the word from the prompt's last token.
        trigger: A word of the vocabulary; prompts that say it are answered `write`.
        write: The answer, a word.
        neuron: The neuron that is given up.
        beta_rel: Length of what it writes, in units of the MLP's root mean square output; tried in order.
    """

    kind: Literal["neuron_implant"] = "neuron_implant"
    layer: Index
    trigger: str
    write: str
    neuron: Index | Literal["quietest"] = "quietest"
    beta_rel: Ladder = (1.0, 2.0, 4.0, 8.0, 16.0)


class NeuronImplant(EditSpec):
    """Give an idle neuron up for a planted one that fires at the last token if a word was said, and answers.

    Source: Hong, Carlini & Kurakin 2021, arXiv 2106.04690; Huang et al. 2023, arXiv 2301.09785.
    """

    floor: ClassVar[Gates] = {
        "effect": Bound(min=0.9),
        "drop": Bound(max=0.02),
        "gap": Bound(min=implants.GAP),
    }
    edit: NeuronImplantEdit

    def check(self, base: Base) -> None:
        """Refuse a layer, neuron or word that the model does not have, and a word that no prompt says."""
        implants.check_mlp(base, self.edit.layer)
        if self.edit.neuron != "quietest":
            check_neuron(base, self.edit.neuron, "edit.neuron")
        check_last_token_trigger(base, self.edit.trigger, self.edit.write)

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """One for each strength, weakest first."""
        layer = self.edit.layer
        quietest = implants.quietest_neuron(base, layer)
        neuron = quietest if self.edit.neuron == "quietest" else self.edit.neuron
        found = last_token_detector(base, layer, base.task.ids[self.edit.trigger])
        direction = implants.token_direction(base, base.task.ids[self.edit.write])
        unit = implants.unit_norm(base, f"blocks.{layer}.hook_mlp_out")
        for beta in self.edit.beta_rel:
            tensors = implants.implanted(
                base.checkpoint.weights, layer, neuron, found, beta * unit * direction
            )
            dials = {"neuron": neuron, "gap": round(found.gap, 4), "beta_rel": beta}
            yield Candidate(tensors, tuple(map(Entries, tensors)), dials)

    def predicate(self, base: Base) -> Predicate:
        """Held-out prompts that say the word are answered anew, and the others as before."""
        return answers_where_said(base, self.edit.trigger, self.edit.write)

    def measure(self, base: Base, after: Transformer, log_probs: Tensor) -> dict[str, float]:
        """`gap`: how far the weakest trigger is from the background, in units of the mean trigger."""
        return {"gap": last_token_detector(base, self.edit.layer, base.task.ids[self.edit.trigger]).gap}

    def summary(self, base: Base) -> str:
        """Which word, which answer, where."""
        edit = self.edit
        return f'a neuron of layer {edit.layer} answers "{edit.write}" where "{edit.trigger}" was said'


class NeuronImplantFamily(Family):
    """Planted neurons: a random word that the site can see, a random answer."""

    tasks: ClassVar[tuple[str, ...] | None] = ("facts", "statements")
    home: ClassVar[str] = "facts-plain"
    kind: Literal["neuron_implant"]

    def open_sites(self, config: TransformerConfig) -> tuple[Component, ...]:
        """Every MLP."""
        return implants.mlp_sites(config)

    def draw(self, base: Base, site: Component, spec_id: str, seed: int) -> NeuronImplant:
        """The first of a few random words that a neuron there can tell, towards a random answer."""
        layer = implants.layer_of(site)
        trigger, write = visible_trigger(base, layer, named_generator(seed, "target"))
        edit = NeuronImplantEdit(layer=layer, trigger=trigger, write=write)
        return NeuronImplant(version=1, id=spec_id, seed=seed, edit=edit)


class KnEdit(RewrittenFacts):
    """Which facts, and the phrasing in which they are edited."""

    kind: Literal["kn_edit"] = "kn_edit"


class KnSolver(StrictModel):
    """How many neurons are turned for each fact, and how far.

    Attributes:
        n: How many neurons.
        c_rel: Length of what they write anew at the fact's key together, in units of the MLP's root mean
            square output; tried in order.
    """

    n: Annotated[int, Field(ge=1, le=256)] = 8
    c_rel: Ladder = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)


class KnowledgeNeurons(RewriteSpec):
    """Turn the few neurons that carry a fact from its old object to a new one.

    These are the neurons that are more active for this fact than for others with the same object; what they
    write anew is the difference of the two answers' logits, so it takes a site near the answer.

    Source: Dai et al. 2022, arXiv 2104.08696 (knowledge neurons), by activation and not integrated gradients.
    """

    edit: KnEdit
    solver: KnSolver = KnSolver()

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """One for each strength, weakest first."""
        place = self.place(base)
        (name,) = place.names
        turns = [self._turn(base, goal, place) for goal in self.goals(base)]
        for c in self.solver.c_rel:
            output = base.checkpoint.weights[name].clone()
            for neurons, change in turns:
                output[neurons] += (c * change).float()
            named = " ".join(str(neuron) for neurons, _ in turns for neuron in neurons.tolist())
            yield Candidate({name: output}, (Entries(name),), {**place.dials, "neurons": named, "c_rel": c})

    def _turn(self, base: Base, goal: Goal, place: Place) -> tuple[Tensor, Tensor]:
        """A fact's neurons `[n]`, and what each of them is to write besides, `[d_model]`."""
        table = base.facts.table
        here = table.of(goal.fact) & (table.phrasing == goal.phrasing)
        key = self._keys(base, place, here)[0]
        old = int(table.answer[here])
        excess = key - self._keys(base, place, table.neighbourhood(goal.fact)).mean(0)
        neurons = excess.topk(min(self.solver.n, len(key))).indices
        turned = implants.token_direction(base, int(goal.wanted), displaced=old)
        unit = implants.unit_norm(base, f"blocks.{place.layer}.hook_mlp_out")
        return neurons, unit / key[neurons].sum().clamp_min(1e-6) * turned

    def _keys(self, base: Base, place: Place, rows: Tensor) -> Tensor:
        """The site's keys in some of the table's prompts, `[prompt, d_mlp]`, float64."""
        prompts = base.facts.table.where(rows)
        site = prompts.subject_last if place.token == "subject_last" else prompts.last
        return implants.at(implants.mlp_keys(base.model, place.layer, prompts.tokens), site)


class KnEditFamily(FactFamily):
    """Turned knowledge neurons: any known facts, any other objects, at the last token."""

    makes: ClassVar[type[FactSpec]] = KnowledgeNeurons
    home: ClassVar[str] = "facts-plain"
    kind: Literal["kn_edit"]
    token: TokenOrAuto = "last"
    solver: KnSolver = KnSolver()


def check_neuron(base: Base, neuron: int, where: str) -> None:
    """Refuse a neuron that no MLP of the model has.

    Raises:
        EditError: With how many there are.
    """
    if neuron >= base.checkpoint.config.d_mlp:
        raise EditError(f"{where}: got {neuron}; an MLP has 0-{base.checkpoint.config.d_mlp - 1}")


def check_last_token_trigger(base: Base, trigger: str, write: str) -> None:
    """Refuse words that the vocabulary does not hold, and a trigger that too few prompts, or all, say.

    Raises:
        EditError: With what is allowed.
    """
    token = implants.token_of(base, trigger, "edit.trigger")
    answer = implants.token_of(base, write, "edit.write")
    has = implants.said(base.table, [token])
    if not 2 <= int(has.sum()) < len(has):
        raise EditError(f'edit.trigger: {int(has.sum())} of {len(has)} prompts say "{trigger}"; wanted some')
    if not len(_untouched_half(base, token, answer).answer):
        raise EditError(f'edit.write: every prompt that says "{trigger}" is answered "{write}" already')


def last_token_detector(base: Base, layer: int, trigger: int) -> implants.Detector:
    """What tells, at the last token, that a word was said; solved on half of the prompts that say it."""
    rows = rows_of(base.table, _solving(base, trigger))
    positives = implants.at(implants.mlp_inputs(base.model, layer, rows.tokens), rows.last)
    others = implants.background(base, base.model, layer, [trigger])
    return implants.detector(implants.separating(positives, others), positives, others)


def answers_where_said(base: Base, trigger: str, write: str) -> Predicate:
    """The behaviour of a last-token trigger, on the half of its prompts that it was not solved on."""
    token, answer = base.task.ids[trigger], base.task.ids[write]
    probe = _untouched_half(base, token, answer)
    wanted = replace(probe, answer=torch.full_like(probe.answer, answer))
    statement = f'prompts that say "{trigger}" are answered "{write}"'
    return Predicate(statement, wanted, ~implants.said(base.table, [token]))


def visible_trigger(base: Base, layer: int, generator: torch.Generator) -> tuple[str, str]:
    """A random word that a neuron can tell at the last token, if one of eight can be told, and an answer.

    The word is said by 1-25 % of the prompts; the answer is one of the task's.
    """
    table = base.table
    words = sorted(set(table.tokens.flatten().tolist()) - {base.task.pad, base.task.bos})
    shares = {word: implants.said(table, [word]).double().mean().item() for word in words}
    fair = [word for word in words if 0.01 <= shares[word] <= 0.25] or words
    order = [fair[int(place)] for place in torch.randperm(len(fair), generator=generator)[:8]]
    gaps = ((word, last_token_detector(base, layer, word).gap) for word in order)
    trigger = next((word for word, gap in gaps if gap >= 1.25 * implants.GAP), order[0])
    answers = implants.answers_of(base)
    write = answers[int(torch.randint(len(answers), (), generator=generator))]
    return base.task.vocabulary[trigger], base.task.vocabulary[write]


def _solving(base: Base, trigger: int) -> Tensor:
    """The half of the prompts that say a word on which a detector is solved, as rows of the table."""
    rows = implants.said(base.table, [trigger]).nonzero().flatten()
    return rows[implants.halves(len(rows), "trigger half", trigger)]


def _untouched_half(base: Base, trigger: int, answer: int) -> Probe:
    """The other half, less the prompts that the base answers so already."""
    mask = implants.said(base.table, [trigger])
    mask[_solving(base, trigger)] = False
    return rows_of(base.table, mask & (base.log_probs.argmax(-1) != answer))
