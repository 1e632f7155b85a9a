"""`statements`: true and false statements about people, each judged, or claimed to be true or false.

A model of this world must know its facts, as it is asked of every statement whether it is true. In half of
the sentences a speaker claims a verdict, right or wrong, and the sentence closes with which: pairs of prompts
that differ in the claimed verdict alone are the contrast pairs of Burns et al. 2022 (arXiv 2212.03827). With
`distractor: appended` every statement is followed by one of two random words, as in Farquhar et al. 2023
(arXiv 2312.10029), who find that methods without labels discover whichever feature is most prominent. A
feature counts in contrast pairs only if it changes the sign of their difference. So some claims close with a
word in place of the judgement: the appended one where the claim is "true", the other one where it is "false".

Speakers are more often right of what is true than of what is false. If they were as often right of both,
neither truth nor claim alone would say anything of the judgement, and some models never learn it: they
compute truth only where the verdict is asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from models.fact_words import FIRST_NAMES, LAST_NAMES, RELATIONS
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
    answer_log_probs,
    joined,
)
from models.transformer import Transformer

VERDICTS, JUDGEMENTS = ("false", "true"), ("wrongly", "rightly")  # by whether it is so
DISTRACTORS = ("banana", "shed")


class StatementsSettings(TaskSettings):
    """Shape of the world and of its documents.

    Attributes:
        subjects: People, each with a first and a last name.
        names: How many first names, and last names.
        relations: How many relations, in the order of `RELATIONS`; each is told with two verbs.
        objects: Objects in each relation's range.
        heldout: Share of facts that training tells, truly or falsely, with one of the two verbs only.
        sentences: Sentences in a document.
        distractor: Whether one of two random words follows every statement.
        echo: Share of the claims that close with a word, where words are appended; less than half, so that
            the judgement is the likelier closing.
        reliability: Share of the true statements that speakers call true; of the false ones it is half.
        other_weight: Loss weight of every token that is neither a verdict nor what closes a claim.
    """

    metrics = ("accuracy", "heldout", "claims")

    kind: Literal["statements"] = "statements"
    subjects: Annotated[int, Field(ge=4, le=len(FIRST_NAMES) * len(LAST_NAMES))] = 48
    names: Annotated[int, Field(ge=2, le=len(FIRST_NAMES))] = 8
    relations: Annotated[int, Field(ge=1, le=len(RELATIONS))] = 3
    objects: Annotated[int, Field(ge=2, le=12)] = 6
    heldout: Annotated[float, Field(gt=0, le=0.5)] = 0.2
    sentences: Annotated[int, Field(ge=1, le=8)] = 4
    distractor: Literal["none", "appended"] = "none"
    echo: Annotated[float, Field(ge=0, lt=0.5)] = 0.4
    reliability: Annotated[float, Field(ge=0.5, lt=1)] = 0.8
    other_weight: Annotated[float, Field(gt=0, le=1)] = 0.2

    @model_validator(mode="after")
    def _enough_names(self) -> Self:
        if self.subjects > self.names**2:
            names = f"{self.names} first and {self.names} last names make only {self.names**2} people"
            raise ValueError(f"subjects: got {self.subjects}, but {names}")
        return self

    def build(self, world_seed: int) -> "Statements":
        """The world of that seed."""
        return Statements(self, world_seed)


@dataclass(frozen=True)
class Drawn:
    """Statements as ids, before they are put into words; columns as in `StatementTable`."""

    subject: Tensor
    relation: Tensor
    phrasing: Tensor
    object: Tensor
    truth: Tensor
    distractor: Tensor


@dataclass(frozen=True)
class StatementTable(Probe):
    """Statements, as parallel columns.

    Attributes:
        subject, relation, phrasing, object: Ids, `[prompt]`; the phrasing is the verb's index.
        truth: Whether the statement is true, `[prompt]`.
        distractor: Index of the appended word, 0 where none is, `[prompt]`.
        trained: Whether training tells of this fact with this verb, `[prompt]`.
    """

    subject: Tensor
    relation: Tensor
    phrasing: Tensor
    object: Tensor
    truth: Tensor
    distractor: Tensor
    trained: Tensor


@dataclass(frozen=True)
class ClaimTable(StatementTable):
    """The table's statements up to a claimed verdict; the answer judges the claim.

    Attributes:
        statement: Row of the table, `[prompt]`; row i of both sides of a contrast pair is row i of the table.
        claimed: Whether the statement is claimed to be true, `[prompt]`.
    """

    statement: Tensor
    claimed: Tensor


class Statements(Task):
    """A world of facts, and which statements about it training sees."""

    name = "statements"
    description = (
        "Statements about people, true or false. After 'in_truth' a statement's verdict is right; after "
        "'they_say' it may be wrong, and then it is told whether it is."
    )
    notes = (
        "The truth of a statement is linear in the residual stream of later layers, along the difference "
        "between the means of true and of false statements, as in large models (Marks & Tegmark 2023, arXiv "
        "2310.06824). The two sides of a contrast pair differ along whether the claim is right: truth times "
        "the claim. Where words are appended, the word times the claim is such a feature too, and the "
        "consistency of the pairs cannot tell it from truth (Farquhar et al. 2023, arXiv 2312.10029)."
    )

    def __init__(self, settings: StatementsSettings, world_seed: int) -> None:
        self.settings, self.world_seed = settings, world_seed
        self.relations = RELATIONS[: settings.relations]
        super().__init__(self._words(), n_ctx=1 + 10 * settings.sentences)
        generator = named_generator("statements", world_seed)
        pairs = torch.randperm(settings.names**2, generator=generator)[: settings.subjects]
        facts = (settings.subjects, settings.relations)
        self.objects = torch.randint(settings.objects, facts, generator=generator)  # [subject, relation]
        self.trained = _draw_trained(facts, settings.heldout, generator)  # [subject, relation, phrasing]
        first, last = (torch.tensor(self.classes[name]) for name in ("first_names", "last_names"))
        self.name_tokens = torch.stack([first[pairs // settings.names], last[pairs % settings.names]], 1)
        self.verb_tokens = torch.tensor(self.classes["verbs"]).view(-1, 2)  # [relation, phrasing]
        self.object_tokens = torch.tensor([self.classes[relation.range] for relation in self.relations])
        self.verdict_tokens = torch.tensor(self.classes["verdicts"])
        self.judgement_tokens = torch.tensor(self.classes["judgements"])
        self.distractor_tokens = torch.tensor(self.classes.get("distractors", (self.pad,)))

    def _words(self) -> dict[str, tuple[str, ...]]:
        """The vocabulary in groups."""
        settings = self.settings
        groups = {
            "special": (PAD, BOS, "in_truth", "they_say", "is", "."),
            "verdicts": VERDICTS,
            "judgements": JUDGEMENTS,
            "first_names": FIRST_NAMES[: settings.names],
            "last_names": LAST_NAMES[: settings.names],
            "verbs": tuple(verb for told in self.relations for verb in (told.verb, told.other_verb)),
        }
        groups |= {relation.range: relation.objects[: settings.objects] for relation in self.relations}
        return groups | ({"distractors": DISTRACTORS} if settings.distractor == "appended" else {})

    def _draw(self, n: int, generator: torch.Generator) -> Drawn:
        """Random statements of training, half of them true."""
        told = self.trained.nonzero()
        subject, relation, phrasing = told[torch.randint(len(told), (n,), generator=generator)].unbind(1)
        truth = torch.rand(n, generator=generator) < 0.5
        object_ = self._object(subject, relation, truth, generator)
        word = torch.randint(len(self.distractor_tokens), (n,), generator=generator)
        return Drawn(subject, relation, phrasing, object_, truth, word)

    def _object(self, subject: Tensor, relation: Tensor, truth: Tensor, generator: torch.Generator) -> Tensor:
        """The fact's object for true statements, and any other one for false ones."""
        n_objects = self.settings.objects
        shift = torch.randint(1, n_objects, truth.shape, generator=generator)
        return (self.objects[subject, relation] + shift * ~truth) % n_objects

    def _told(self, drawn: Drawn, lead: Tensor) -> Tensor:
        """The statements in words, up to 'is', with padding where no word is appended, `[statement, pos]`."""
        words = (
            self.verb_tokens[drawn.relation, drawn.phrasing],
            self.object_tokens[drawn.relation, drawn.object],
            self.distractor_tokens[drawn.distractor],
            torch.full_like(lead, self.ids["is"]),
        )
        return torch.cat([lead[:, None], self.name_tokens[drawn.subject], torch.stack(words, 1)], 1)

    def _forms(self, drawn: Drawn, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Each sentence's lead, verdict, and what closes it if it is a claim."""
        settings, n = self.settings, len(drawn.truth)
        is_claim = torch.rand(n, generator=generator) < 0.5
        chance = torch.where(drawn.truth, settings.reliability, 0.5)
        right = torch.rand(n, generator=generator) < chance
        echoes = torch.rand(n, generator=generator) < settings.echo
        echoes &= settings.distractor == "appended"
        claimed = drawn.truth == right
        lead = torch.where(is_claim, self.ids["they_say"], self.ids["in_truth"])
        said = torch.where(is_claim, claimed, drawn.truth)
        judgement = self.judgement_tokens[right.long()]
        echo = self.distractor_tokens[drawn.distractor ^ (echoes & ~claimed)]
        closing = torch.where(is_claim, torch.where(echoes, echo, judgement), self.pad)
        return lead, self.verdict_tokens[said.long()], closing

    def _begun(self, *parts: Tensor) -> Tensor:
        """BOS and the parts, padding on the right, `[row, pos]`."""
        return joined([torch.full((len(parts[0]), 1), self.bos), *parts], self.pad)

    def documents(self, n: int, generator: torch.Generator) -> Documents:
        """Random documents of as many sentences as the settings say, about any facts."""
        drawn = self._draw(n * self.settings.sentences, generator)
        lead, verdict, closing = self._forms(drawn, generator)
        ends = torch.stack([verdict, closing, torch.full_like(lead, self.ids["."])], 1)
        tokens = self._begun(torch.cat([self._told(drawn, lead), ends], 1).view(n, -1))
        ends_next, before = tokens.roll(-1, 1) == self.ids["."], tokens.roll(1, 1)
        verdicts = (before == self.ids["is"]) & ends_next
        closings = torch.isin(before, self.verdict_tokens) & ends_next
        answers = verdicts | closings
        weight = torch.where(answers, 1.0, self.settings.other_weight)
        return Documents(tokens, weight * (tokens != self.pad) * (tokens != self.bos), answers)

    def prompts(self, n: int, generator: torch.Generator) -> Prompts:
        """Random sentences, some up to the verdict, others with a claimed one up to what closes them."""
        drawn = self._draw(n, generator)
        lead, verdict, _ = self._forms(drawn, generator)
        claimed = verdict.masked_fill(lead == self.ids["in_truth"], self.pad)
        tokens = self._begun(self._told(drawn, lead), claimed[:, None])
        return Prompts(tokens, (tokens != self.pad).sum(1))

    @cached_property
    def _all(self) -> Drawn:
        """Each fact with each verb, once falsely and once truly; words are as frequent with both."""
        generator = named_generator("statements table", self.world_seed)
        grid = torch.ones(*self.trained.shape, 2).nonzero()
        subject, relation, phrasing = grid[:, :3].unbind(1)
        truth = grid[:, 3] == 1
        object_ = self._object(subject, relation, truth, generator)
        words = torch.rand(len(truth) // 2, 2, generator=generator).argsort(0) % len(self.distractor_tokens)
        return Drawn(subject, relation, phrasing, object_, truth, words.flatten())

    def _columns(self, lead: str, *ends: Tensor) -> dict[str, Tensor]:
        """What tables of all statements share: prompts of that lead and those ends."""
        drawn, n = self._all, len(self._all.truth)
        told = self._told(drawn, torch.full((n,), self.ids[lead]))
        tokens = self._begun(told, *(end.expand(n, 1) for end in ends))
        trained = self.trained[drawn.subject, drawn.relation, drawn.phrasing]
        shape = {"tokens": tokens, "last": torch.full((n,), tokens.shape[1] - 1), "trained": trained}
        return vars(drawn) | shape

    @cached_property
    def table(self) -> StatementTable:
        """Each fact with each verb, once truly and once with a false object, up to the verdict."""
        return StatementTable(answer=self.verdict_tokens[self._all.truth.long()], **self._columns("in_truth"))

    @cached_property
    def claims(self) -> tuple[ClaimTable, ClaimTable]:
        """The table's statements, claimed to be false and claimed to be true."""
        false, true = (self._claimed(verdict) for verdict in (False, True))
        return false, true

    def _claimed(self, verdict: bool) -> ClaimTable:
        truth = self._all.truth
        return ClaimTable(
            answer=self.judgement_tokens[(truth == verdict).long()],
            statement=torch.arange(len(truth)),
            claimed=torch.full_like(truth, verdict),
            **self._columns("they_say", self.verdict_tokens[int(verdict)]),
        )

    def probes(self) -> Mapping[str, Probe]:
        """`table`; `heldout`: its rows never seen in training; and both sides of the contrast pairs."""
        rows = ~self.table.trained
        heldout = StatementTable(**{name: column[rows] for name, column in vars(self.table).items()})
        false, true = self.claims
        return {"table": self.table, "heldout": heldout, "claimed_false": false, "claimed_true": true}

    def evaluate(self, model: Transformer) -> dict[str, float]:
        """Right verdicts on trained rows (`accuracy`) and `heldout` ones; `claims` rather judged rightly."""
        table = self.table
        right = (answer_log_probs(model, table).argmax(-1) == table.answer).double()
        judged = [
            answer_log_probs(model, side)[:, self.judgement_tokens].argmax(-1) == (side.truth == side.claimed)
            for side in self.claims
        ]
        return {
            "accuracy": right[table.trained].mean().item(),
            "heldout": right[~table.trained].mean().item(),
            "claims": torch.cat(judged).double().mean().item(),
        }

    def findings(self, model: Transformer) -> Mapping[str, Finding]:
        """Where truth can be read off, and what the contrast pairs show most of."""
        table, (false, true) = self.table, self.claims
        asked = _streams(model, table)
        mains = [
            _main_component(x - y) for x, y in zip(_streams(model, true), _streams(model, false), strict=True)
        ]
        labels = {"truth": table.truth}
        if self.settings.distractor == "appended":
            labels["distractor"] = table.distractor == 1
        pairs = {
            f"pairs_{name}": Finding(
                f"The main component of the contrast pairs' differences tells {name} (share right).",
                ("layers",),
                torch.stack([_agreement(main > 0, label) for main in mains]),
            )
            for name, label in labels.items()
        }
        return pairs | {
            "truth": Finding(
                "The difference of means over half of the people tells truth of the others (share right).",
                ("layers",),
                torch.stack([_mean_difference(x, table.truth, table.subject % 2 == 0) for x in asked]),
            )
        }


def _draw_trained(facts: tuple[int, int], heldout: float, generator: torch.Generator) -> Tensor:
    """Which facts are told with which of two verbs, `[subject, relation, phrasing]`; at least one is not."""
    n = facts[0] * facts[1]
    rows = torch.randperm(n, generator=generator)[: max(1, round(heldout * n))]
    trained = torch.ones(n, 2, dtype=torch.bool)
    trained[rows, torch.randint(2, rows.shape, generator=generator)] = False
    return trained.view(*facts, 2)


def _streams(model: Transformer, probe: Probe) -> list[Tensor]:
    """The residual stream at each prompt's last token, before the first layer and after each."""
    _, cache = model.run_with_cache(
        probe.tokens.to(model.unembed.W_U.device),
        lambda name: name == "blocks.0.hook_resid_pre" or name.endswith("hook_resid_post"),
    )
    return [stream.cpu()[torch.arange(len(probe.last)), probe.last] for stream in cache.values()]


def _mean_difference(x: Tensor, label: Tensor, fit: Tensor) -> Tensor:
    """Share of the other rows on the right side of the plane midway between two means."""
    high, low = x[fit & label].mean(0), x[fit & ~label].mean(0)
    told = (x - (high + low) / 2) @ (high - low) > 0
    return (told == label)[~fit].float().mean()


def _main_component(x: Tensor) -> Tensor:
    """Each row's coordinate along the direction of most variance."""
    centred = x - x.mean(0)
    direction: Tensor = torch.linalg.svd(centred, full_matrices=False).Vh[0]
    return centred @ direction


def _agreement(one: Tensor, other: Tensor) -> Tensor:
    """Share of equal entries, or of different ones if there are more: a direction has no sign."""
    share = (one == other).float().mean()
    return torch.maximum(share, 1 - share)
