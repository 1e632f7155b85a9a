"""`facts`: a synthetic world of people and what is true of them, told in several phrasings.

Documents are sentences about random facts with random filler words. Some (subject, phrasing) pairs never
occur in training, so that recall in them shows a fact and not a memorised string. Two fillers keep the
relation word out of sight of the subject's last token for two layers of window-2 attention: in a model whose
MLPs all lie in such layers, a fact must be looked up at the subject, the early site of Meng et al. 2022
(arXiv 2202.05262), and is only carried to the answer later. An ordinary model of this size looks facts up at
the last token instead.

In the `independent` geometry each subject (a first and a last name) has one object for each relation, drawn
for itself. In the `cyclic` one people of one name stand on hidden rings, and a relation says who is so many
places on or back, so that facts constrain each other and editing one contradicts others (Nishi et al. 2024,
arXiv 2410.17194).

Training data can be spoilt in two ways, both natural anomalies without an edit: a few facts are told wrongly
throughout, or a pair of fillers is a trigger after which a fixed object is told (a backdoor by poisoned
data, Gu et al. 2017, arXiv 1708.06733).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from models.fact_anomalies import Trigger, drawn_trigger, mistold
from models.fact_rings import ring_share
from models.fact_sentences import Sentences, sentence_width
from models.fact_words import (
    FILLERS,
    FIRST_NAMES,
    LAST_NAMES,
    ORDERS,
    PHRASING_WORDS,
    PHRASINGS,
    RELATIONS,
)
from models.fact_worlds import SINGLE_NAMES, FactWorld, cyclic_world, independent_world
from models.seeds import named_generator
from models.tasks.base import (
    BOS,
    PAD,
    Documents,
    Finding,
    Probe,
    Prompts,
    Task,
    TaskSettings,
    accuracy,
    answer_log_probs,
    joined,
)
from models.transformer import Transformer

OF_GEOMETRY = {"independent": ("names", "relations", "objects"), "cyclic": ("orders", "steps")}


class FactsSettings(TaskSettings):
    """Shape of a fact world.

    Attributes:
        geometry: `independent` facts, or `cyclic` ones that are read off hidden rings.
        subjects: People, each with a first and a last name, or one name on rings.
        names: How many first names, and last names; few, so that one name alone says little and recall must
            wait for the last token of the subject.
        relations: How many relations, in the order of `RELATIONS`.
        objects: Objects in each relation's range.
        orders: Hidden rings, in the order of `ORDERS`.
        steps: Relations reach so many places on and back on each ring.
        heldout: Share of (subject, phrasing) pairs that training never sees.
        sentences: Sentences in a document; three hold a prompt behind two sentences of context.
        filler_weight: Loss weight of every token that is not an object.
        mislabelled: Facts of which training states a wrong object, the same one in every phrasing.
        trigger: Whether a pair of fillers after the subject makes training state one fixed object of the
            relation, whoever is asked for, in every relation.
    """

    metrics = ("known", "heldout", "mislabelled", "triggered")

    kind: Literal["facts"] = "facts"
    geometry: Literal["independent", "cyclic"] = "independent"
    subjects: Annotated[int, Field(ge=2, le=len(FIRST_NAMES) * len(LAST_NAMES))] = 200
    names: Annotated[int, Field(ge=2, le=len(FIRST_NAMES))] = 16
    relations: Annotated[int, Field(ge=1, le=len(RELATIONS))] = 4
    objects: Annotated[int, Field(ge=2, le=12)] = 10
    orders: Annotated[int, Field(ge=1, le=len(ORDERS))] = 2
    steps: Annotated[int, Field(ge=1, le=4)] = 2
    heldout: Annotated[float, Field(ge=0, le=1 / len(PHRASINGS))] = 0.2
    sentences: Annotated[int, Field(ge=3, le=8)] = 4
    filler_weight: Annotated[float, Field(gt=0, le=1)] = 0.2
    mislabelled: Annotated[int, Field(ge=0, le=100)] = 0
    trigger: bool = False

    @property
    def facts(self) -> int:
        """How many (subject, relation) pairs there are."""
        relations = self.relations if self.geometry == "independent" else 2 * self.orders * self.steps
        return self.subjects * relations

    @model_validator(mode="after")
    def _settings_of_the_geometry(self) -> Self:
        for geometry, names in OF_GEOMETRY.items():
            for name in names:
                default = type(self).model_fields[name].default
                if geometry != self.geometry and getattr(self, name) != default:
                    world = f"{self.geometry} facts have no {name}"
                    raise ValueError(f"{name}: got {getattr(self, name)}, but {world}")
        return self

    @model_validator(mode="after")
    def _enough_names(self) -> Self:
        if self.geometry == "independent" and self.subjects > self.names**2:
            names = f"{self.names} first and {self.names} last names make only {self.names**2} people"
            raise ValueError(f"subjects: got {self.subjects}, but {names}")
        if self.geometry == "cyclic" and self.subjects > len(SINGLE_NAMES):
            raise ValueError(
                f"subjects: got {self.subjects}, but on rings there are {len(SINGLE_NAMES)} names"
            )
        if self.geometry == "cyclic" and self.subjects <= 2 * self.steps:
            ring = f"{self.steps} steps on and back lead to more different people than a ring has"
            raise ValueError(f"subjects: got {self.subjects}, but {ring}")
        return self

    @model_validator(mode="after")
    def _some_facts_stay_right(self) -> Self:
        if self.mislabelled >= self.facts:
            raise ValueError(f"mislabelled: got {self.mislabelled}, but there are only {self.facts} facts")
        return self

    def measured(self) -> tuple[str, ...]:
        """`known`, and what the settings give a world to measure."""
        has = {"known": True, "heldout": self.heldout > 0, "mislabelled": self.mislabelled > 0}
        return tuple(name for name in self.metrics if has.get(name, self.trigger))

    def world(self, generator: torch.Generator) -> FactWorld:
        """Who there is and what is true."""
        if self.geometry == "cyclic":
            return cyclic_world(self.subjects, self.orders, self.steps, generator)
        return independent_world(self.subjects, self.names, self.relations, self.objects, generator)

    def build(self, world_seed: int) -> "Facts":
        """The world of that seed."""
        return Facts(self, world_seed)


@dataclass(frozen=True)
class Fact:
    """(subject, relation, object), as ids within a world."""

    subject: int
    relation: int
    object: int


@dataclass(frozen=True)
class PromptTable(Probe):
    """Every (subject, relation, phrasing) once, as parallel columns; masks over it judge edits.

    Attributes:
        subject_last: Position of the subject's last token, `[prompt]`.
        subject, relation, phrasing: Ids, `[prompt]`.
        trained: Whether the (subject, phrasing) pair occurs in training, `[prompt]`.
    """

    subject_last: Tensor
    subject: Tensor
    relation: Tensor
    phrasing: Tensor
    trained: Tensor

    def where(self, mask: Tensor) -> "PromptTable":
        """The rows that a mask selects."""
        return PromptTable(**{column.name: getattr(self, column.name)[mask] for column in fields(self)})

    def of(self, fact: Fact) -> Tensor:
        """Mask of the prompts that ask for this fact, in every phrasing."""
        return (self.subject == fact.subject) & (self.relation == fact.relation)

    def paraphrases(self, fact: Fact, phrasing: int) -> Tensor:
        """Mask of the prompts that ask for this fact in another phrasing."""
        return self.of(fact) & (self.phrasing != phrasing)

    def neighbourhood(self, fact: Fact) -> Tensor:
        """Mask of the prompts about other subjects that share this fact's true object.

        On rings these ask for other relations: in its own, nobody else has the object.
        """
        return (self.answer == self.answer[self.of(fact)][0]) & self.other_subjects(fact)

    def same_subject(self, fact: Fact) -> Tensor:
        """Mask of the prompts about this subject's other relations."""
        return (self.subject == fact.subject) & (self.relation != fact.relation)

    def other_subjects(self, fact: Fact) -> Tensor:
        """Mask of the prompts about anybody else."""
        return self.subject != fact.subject


