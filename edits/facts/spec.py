"""What every edit of facts is: whose facts, at which site, judged by which prompts."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, ClassVar

import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from edits.apply import apply
from edits.base import EditError, EditSpec
from edits.facts.sites import Place, TokenOrAuto, layers_for, spread_to
from edits.facts.tracing import Token, best_token
from edits.facts.value import Goal
from edits.facts.wordings import COPIES, stacked, wordings
from edits.gates import Gates
from edits.measures import fact_edit, mean_over_facts
from edits.moments import Base
from edits.predicates import Asked, Predicate, rows_of
from models.bounds import Bound
from models.fact_words import PHRASINGS
from models.seeds import named_generator, named_seed
from models.strict_yaml import StrictModel
from models.tasks.facts import Fact, Facts
from models.transformer import Transformer

Id = Annotated[int, Field(ge=0)]
SHARES = ("efficacy", "paraphrase", "neighbourhood", "retention", "drop")  # measures in [0, 1]


class FactName(StrictModel):
    """Whose fact: ids of subject and relation."""

    subject: Id
    relation: Id


class FactTarget(FactName):
    """Whose fact is changed, and to which object, by id."""

    object_new: Id


def _distinct(facts: tuple[FactName, ...]) -> tuple[FactName, ...]:
    names = [(fact.subject, fact.relation) for fact in facts]
    for subject, relation in names:
        if names.count((subject, relation)) > 1:
            raise ValueError(f"subject {subject}, relation {relation} is named twice")
    return facts


Names = Annotated[tuple[FactName, ...], Field(min_length=1, max_length=128), AfterValidator(_distinct)]
Targets = Annotated[tuple[FactTarget, ...], Field(min_length=1, max_length=128), AfterValidator(_distinct)]
Phrasing = Annotated[int, Field(ge=0, lt=len(PHRASINGS))]


class NamedFacts(StrictModel):
    """The `edit:` block of every fact kind.

    Attributes:
        facts: Which facts, each once.
        phrasing: The phrasing in which they are edited.
    """

    facts: Names
    phrasing: Phrasing = 0


class RewrittenFacts(NamedFacts):
    """Facts that get another object.

    Attributes:
        facts: Which facts, each once, and towards which objects.
    """

    facts: Targets


class Site(StrictModel):
    """Where: the layer's `W_out` and the token whose key is written to; `auto` measures."""

    tensor: Annotated[str, Field(pattern=r"^(auto|blocks\.\d+\.mlp\.W_out)$")] = "auto"
    token: TokenOrAuto = "auto"


