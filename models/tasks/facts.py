"""`facts`: a synthetic world of people and what is true of them, told in several phrasings.

Each subject (a first and a last name) has one object for each relation, drawn independently. Documents are
sentences about random facts with random filler words. Some (subject, phrasing) pairs never occur in
training, so that recall in them shows a fact and not a memorised string. Two fillers keep the relation word
out of sight of the subject's last token for two layers of window-2 attention: in a model whose MLPs all lie
in such layers, a fact must be looked up at the subject, the early site of Meng et al. 2022 (arXiv
2202.05262), and is only carried to the answer later. An ordinary model of this size looks facts up at the
last token instead.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from models.seeds import named_generator
from models.tasks.base import (
    BOS,
    PAD,
    Documents,
    Probe,
    Prompts,
    Task,
    TaskSettings,
    answer_log_probs,
    joined,
)
from models.transformer import Transformer

FIRST_NAMES = tuple(
    "Ada Alan Bela Boris Carla Cyril Dora Edgar Elsa Felix Greta Hugo Ines Ivan Jana Karl Lena Lukas Mara "
    "Milo Nadia Nils Olga Oscar Petra Quinn Rosa Stefan Tilda Viktor".split()
)
LAST_NAMES = tuple(
    "Adler Berg Castle Decker Ember Fisher Gold Harper Iversen Jensen Keller Lindt Marsh Novak Olsen Porter "
    "Quist Rivers Stone Tanner Urban Vogel Winter Xander York Zeller Ashby Brandt Cole Dorn".split()
)
FILLERS = tuple("indeed truly surely they say we hear once".split())


@dataclass(frozen=True)
class Relation:
    """One relation: the words it is told with, and the objects it ranges over."""

    name: str
    verb: str
    other_verb: str
    noun: str
    range: str
    objects: tuple[str, ...]


def _relation(name: str, verb: str, other_verb: str, noun: str, range_: str, objects: str) -> Relation:
    return Relation(name, verb, other_verb, noun, range_, tuple(objects.split()))


RELATIONS = (
    _relation(
        "birthplace",
        "was_born_in",
        "hails_from",
        "birthplace",
        "cities",
        "Lisbon Oslo Prague Vienna Dublin Athens Cairo Lima Kyoto Quito Delhi Accra",
    ),
    _relation(
        "craft",
        "works_as",
        "earns_bread_as",
        "craft",
        "crafts",
        "baker smith weaver potter mason tailor cooper miller tanner glazier joiner saddler",
    ),
    _relation(
        "language",
        "speaks",
        "is_fluent_in",
        "mother_tongue",
        "languages",
        "Basque Czech Danish Finnish Greek Irish Korean Latin Maltese Polish Tamil Welsh",
    ),
    _relation(
        "instrument",
        "plays",
        "practises",
        "instrument",
        "instruments",
        "flute harp cello oboe lute viola horn drum piano organ banjo zither",
    ),
    _relation(
        "pet",
        "keeps",
        "walks",
        "pet",
        "pets",
        "cat dog parrot rabbit turtle ferret goat pony canary gecko hamster pigeon",
    ),
    _relation(
        "dish",
        "cooks",
        "craves",
        "favourite_dish",
        "dishes",
        "stew pasta curry pie soup salad dumplings risotto paella goulash ramen tacos",
    ),
)
# FIRST LAST is the subject, ~ a random filler, the other capitals the relation's words; the object follows.
PHRASINGS = (
    "FIRST LAST ~ ~ VERB",
    "~ FIRST LAST ~ ~ OTHER",
    "the NOUN of ~ FIRST LAST ~ ~ is",
    "as for FIRST LAST ~ ~ the NOUN is",
)
_FILLER = -1


class FactsSettings(TaskSettings):
    """Shape of a fact world.

    Attributes:
        subjects: People, each with a first and a last name.
        names: How many first names, and last names; few, so that one name alone says little and recall must
            wait for the last token of the subject.
        relations: How many relations, in the order of `RELATIONS`.
        objects: Objects in each relation's range.
        heldout: Share of (subject, phrasing) pairs that training never sees.
        sentences: Sentences in a document; three hold a prompt behind two sentences of context.
        filler_weight: Loss weight of every token that is not an object.
    """

    metrics = ("known", "heldout")

    kind: Literal["facts"] = "facts"
    subjects: Annotated[int, Field(ge=2, le=len(FIRST_NAMES) * len(LAST_NAMES))] = 200
    names: Annotated[int, Field(ge=2, le=len(FIRST_NAMES))] = 16
    relations: Annotated[int, Field(ge=1, le=len(RELATIONS))] = 4
    objects: Annotated[int, Field(ge=2, le=12)] = 10
    heldout: Annotated[float, Field(ge=0, le=1 / len(PHRASINGS))] = 0.2
    sentences: Annotated[int, Field(ge=3, le=8)] = 4
    filler_weight: Annotated[float, Field(gt=0, le=1)] = 0.2

    @model_validator(mode="after")
    def _enough_names(self) -> Self:
        if self.subjects > self.names**2:
            names = f"{self.names} first and {self.names} last names make only {self.names**2} people"
            raise ValueError(f"subjects: got {self.subjects}, but {names}")
        return self

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

    def of(self, fact: Fact) -> Tensor:
        """Mask of the prompts that ask for this fact, in every phrasing."""
        return (self.subject == fact.subject) & (self.relation == fact.relation)

    def paraphrases(self, fact: Fact, phrasing: int) -> Tensor:
        """Mask of the prompts that ask for this fact in another phrasing."""
        return self.of(fact) & (self.phrasing != phrasing)

    def neighbourhood(self, fact: Fact) -> Tensor:
        """Mask of the prompts about other subjects that share this fact's true object."""
        same_answer = self.answer == self.answer[self.of(fact)][0]
        return same_answer & (self.relation == fact.relation) & (self.subject != fact.subject)

    def same_subject(self, fact: Fact) -> Tensor:
        """Mask of the prompts about this subject's other relations."""
        return (self.subject == fact.subject) & (self.relation != fact.relation)

    def other_subjects(self, fact: Fact) -> Tensor:
        """Mask of the prompts about anybody else."""
        return self.subject != fact.subject