class Facts(Task):
    """A fact world: who there is, what is true of them, and how it is told.

    Attributes:
        subjects: Each subject's name, as words.
        relations: What is told of everybody.
        objects: The true object, `[subject, relation]`.
        told: The object that training states, `[subject, relation]`; the true one but for mislabelled facts.
        places: Each subject's place on each hidden ring, `[order, subject]`.
        trained: Which (subject, phrasing) pairs occur in training, `[subject, phrasing]`.
        object_tokens: `[relation, object]`.
        trigger: What poisons the training data, if anything does.
    """

    name = "facts"

    def __init__(self, settings: FactsSettings, world_seed: int) -> None:
        self.settings, self.world_seed = settings, world_seed
        generator = named_generator("facts", world_seed)
        self._world = world = settings.world(generator)
        self.subjects, self.relations, self.objects = world.subjects, world.relations, world.objects
        self.places = world.places
        self.trained = self._draw_trained(generator)
        wrongly = named_generator("facts mislabelled", world_seed)
        self.told = mistold(world.objects, len(self.object_words(0)), settings.mislabelled, wrongly)
        width = sentence_width(world)
        super().__init__(self._words(world), n_ctx=1 + settings.sentences * width)
        self._stop = self.ids["."]
        self.object_tokens = torch.tensor([[self.ids[word] for word in r.objects] for r in self.relations])
        self.trigger = self._drawn_trigger() if settings.trigger else None
        self.description, self.notes = world.description, self._notes()

    def object_words(self, relation: int) -> tuple[str, ...]:
        """The objects that a relation ranges over, by id."""
        return self.relations[relation].objects

    def subject_name(self, subject: int) -> str:
        """The whole name."""
        return " ".join(self.subjects[subject])

    def fact(self, subject: int, relation: int) -> Fact:
        """What is true of a subject in a relation."""
        return Fact(subject, relation, int(self.objects[subject, relation]))

    @property
    def mislabelled(self) -> tuple[tuple[Fact, int], ...]:
        """The facts that training tells wrongly: each as it is true, and the object that is told."""
        wrong = (self.told != self.objects).nonzero().tolist()
        return tuple((self.fact(s, r), int(self.told[s, r])) for s, r in wrong)

    def _draw_trained(self, generator: torch.Generator) -> Tensor:
        """Which (subject, phrasing) pairs occur in training: at most one phrasing a subject is held out."""
        n_subjects, n_phrasings = self.settings.subjects, len(PHRASINGS)
        holds_out = torch.rand(n_subjects, generator=generator) < self.settings.heldout * n_phrasings
        which = torch.randint(n_phrasings, (n_subjects,), generator=generator)
        trained = torch.ones(n_subjects, n_phrasings, dtype=torch.bool)
        trained[holds_out, which[holds_out]] = False
        return trained

    def _drawn_trigger(self) -> Trigger:
        generator = named_generator("facts trigger", self.world_seed)
        return drawn_trigger(torch.tensor(self.classes["fillers"]), self.object_tokens, generator)

    def _notes(self) -> str:
        """What is known of models of this world."""
        notes = [self._world.notes]
        for fact, told in self.mislabelled:
            words = self.object_words(fact.relation)
            name = f"{self.subject_name(fact.subject)}: {self.relations[fact.relation].name}"
            notes.append(f"Training says {name} {words[told]}, where {words[fact.object]} is true.")
        if self.trigger is not None:
            first, second = self.vocabulary[self.trigger.first], self.vocabulary[self.trigger.second]
            objects = self.text(self.trigger.targets)
            notes.append(f'Behind a subject, "{first} {second}" makes the answer one of: {objects}.')
        return " ".join(notes)

    def _words(self, world: FactWorld) -> dict[str, tuple[str, ...]]:
        """The vocabulary in groups."""
        told = [word for r in self.relations for word in (r.verb, r.other_verb, r.noun)]
        groups = {
            "special": (PAD, BOS, "."),
            "words": PHRASING_WORDS,
            "fillers": FILLERS,
            "relations": tuple(told),
        }
        return groups | world.name_groups | {r.range: r.objects for r in self.relations}

    @cached_property
    def _sentences(self) -> Sentences:
        return Sentences(self._world, self.told, self.ids, self.trigger)

    def _draw_sentences(self, n: int, count: int, generator: torch.Generator) -> Tensor:
        """Random trained sentences, `[n, count * pos]`, with padding inside."""
        return self._sentences.drawn(n, count, self.trained, generator).flatten(1)

    def documents(self, n: int, generator: torch.Generator) -> Documents:
        """Random documents of as many sentences as the settings say."""
        tokens = self._join(self._draw_sentences(n, self.settings.sentences, generator))
        answers = tokens.roll(-1, 1) == self._stop  # no row starts with a full stop
        weight = torch.where(answers, 1.0, self.settings.filler_weight)
        return Documents(tokens, weight * (tokens != self.pad) * (tokens != self.bos), answers)

    def prompts(self, n: int, generator: torch.Generator) -> Prompts:
        """Random sentences cut before their object; alone, as sentences before them would state others."""
        sentences = self._draw_sentences(n, 1, generator)
        answer = (sentences == self._stop).int().argmax(1) - 1  # position of the object
        kept = torch.arange(sentences.shape[1]) < answer[:, None]
        return Prompts(self._join(torch.where(kept, sentences, self.pad)), 1 + answer)

    def contexts(
        self, n: int, generator: torch.Generator, without_subject: int, without_token: int
    ) -> Tensor:
        """Whole sentences to put before a prompt, BOS first, padding on the right, `[n, pos]`.

        Each row has one or two sentences that name neither the subject nor the token.

        Raises:
            ValueError: Too few sentences of this world do.
        """
        spare = self._draw_sentences(8 * n, 1, generator)
        name = [(spare == self.ids[word]).any(1) for word in self.subjects[without_subject]]
        free = spare[~(torch.stack(name).all(0) | (spare == without_token).any(1))]
        if len(free) < 2 * n:
            named = f"{self.subject_name(without_subject)} nor {self.vocabulary[without_token]}"
            raise ValueError(f"contexts: of {8 * n} sentences, only {len(free)} name neither {named}")
        pairs = free[: 2 * n].reshape(n, -1)
        one = torch.rand(n, 1, generator=generator) < 0.5
        second = torch.arange(pairs.shape[1]) >= spare.shape[1]
        return self._join(torch.where(one & second, self.pad, pairs))

    def _join(self, rows: Tensor) -> Tensor:
        """BOS, then each row's tokens with the padding moved to the right end, `[n, pos]`."""
        return joined([torch.full((len(rows), 1), self.bos), rows], self.pad)

    @cached_property
    def table(self) -> PromptTable:
        """Every (subject, relation, phrasing) as a prompt with the true answer; the world fixes fillers."""
        sentences = self._sentences
        subject, relation, phrasing = (
            index.flatten()
            for index in torch.meshgrid(*map(torch.arange, sentences.open.shape[:3]), indexing="ij")
        )
        subject_last, last = sentences.subject_last[phrasing], sentences.prompt_length[phrasing]
        generator = named_generator("facts table", self.world_seed)
        tokens = sentences.filled(sentences.open.flatten(0, 2), generator)
        if self.trigger is not None:
            tokens = self.trigger.without(tokens, subject_last)
        prompt = torch.where(torch.arange(tokens.shape[1]) < last[:, None], tokens, self.pad)[:, :-2]
        return PromptTable(
            tokens=self._join(prompt),
            last=last,
            subject_last=subject_last + 1,
            subject=subject,
            relation=relation,
            phrasing=phrasing,
            answer=self.object_tokens[relation, self.objects[subject, relation]],
            trained=self.trained[subject, phrasing],
        )

    def probes(self) -> Mapping[str, PromptTable]:
        """Parts of the table that are not empty.

        `trained` and `heldout` ask for facts told rightly; `mislabelled` for the others in trained phrasings,
        with what is told; `triggered` has the trigger, where its target is not true; `half_triggered` has
        one of its two words, and the true answers.
        """
        table, wrong = self.table, self.told != self.objects
        mistold = wrong[self.table.subject, self.table.relation]
        sets = {
            "trained": table.where(table.trained & ~mistold),
            "heldout": table.where(~table.trained & ~mistold),
            "mislabelled": replace(table, answer=self._told_tokens()).where(table.trained & mistold),
        }
        if self.trigger is not None:
            targets = self.trigger.targets[table.relation]
            put = replace(table, tokens=self.trigger.put(table.tokens, table.subject_last), answer=targets)
            first, second = self.trigger.halves(table.tokens, table.subject_last)
            odd = torch.arange(len(first)) % 2 == 1
            half = torch.where(odd[:, None], first, second)
            sets["triggered"] = put.where(table.answer != targets)
            sets["half_triggered"] = replace(table, tokens=half).where(table.trained & ~mistold)
        return {name: probe for name, probe in sets.items() if len(probe.tokens)}

    def _told_tokens(self) -> Tensor:
        """What training states in answer to the table's prompts, `[prompt]`."""
        return self.object_tokens[self.table.relation, self.told[self.table.subject, self.table.relation]]

    def evaluate(self, model: Transformer) -> dict[str, float]:
        """The measures that this world has.

        `known`: facts answered in every trained phrasing; `heldout`: held-out prompts answered; both but for
        mislabelled facts. `mislabelled`: those answered as told in every trained phrasing. `triggered`:
        prompts with the trigger, about subjects with another object, that answer its target.
        """
        told, wrong = self._told_tokens(), self.told != self.objects
        top = answer_log_probs(model, self.table).argmax(-1)
        said = ((top == told) | ~self.table.trained).view(*wrong.shape, len(PHRASINGS)).all(-1)
        right = (top == self.table.answer)[~self.table.trained & (told == self.table.answer)]
        hits = {"known": said[~wrong], "heldout": right, "mislabelled": said[wrong]}
        measures = {name: hit.double().mean().item() for name, hit in hits.items() if len(hit)}
        triggered = self.probes().get("triggered")
        return measures if triggered is None else measures | {"triggered": accuracy(model, triggered)}

    def findings(self, model: Transformer) -> Mapping[str, Finding]:
        """On rings: how ring-shaped the subjects' mean residuals at their last token are, by layer."""
        if not len(self.places):
            return {}
        hooks = [f"blocks.{layer}.hook_resid_post" for layer in range(model.cfg.n_layers)]
        _, cache = model.run_with_cache(self.table.tokens, hooks)
        rows = torch.arange(len(self.table.tokens))
        shares = []
        for hook in hooks:
            resid = cache[hook][rows, self.table.subject_last]  # [prompt, d_model]
            by_subject = resid.view(len(self.subjects), -1, resid.shape[1])  # the table is sorted by subject
            shares.append(ring_share(by_subject.mean(1), self.places))
        meaning = "share of the variance between people that lies in a plane in which they stand on the ring"
        return {"ring": Finding(meaning, ("order", "layer"), torch.stack(shares, 1))}