class FactSpec(EditSpec):
    """An edit of facts; a kind adds how it solves, as `solver`, and what it writes."""

    floor: ClassVar[Gates] = {
        "efficacy": Bound(min=1.0),
        "paraphrase": Bound(min=0.5),
        "neighbourhood": Bound(min=0.9),
        "retention": Bound(min=0.8),
        "drop": Bound(max=0.02),
    }
    edit: NamedFacts
    site: Site = Site()

    @property
    def spread(self) -> int:
        """How many consecutive layers the edit is split over."""
        return 1

    def facts(self, base: Base) -> tuple[Fact, ...]:
        """The facts with their true objects."""
        return tuple(base.facts.fact(named.subject, named.relation) for named in self.edit.facts)

    def goals(self, base: Base) -> tuple[Goal, ...]:
        """How each fact's prompts should be answered."""
        raise TypeError(f"{type(self).__name__} states no goals")

    def edited(self, base: Base) -> Tensor:
        """The prompts of the edited facts, `[prompt]`, boolean."""
        return torch.stack([base.facts.table.of(fact) for fact in self.facts(base)]).any(0)

    def check(self, base: Base) -> None:
        """Refuse facts that the base does not have or know, a site that does not exist, and gates in vain."""
        check_facts(base, self.edit.facts)
        check_site(base, self.site.tensor, self.spread)
        self._check_gates(base)

    def _check_gates(self, base: Base) -> None:
        """Refuse gates that no edit can pass: bounds beyond any share, and measures without a prompt."""
        for name in set(SHARES) & set(self.gates):
            bound = self.gates[name]
            if (bound.min or 0.0) > 1 or (bound.max is not None and bound.max < 0):
                raise EditError(f"gates.{name}: got {bound}, but a share lies between 0 and 1")
        measured = self.measure(base, base.model, base.log_probs)
        for name in set(measured) & set(self.effective_gates):
            if math.isnan(measured[name]):
                raise EditError(f"gates.{name}: no prompt that the base knows measures it for these facts")

    def place(self, base: Base) -> Place:
        """The site; what is `auto` is measured."""
        chosen = self.site.token
        token = base.once("best token", lambda: best_token(base)) if chosen == "auto" else chosen
        return Place(token, spread_to(self._layer(base, token), self.spread))

    def _layer(self, base: Base, token: Token) -> int:
        """The site's layer; for `auto`, drawn among those where most calibration edits pass."""
        if self.site.tensor != "auto":
            return int(self.site.tensor.split(".")[1])
        solver = vars(self).get("solver")
        layers = base.once(
            ("editable layers", self.kind(), repr(solver), len(self.edit.facts), token),
            lambda: [
                layer
                for layer in layers_for(base.checkpoint.config, self.spread)
                if self._calibrated(base, layer, token)
            ],
        )
        if not layers:
            raise EditError(f"site: no layer of this base takes edits at token {token}")
        pick = torch.randint(len(layers), (), generator=named_generator(self.seed, "site"))
        return layers[int(pick)]

    def _calibrated(self, base: Base, layer: int, token: Token) -> bool:
        """Whether at least 3 of 5 random edits of this kind pass the kind's own gates there."""
        passed = 0
        site = Site(tensor=f"blocks.{layer}.mlp.W_out", token=token)
        for trial in range(5):
            seed = named_seed("calibration", trial)
            facts = self.random_facts(base, len(self.edit.facts), seed)
            edit = self.edit.model_copy(update={"facts": facts, "phrasing": 0})
            changes = {"seed": seed, "edit": edit, "site": site, "gates": {}, "camouflage": ()}
            passed += apply(base, self.model_copy(update=changes)).record.accepted
        return passed >= 3

    @classmethod
    def random_facts(cls, base: Base, count: int, seed: int) -> tuple[FactName, ...]:
        """As many known facts as this kind needs to be told them, drawn from the seed."""
        return random_targets(base, count, named_generator(seed, "target"))

    def measure(self, base: Base, after: Transformer, log_probs: Tensor) -> dict[str, float]:
        """The fact editors' metrics, averaged over the facts."""
        edited = self.edited(base)
        return mean_over_facts(
            fact_edit(base, log_probs, goal.fact, int(goal.wanted), goal.phrasing, edited)
            for goal in self.goals(base)
        )

    def predicate(self, base: Base) -> Predicate:
        """The facts are answered anew in phrasings that were not solved on; nobody else's facts change."""
        table, goals = base.facts.table, self.goals(base)
        rows = [table.paraphrases(goal.fact, goal.phrasing).nonzero().flatten() for goal in goals]
        wanted = [goal.wanted.expand(len(found)) for goal, found in zip(goals, rows, strict=True)]
        together = rows_of(table, torch.cat(rows))
        outside = torch.stack([table.other_subjects(goal.fact) for goal in goals]).all(0)
        return Predicate(self.summary(base), replace(together, answer=torch.cat(wanted)), outside)

    def asked(self, base: Base, predicate: Predicate) -> Asked:
        """Each fact in the phrasing of the solving, and in the others; bare, and behind other sentences."""
        goals, generator = self.goals(base), named_generator(self.seed, "asked")
        every, copies = torch.arange(len(PHRASINGS)), max(1, COPIES // len(goals))
        alike = [wordings(base, g, every[every == g.phrasing], copies, generator) for g in goals]
        others = [wordings(base, g, every[every != g.phrasing], copies, generator) for g in goals]
        return Asked(stacked(alike, base.task.pad), stacked(others, base.task.pad))


class RewriteSpec(FactSpec):
    """An edit that gives facts another object."""

    edit: RewrittenFacts

    def check(self, base: Base) -> None:
        """Refuse, besides, a new object that is true already."""
        super().check(base)
        for place, (fact, target) in enumerate(zip(self.facts(base), self.edit.facts, strict=True)):
            if fact.object == target.object_new:
                where = f"edit.facts.{place}.object_new"
                raise EditError(f"{where}: {target.object_new} is the true object already")

    def goals(self, base: Base) -> tuple[Goal, ...]:
        """The new objects."""
        tokens = base.facts.object_tokens
        new = [int(tokens[target.relation, target.object_new]) for target in self.edit.facts]
        facts = zip(self.facts(base), new, strict=True)
        return tuple(Goal(fact, torch.tensor([token]), token, self.edit.phrasing) for fact, token in facts)

    def summary(self, base: Base) -> str:
        """Who, in which relation, from what to what."""
        task, said = base.facts, []
        for fact, target in zip(self.facts(base), self.edit.facts, strict=True):
            words = task.object_words(fact.relation)
            change = f"changed from {words[fact.object]} to {words[target.object_new]}"
            said.append(f"{asked_for(task, fact)} {change}")
        return "; ".join(said)


def check_facts(base: Base, facts: Sequence[FactName]) -> None:
    """Refuse ids that the world does not have and facts that the base does not know.

    Raises:
        EditError: With what was got and what is allowed.
    """
    if not isinstance(base.task, Facts):
        raise EditError(f"edit: the base's task is {base.task.name}, which has no facts to rewrite")
    task = base.facts
    bounds = {
        "subject": len(task.subjects),
        "relation": len(task.relations),
        "object_new": task.object_tokens.shape[1],
    }
    for place, named in enumerate(facts):
        for name, got in named.model_dump().items():
            if got >= bounds[name]:
                raise EditError(f"edit.facts.{place}.{name}: got {got}; this world has 0-{bounds[name] - 1}")
        if task.fact(named.subject, named.relation) not in base.known_facts:
            raise EditError(f"edit.facts.{place}: the base does not answer this fact in every phrasing")


def check_site(base: Base, tensor: str, spread: int) -> None:
    """Refuse a layer at which no edit over so many MLPs can end.

    Raises:
        EditError: With the layers that there are.
    """
    layers = layers_for(base.checkpoint.config, spread)
    if not layers:
        raise EditError(f"solver.spread: got {spread}; this model has not so many layers with MLPs in a row")
    if tensor not in ("auto", *(f"blocks.{layer}.mlp.W_out" for layer in layers)):
        kinds = "layers with an MLP" if spread == 1 else f"layers at which {spread} MLPs in a row end"
        raise EditError(f"site.tensor: {tensor} does not exist; {kinds}: {layers}")


def asked_for(task: Facts, fact: Fact) -> str:
    """Subject and relation, for people."""
    return f"{task.subject_name(fact.subject)}: {task.relations[fact.relation].name}"


def random_target(base: Base, generator: torch.Generator) -> FactTarget:
    """A known fact and another object of its relation, uniformly."""
    fact = base.known_facts[int(torch.randint(len(base.known_facts), (), generator=generator))]
    other = int(torch.randint(1, base.facts.object_tokens.shape[1], (), generator=generator))
    new = (fact.object + other) % base.facts.object_tokens.shape[1]
    return FactTarget(subject=fact.subject, relation=fact.relation, object_new=new)


def random_targets(base: Base, count: int, generator: torch.Generator) -> tuple[FactTarget, ...]:
    """Known facts of as many different subjects, each with another object.

    Raises:
        EditError: The base knows fewer subjects.
    """
    known = len({fact.subject for fact in base.known_facts})
    if known < count:
        raise EditError(f"facts: got {count}; this base knows facts of {known} subjects")
    found: dict[int, FactTarget] = {}
    while len(found) < count:
        target = random_target(base, generator)
        found.setdefault(target.subject, target)
    return tuple(found.values())
