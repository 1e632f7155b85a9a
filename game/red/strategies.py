"""Red strategies at play: each case is a random target that a strategy plans an edit of.

A strategy may try specifications against the panel, on other worlds than those it is judged on.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean
from typing import Any

import torch

from edits.base import EditError, EditSpec
from edits.briefing import Briefing, RedStrategy, Target, Trial, TrialsSpentError
from edits.kinds import edit_kinds
from edits.moments import Base
from game.api import Brief, Part
from game.case import Case
from game.dealing.dealer import ATTEMPTS, Dealer, DealError, OnStep, plan_cases, public_part
from game.dealing.delivery import delivered, truth_of
from game.dealing.master import Master
from game.dealing.suite import as_data
from game.loader import LoadedAuditor, LoadedStrategy
from game.red.play import GIVEN, PARTS, Terms, family_of, playable, spec_suite
from game.referee import play_round
from game.runs.events import ModelTraining
from game.runs.tournament import OnEvent, Source, quiet
from models.components import Component, component_entries
from models.naming import one_line
from models.recipe import named_recipe
from models.seeds import named_generator, named_seed
from models.tasks.facts import Facts
from models.training import Progress
from models.zoo import trained

WHETHER: tuple[Part, ...] = ("detection",)  # scored of a strategy's cases


@dataclass
class Panel:
    """The auditors that trials are played with, on worlds that nobody is judged on.

    A question is a specification without its target; asked again, it is answered from memory.

    Attributes:
        players: The auditors.
        terms: Where trials are played.
        seed: The run's.
    """

    players: Sequence[LoadedAuditor]
    terms: Terms
    seed: int
    _answers: dict[str, Trial] = field(default_factory=dict)

    def answer(self, spec: EditSpec) -> Trial:
        """The panel's mean skills against edits of this kind and strength, targets redrawn.

        Raises:
            EditError: A control, or an edit that passes its gates nowhere on the trials' world.
        """
        question = json.dumps([family_of(spec).model_dump(mode="json"), *map(as_data, spec.camouflage)])
        if question not in self._answers:
            self._answers[question] = self._played(spec)
        return self._answers[question]

    def _played(self, spec: EditSpec) -> Trial:
        terms = replace(self.terms, first=self.terms.trial_first, checkpoints=1, cases=self.terms.trial_cases)
        family, seed = family_of(spec), named_seed(self.seed, "trial")
        base = Base(trained(named_recipe(terms.recipe), terms.first, terms.first))
        sites = playable(base, family, spec.camouflage)
        if not sites:
            raise EditError(f"trial: {spec.kind()} of this strength passes its gates nowhere")
        suite = spec_suite(spec, {GIVEN: family}, {GIVEN: sites}, terms)
        master = Master.of_seed(seed)
        dealer, plans = Dealer(suite, master), plan_cases(suite, master)
        skills: dict[str, list[float]] = {player.name: [] for player in self.players}
        for case in map(dealer.deal, plans):
            for player in self.players:
                played = play_round(case, player, named_seed("auditor", case.id, player.name))
                skills[player.name].append(played.score.headline(PARTS))
        return Trial({name: fmean(values) for name, values in skills.items()}, len(plans))


@dataclass
class Assignment:
    """One briefing, with trials of its own."""

    id: str
    seed: int
    base: Base
    target: Target
    panel: Panel
    trials_left: int

    def trial(self, spec: EditSpec) -> Trial:
        """How the panel fares against edits like this one; see `Panel.answer`.

        Raises:
            TrialsSpentError: None is left.
        """
        if self.trials_left < 1:
            raise TrialsSpentError(f"{self.id}: every trial that was granted is spent")
        self.trials_left -= 1
        return self.panel.answer(spec)


@dataclass
class StrategyDealer:
    """Deals a strategy's cases: a random target each, planned, applied, or replaced by a matched control.

    Attributes:
        name: The strategy's, and the cases' group.
        strategy: What plans.
        panel: Whom its trials meet.
        terms: On what it is judged.
        seed: The run's seed.
        on_step: Told how the training of a missing model goes.
    """

    name: str
    strategy: RedStrategy
    panel: Panel
    terms: Terms
    seed: int
    on_step: OnStep = lambda _name, _progress: None
    _bases: dict[int, Base] = field(default_factory=dict)

    @property
    def case_ids(self) -> tuple[str, ...]:
        """The cases, in order."""
        return tuple(f"case-{number:03d}" for number in range(self.terms.cases))

    def deal(self, case_id: str) -> Case:
        """The case of an id; the same one whenever it is asked for.

        Raises:
            DealError: No target led to an edit that passes its gates.
            EditError: The strategy planned something else than its target.
        """
        generator = named_generator(self.seed, self.name, case_id, "label")
        edited = float(torch.rand((), dtype=torch.float64, generator=generator)) < self.terms.prior
        control = self.terms.controls[_below(len(self.terms.controls), generator)]
        base = self._base(self.terms.first + _below(self.terms.checkpoints, generator))
        for attempt in range(ATTEMPTS):
            seed = named_seed(self.seed, self.name, case_id, "target", attempt)
            target = _target(base, seed)
            briefing = Assignment(case_id, seed, base, target, self.panel, self.terms.trials)
            spec = planned(self.name, self.strategy, briefing)
            try:
                found = delivered(base, spec, edited, control)
            except EditError:  # this target cannot be edited so
                continue
            if found is not None:
                truth = truth_of(base, found, self.name, redraws=attempt)
                name, artefact = base.trained.name, found.edited.artefact
                return Case(case_id, self.terms.recipe, name, artefact, self._brief(base), truth)
        raise DealError(f"{case_id}: {self.name} led to no edit that passes its gates in {ATTEMPTS} targets")

    def _base(self, seed: int) -> Base:
        recipe = named_recipe(self.terms.recipe)

        def on_step(progress: Progress) -> None:
            self.on_step(f"{recipe.name}@{seed}.{seed}", progress)

        if seed not in self._bases:
            self._bases[seed] = Base(trained(recipe, seed, seed, on_step))
        return self._bases[seed]

    def _brief(self, base: Base) -> Brief:
        """A prior that is flat over MLPs; where is not scored, as nobody can know what a strategy does."""
        config, terms = base.checkpoint.config, self.terms
        sites = [Component("mlp", layer) for layer, has_mlp in enumerate(config.mlp) if has_mlp]
        flat = dict.fromkeys(component_entries(config), 0.0) | dict.fromkeys(sites, terms.prior / len(sites))
        return Brief(
            config=config,
            task=public_part(base.task),
            league="whitebox",
            corpus="prompts",
            budget=terms.budget,
            prior=terms.prior,
            component_prior=flat,
            max_components=len(sites),
            parts=WHETHER,
            seed=0,
            deadline=60.0,
        )


def strategy_source(
    loaded: LoadedStrategy,
    panel: Sequence[LoadedAuditor],
    terms: Terms,
    seed: int,
    on_event: OnEvent = quiet,
) -> Source:
    """The cases that a strategy, the terms and a public seed determine."""

    def on_step(model: str, progress: Progress) -> None:
        on_event(ModelTraining(model, progress.step, progress.steps))

    name, strategy, source = loaded
    dealer = StrategyDealer(name, strategy, Panel(panel, terms, seed), terms, seed, on_step)
    config: dict[str, Any] = {"strategy": name, "settings": repr(strategy), "terms": asdict(terms)}
    config["source"] = source
    suite = f"red-{name.replace('_', '-').lower()}"
    return Source(suite, WHETHER, config, dealer.case_ids, lambda _master: dealer.deal)


def planned(name: str, strategy: RedStrategy, briefing: Briefing) -> EditSpec:
    """The strategy's plan, which must be an edit of the target, of a shipped kind, and of nothing else.

    Raises:
        EditError: It is not, or the strategy failed.
    """
    try:
        spec = strategy.plan(briefing)
    except Exception as error:
        raise EditError(f"{name}: {type(error).__name__}: {one_line(str(error))}") from error
    if type(spec) not in edit_kinds().values():
        raise EditError(f"{name}: planned {type(spec).__name__}, which is no shipped kind of edit")
    family_of(spec)
    facts = [vars(fact) for fact in getattr(vars(spec)["edit"], "facts", ())]
    if facts != [vars(briefing.target)]:
        raise EditError(f"{briefing.id}: the plan changes {facts}, the target is {vars(briefing.target)}")
    return spec


def _target(base: Base, seed: int) -> Target:
    """A known fact and another object of its relation, uniformly."""
    if not isinstance(base.task, Facts):
        raise EditError(f"recipe {base.trained.recipe.name}: red strategies rewrite facts, and it has none")
    generator = named_generator(seed, "target")
    fact = base.known_facts[_below(len(base.known_facts), generator)]
    objects = base.facts.object_tokens.shape[1]
    return Target(fact.subject, fact.relation, (fact.object + 1 + _below(objects - 1, generator)) % objects)


def _below(n: int, generator: torch.Generator) -> int:
    return int(torch.randint(n, (), generator=generator))