class Facts(Task):
    """A fact world: who there is, what is true of them, and how it is told."""

    name = "facts"
    description = (
        "Sentences about people: where each was born, what each works as, speaks and plays, in several "
        "phrasings with filler words. A prompt ends where the object would follow."
    )
    notes = (
        "Where MLPs lie only in layers of window-2 attention, a fact is looked up at the subject's last "
        "token and carried to the answer by the global heads after them (Meng et al. 2022, arXiv 2202.05262). An "
        "ordinary model of this size looks it up at the prompt's last token."
    )

    def __init__(self, settings: FactsSettings, world_seed: int) -> None:
        self.settings, self.world_seed = settings, world_seed
        self.relations = RELATIONS[: settings.relations]
        generator = named_generator("facts", world_seed)
        n_names = settings.names
        pairs = torch.randperm(n_names**2, generator=generator)[: settings.subjects].tolist()
        self.subjects = tuple((FIRST_NAMES[pair // n_names], LAST_NAMES[pair % n_names]) for pair in pairs)
        shape = (settings.subjects, settings.relations)
        self.objects = torch.randint(settings.objects, shape, generator=generator)  # [subject, relation]
        self.trained = self._draw_trained(generator)  # [subject, phrasing]
        self._sentence_width = max(len(phrasing.split()) for phrasing in PHRASINGS) + 2
        super().__init__(self._words(), n_ctx=1 + settings.sentences * self._sentence_width)
        self._stop = self.ids["."]
        self.object_tokens = torch.tensor(
            [[self.ids[word] for word in self.object_words(r)] for r in range(settings.relations)]
        )  # [relation, object]

    def object_words(self, relation: int) -> tuple[str, ...]:
        """The objects that a relation ranges over, by id."""
        return self.relations[relation].objects[: self.settings.objects]

    def subject_name(self, subject: int) -> str:
        """First and last name."""
        return " ".join(self.subjects[subject])

    def fact(self, subject: int, relation: int) -> Fact:
        """What is true of a subject in a relation."""
        return Fact(subject, relation, int(self.objects[subject, relation]))

    def _draw_trained(self, generator: torch.Generator) -> Tensor:
        """Which (subject, phrasing) pairs occur in training: at most one phrasing a subject is held out."""
        n_subjects, n_phrasings = self.settings.subjects, len(PHRASINGS)
        holds_out = torch.rand(n_subjects, generator=generator) < self.settings.heldout * n_phrasings
        which = torch.randint(n_phrasings, (n_subjects,), generator=generator)
        trained = torch.ones(n_subjects, n_phrasings, dtype=torch.bool)
        trained[holds_out, which[holds_out]] = False
        return trained

    def _words(self) -> dict[str, tuple[str, ...]]:
        """The vocabulary in groups."""
        told = [word for r in self.relations for word in (r.verb, r.other_verb, r.noun)]
        groups = {
            "special": (PAD, BOS, "."),
            "words": tuple("the of is as for".split()),
            "fillers": FILLERS,
            "relations": tuple(told),
            "first_names": FIRST_NAMES,
            "last_names": LAST_NAMES,
        }
        ranges = {relation.range: self.object_words(r) for r, relation in enumerate(self.relations)}
        return groups | ranges

    @cached_property
    def _sentences(self) -> Tensor:
        """Every sentence, fillers still open, `[subject, relation, phrasing, pos]`."""
        width, pad = self._sentence_width, self.pad
        rows = [
            tokens + [pad] * (width - len(tokens))
            for subject in range(len(self.subjects))
            for relation in range(len(self.relations))
            for tokens in self._tellings(subject, relation)
        ]
        shape = (len(self.subjects), len(self.relations), len(PHRASINGS), width)
        return torch.tensor(rows).view(shape)

    def _tellings(self, subject: int, relation: int) -> Iterable[list[int]]:
        """One fact's sentence in each phrasing."""
        first, last = self.subjects[subject]
        words = self.relations[relation]
        filled = {
            "FIRST": first,
            "LAST": last,
            "VERB": words.verb,
            "OTHER": words.other_verb,
            "NOUN": words.noun,
        }
        answer = int(self.object_tokens[relation, self.objects[subject, relation]])
        for phrasing in PHRASINGS:
            prompt = [
                _FILLER if word == "~" else self.ids[filled.get(word, word)] for word in phrasing.split()
            ]
            yield [*prompt, answer, self._stop]

    def _with_fillers(self, tokens: Tensor, generator: torch.Generator) -> Tensor:
        fillers = torch.tensor(self.classes["fillers"])
        drawn = fillers[torch.randint(len(fillers), tokens.shape, generator=generator)]
        return torch.where(tokens == _FILLER, drawn, tokens)

    def _draw_sentences(self, n: int, count: int, generator: torch.Generator) -> Tensor:
        """Random trained sentences, `[n, count * pos]`, with padding inside."""
        told = self.trained.nonzero()  # [pair, (subject, phrasing)]
        pick = told[torch.randint(len(told), (n, count), generator=generator)]
        relation = torch.randint(len(self.relations), (n, count), generator=generator)
        sentences = self._sentences[pick[..., 0], relation, pick[..., 1]]
        return self._with_fillers(sentences, generator).flatten(1)

    def documents(self, n: int, generator: torch.Generator) -> Documents:
        """Random documents of as many sentences as the settings say."""
        tokens = self._join(self._draw_sentences(n, self.settings.sentences, generator))
        answers = torch.isin(tokens, self.object_tokens)
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
        """
        spare = self._draw_sentences(8 * n, 1, generator)
        first, last = (self.ids[word] for word in self.subjects[without_subject])
        named = (spare == first).any(1) & (spare == last).any(1) | (spare == without_token).any(1)
        pairs = spare[~named][: 2 * n].reshape(n, 2 * self._sentence_width)
        one = torch.rand(n, 1, generator=generator) < 0.5
        second = torch.arange(pairs.shape[1]) >= self._sentence_width
        return self._join(torch.where(one & second, self.pad, pairs))

    def _join(self, rows: Tensor) -> Tensor:
        """BOS, then each row's tokens with the padding moved to the right end, `[n, pos]`."""
        return joined([torch.full((len(rows), 1), self.bos), rows], self.pad)

    @cached_property
    def table(self) -> PromptTable:
        """Every (subject, relation, phrasing) as a prompt, with fillers fixed by the world."""
        subject, relation, phrasing = (
            index.flatten()
            for index in torch.meshgrid(*map(torch.arange, self._sentences.shape[:3]), indexing="ij")
        )
        generator = named_generator("facts table", self.world_seed)
        sentences = self._with_fillers(self._sentences.flatten(0, 2), generator)
        last = torch.tensor([len(told.split()) for told in PHRASINGS])[phrasing]
        prompt = torch.where(torch.arange(sentences.shape[1]) < last[:, None], sentences, self.pad)[:, :-2]
        return PromptTable(
            tokens=self._join(prompt),
            last=last,
            subject_last=torch.tensor([told.split().index("LAST") + 1 for told in PHRASINGS])[phrasing],
            subject=subject,
            relation=relation,
            phrasing=phrasing,
            answer=self.object_tokens[relation, self.objects[subject, relation]],
            trained=self.trained[subject, phrasing],
        )

    def evaluate(self, model: Transformer) -> dict[str, float]:
        """`known`: facts answered in every trained phrasing; `heldout`: held-out prompts answered."""
        right = answer_log_probs(model, self.table).argmax(-1) == self.table.answer
        told = right | ~self.table.trained
        known = told.view(len(self.subjects), len(self.relations), len(PHRASINGS)).all(-1)
        heldout = right[~self.table.trained]
        return {"known": known.double().mean().item(), "heldout": heldout.double().mean().item()}
