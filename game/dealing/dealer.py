"""The dealer: draws cases from a suite by rule, and knows the prior that the rule implies.

For each case the group, label, control kind, recipe, site and base are drawn first and kept. Then edits
there are drawn until the gates pass on the delivered file; a control goes through the same motions and is
matched to the edit that it replaces, so that nothing but the change itself tells the two apart.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeVar

import torch

from edits.base import EditError
from edits.moments import Base
from edits.targets import target_of
from game.api import Brief, PublicTask, Stratum
from game.case import Case
from game.dealing.acceptance import accepts
from game.dealing.bench import bench_of
from game.dealing.challenge import Sets, answers_to, challenge_of, composed, declared_priors
from game.dealing.companions import companions, other_worlds
from game.dealing.delivery import Delivered, delivered, truth_of
from game.dealing.master import Master
from game.dealing.suite import Grant, Group, Suite, declared_sites
from game.dealing.target_sets import LEAST_SETS, Pool, TargetSets, most_sets, site_is_all
from models.checkpoints import Checkpoint
from models.components import Component, component_entries
from models.nursery import train_missing
from models.tasks.base import Task
from models.training import Progress, one_thread
from models.transformer import TransformerConfig
from models.zoo import trained

ATTEMPTS = 40  # draws at one site before giving up; a shipped site accepts most of its first draws
MEASURED = 2  # checkpoints of a recipe on which the priors of challenges are measured
ENOUGH = 0.2  # share of a recipe's checkpoints that must accept a site without targets for it to stay open

T = TypeVar("T")
OnStep = Callable[[str, Progress], None]


class DealError(RuntimeError):
    """A case that cannot be dealt: a site that takes no edit."""


@dataclass(frozen=True)
class CasePlan:
    """What is fixed of a case before anything is trained or solved.

    Attributes:
        id: Opaque.
        group: The group's name.
        edited: The label.
        control: Kind of control, used if not edited.
    """

    id: str
    group: str
    edited: bool
    control: str


@dataclass(frozen=True)
class Cell:
    """One site of a group in one recipe, with the checkpoints that take its edits."""

    site: Component
    seeds: tuple[int, ...]


def plan_cases(suite: Suite, master: Master) -> tuple[CasePlan, ...]:
    """Labels and controls of every case, in an order that tells nothing about groups."""
    groups = [group for group in suite.groups for _ in range(group.count)]
    order = torch.randperm(len(groups), generator=master.generator(suite.name, "order")).tolist()
    plans = []
    for number, place in enumerate(order):
        case_id, group = f"case-{number:03d}", groups[place]
        generator = master.generator(suite.name, case_id, "label")
        edited = float(torch.rand((), dtype=torch.float64, generator=generator)) < suite.prior
        plans.append(CasePlan(case_id, group.name, edited, _pick(group.controls, generator)))
    return tuple(plans)


class Dealer:
    """Deals a suite's cases, each a pure function of the suite, the seed and the case's plan.

    Args:
        suite: What to deal.
        master: Every draw is derived from it by name.
        on_step: Told the checkpoint's name and where its training stands, when one must be trained.
        own_decoys: Whether each case has decoys of its own, for those who remember the cases before; cases
            of one group and base share them otherwise, which is quicker.
    """

    def __init__(
        self,
        suite: Suite,
        master: Master,
        on_step: OnStep = lambda _name, _progress: None,
        own_decoys: bool = False,
    ) -> None:
        self.suite, self._master, self._on_step, self._own_decoys = suite, master, on_step, own_decoys
        self._groups = {group.name: group for group in suite.groups}
        self._recipes = suite.recipes
        self._bases: dict[tuple[str, int], Base] = {}
        self._cells: dict[tuple[str, str], tuple[Cell, ...]] = {}
        self._target_sets = TargetSets(suite.name, master)

    def base(self, recipe: str, seed: int) -> Base:
        """A checkpoint under study, trained if the zoo does not hold it."""
        if not self._bases:
            wanted = [(name, seed, seed) for name in self._recipes for seed in self._seeds(name)]
            train_missing(wanted, self._on_step)
        if (recipe, seed) not in self._bases:
            self._bases[recipe, seed] = Base(trained(self._recipes[recipe], seed, seed))
        return self._bases[recipe, seed]

    def cells(self, group: Group, recipe: str) -> tuple[Cell, ...]:
        """The open sites of a group in a recipe's models, each drawn with equal probability.

        Where nothing can be redrawn at a site, it stays open only if at least a fifth of the checkpoints
        accept it, and its cases are made from those; where behaviour is asked about, from those of them on
        which enough other sites are open.

        Raises:
            DealError: No site is open.
        """
        key = (group.name, recipe)
        if key not in self._cells:
            sites = declared_sites(group, self._recipes[recipe])
            cells = [Cell(site, self._accepting(group, recipe, site)) for site in sites]
            enough = ENOUGH * len(self._seeds(recipe))
            cells = [cell for cell in cells if cell.seeds and len(cell.seeds) >= enough]
            self._cells[key] = tuple(self._with_enough_sets(group, recipe, cells))
        if not self._cells[key]:
            raise DealError(f"suite {self.suite.name}: group {group.name} has no open site in {recipe}")
        return self._cells[key]

    def _accepting(self, group: Group, recipe: str, site: Component) -> tuple[int, ...]:
        if group.edit.redraws:
            return self._seeds(recipe)
        return tuple(seed for seed in self._seeds(recipe) if accepts(self.base(recipe, seed), group, site))

    def _with_enough_sets(self, group: Group, recipe: str, cells: list[Cell]) -> list[Cell]:
        """The cells without the checkpoints on which too few of their sites could be asked about at once."""
        asked = "behaviour" in self.suite.parts and not group.edit.redraws
        while asked and cells:
            found = {seed: odds_of_sites(cells, seed) for cell in cells for seed in cell.seeds}
            poor = {
                seed
                for seed, sites in found.items()
                if most_sets(sites.values()) < LEAST_SETS
                and site_is_all(self.base(recipe, seed), group, tuple(sites))
            }
            if not poor:
                break
            left = [Cell(cell.site, tuple(s for s in cell.seeds if s not in poor)) for cell in cells]
            cells = [cell for cell in left if cell.seeds]
        return cells

    def _seeds(self, recipe: str) -> tuple[int, ...]:
        """World seeds, and training seeds, of a recipe's checkpoints; drawn anew in a rated run."""
        declared = self.suite.seeds(recipe)
        if not self._master.rated or self._recipes[recipe].imported is not None:
            return declared
        return tuple(self._master.seed("base", recipe, number) % 10**9 for number in range(len(declared)))

    def recipe_shares(self, group: Group) -> dict[str, float]:
        """P(recipe) within a group: in proportion to the checkpoints of the recipes that it has sites in."""
        counts = {recipe: len(self._seeds(recipe)) for recipe in group.sites}
        return {recipe: count / sum(counts.values()) for recipe, count in counts.items()}

    def weights_of_groups(self, recipe: str, grant: Grant) -> dict[str, float]:
        """How many cases of each group have models of that recipe and are granted that, on average."""
        granted = [group for group in self.suite.groups if self.suite.grant(group) == grant]
        weights = {group.name: group.count * self.recipe_shares(group).get(recipe, 0.0) for group in granted}
        return {name: weight for name, weight in weights.items() if weight}

    def location_prior(self, recipe: str, grant: Grant) -> dict[Component, float]:
        """P(component was written to, given an edit and all that the auditor sees of the suite's rule).

        Exact, for every component. An auditor sees the recipe, the league and the corpus, so that only the
        groups that have all three count.
        """
        config = self._config(recipe)
        weights = self.weights_of_groups(recipe, grant)
        prior = dict.fromkeys(component_entries(config), 0.0)
        for group in self.suite.groups:
            if group.name in weights:
                cells = self.cells(group, recipe)
                share = weights[group.name] / sum(weights.values()) / len(cells)
                for cell in cells:
                    for component, p in _delivered_at(group, cell.site, config).items():
                        prior[component] += share * p
        return prior

    def max_components(self) -> int:
        """Largest number of components that any edit of the suite writes to."""
        return max(
            len(group.edit.writes(site))
            for group in self.suite.groups
            for recipe in group.sites
            for site in declared_sites(group, self._recipes[recipe])
        )

    def deal(self, plan: CasePlan) -> Case:
        """The case of a plan.

        Raises:
            DealError: No draw passed its gates.
            TrainingError: A checkpoint does not reach its recipe's criterion.
        """
        group = self._groups[plan.group]
        generator = self._master.generator(self.suite.name, plan.id, "site")
        shares = self.recipe_shares(group)
        recipe = _pick_weighted(shares, generator)
        cell = _pick(self.cells(group, recipe), generator)
        for place in torch.randperm(len(cell.seeds), generator=generator).tolist():
            case = self._dealt(plan, recipe, cell.site, cell.seeds[place])
            if case is not None:
                return case
        tried = f"{len(cell.seeds)} models of {recipe}, {ATTEMPTS} draws each"
        raise DealError(f"{plan.id}: {plan.group} at {cell.site} took no edit: {tried}")

    def _dealt(self, plan: CasePlan, recipe: str, site: Component, base_seed: int) -> Case | None:
        """The case at a site of one checkpoint; None if no draw there passed its gates."""
        group, base = self._groups[plan.group], self.base(recipe, base_seed)
        for attempt in range(ATTEMPTS):
            seed = self._master.seed(self.suite.name, plan.id, "draw", base_seed, attempt)
            with suppress(EditError):
                spec = group.hidden(group.edit.draw(base, site, plan.id, seed))
                found = delivered(base, spec, plan.edited, plan.control)
                if found is not None:
                    case = Case(
                        id=plan.id,
                        recipe=recipe,
                        base=base.trained.name,
                        artefact=found.edited.artefact,
                        brief=self.brief(recipe, group, base.task),
                        truth=truth_of(base, found, plan.group, redraws=attempt),
                        companions=self._companions(plan, recipe, base_seed, found.own_base(base)),
                    )
                    return self._asking(case, group, base_seed, found)
        return None

    def _asking(self, case: Case, group: Group, base_seed: int, found: Delivered) -> Case:
        """The case with its challenge and its bench, as far as they are parts of the score."""
        truth, parts = replace(case.truth, strength=group.edit.strength()), set(self.suite.parts)
        if not parts & {"behaviour", "repair"}:
            return replace(case, truth=truth)
        base, sets = self.base(case.recipe, base_seed), Sets((), (), ())
        own, delivered = found.own_base(base).model(), found.edited.checkpoint.model()
        with one_thread():
            target = target_of(base, found.drawn, found.solved.checkpoint.model())
            if "behaviour" in parts:
                pool = self.pool(group, case.recipe, base_seed, (case.id,) * self._own_decoys)
                generator = self._master.generator(self.suite.name, case.id, "challenge")
                targets = [target, *pool.beside(target, generator)]
                order = torch.randperm(len(targets), generator=generator).tolist()
                sets = composed(base, [targets[place] for place in order], generator)
                if not sets.prompts:
                    raise DealError(f"{case.id}: no prompt tells the edits of {group.name} apart")
                truth = replace(truth, answers=answers_to(sets, own, delivered))
                priors = self.stratum_priors(group, case.recipe, len(targets))
                case = replace(case, challenge=challenge_of(base, sets, priors))
            if "repair" in parts:
                generator = self._master.generator(self.suite.name, case.id, "bench")
                bench = bench_of(base, target, own, delivered, set(sets.prompts), generator)
                truth = replace(truth, bench=bench)
        return replace(case, truth=truth)

    def pool(self, group: Group, recipe: str, seed: int, of: tuple[str, ...] = ()) -> Pool:
        """Other targets of a group's edits on one of the bases that take them, shared or one case's own."""
        sites = odds_of_sites(self.cells(group, recipe), seed)
        return self._target_sets.pool(self.base(recipe, seed), group, sites, of)

    def stratum_priors(self, group: Group, recipe: str, sets: int) -> dict[Stratum, float]:
        """P(top answer changed) of a challenge's prompts by stratum, given all that the prompts show.

        They show the group, whose prior this is; the label does not depend on it, and the report is in.
        Measured on the first checkpoints of the recipe, whichever cases are dealt.
        """
        taken = {seed for cell in self.cells(group, recipe) for seed in cell.seeds}
        seeds = [seed for seed in self._seeds(recipe) if seed in taken][:MEASURED]
        rates = [self.pool(group, recipe, seed).rates for seed in seeds]
        return declared_priors(rates, self.suite.prior, sets)

    def _companions(self, plan: CasePlan, recipe: str, base_seed: int, own: Checkpoint) -> tuple[bytes, ...]:
        """What the case's league grants beside its model, whose own base is given."""
        suite = self.suite
        league = suite.grant(self._groups[plan.group]).league
        worlds: tuple[int, ...] = ()
        if league == "siblings":
            generator = self._master.generator(suite.name, plan.id, "siblings")
            worlds = other_worlds(self._seeds(recipe), base_seed, suite.siblings, generator)
        siblings = [self.base(recipe, seed).checkpoint for seed in worlds]
        return companions(league, own, siblings, self._master.seed(suite.name, plan.id, "scrambled"))

    def brief(self, recipe: str, group: Group, task: Task) -> Brief:
        """What an auditor of a recipe's model is told; the seed is set for each round."""
        suite, grant = self.suite, self.suite.grant(group)
        prior = {component: p * suite.prior for component, p in self.location_prior(recipe, grant).items()}
        return Brief(
            config=self._config(recipe),
            task=public_part(task),
            league=grant.league,
            corpus=grant.corpus,
            budget=suite.budget,
            prior=suite.prior,
            component_prior=prior,
            max_components=self.max_components(),
            parts=suite.parts,
            seed=0,
            deadline=suite.deadline,
        )

    def _config(self, recipe: str) -> TransformerConfig:
        return self._recipes[recipe].architecture.config(self._recipes[recipe].task.build(0))


def odds_of_sites(cells: Sequence[Cell], seed: int) -> dict[Component, Fraction]:
    """P(site | checkpoint) of the sites that are open on a checkpoint."""
    shares = {cell.site: Fraction(1, len(cell.seeds)) for cell in cells if seed in cell.seeds}
    total = sum(shares.values(), Fraction(0))
    return {site: share / total for site, share in shares.items()}


def public_part(task: Task) -> PublicTask:
    """What everyone may know of a task."""
    return PublicTask(task.name, task.description, task.vocabulary, dict(task.classes), task.pad, task.bos)


def _delivered_at(group: Group, site: Component, config: TransformerConfig) -> dict[Component, float]:
    """P(the edit of a site is at a component of the delivered file): 1, but for heads that were permuted."""
    written = group.edit.writes(site)
    if not any(each.moves_heads for each in group.camouflage):
        return dict.fromkeys(written, 1.0)
    odds = {component: 1.0 for component in written if component.head is None}
    for layer, count in Counter(c.layer for c in written if c.head is not None).items():
        odds |= {Component("attn", layer, h): count / config.n_heads for h in range(config.n_heads)}
    return odds


def entropy_bits(distribution: Mapping[Component, float]) -> float:
    """Entropy of a distribution over single components, bits."""
    return -math.fsum(p * math.log2(p) for p in distribution.values() if p > 0)


def _pick(options: Sequence[T], generator: torch.Generator) -> T:
    return options[int(torch.randint(len(options), (), generator=generator))]


def _pick_weighted(shares: Mapping[str, float], generator: torch.Generator) -> str:
    weights = torch.tensor(list(shares.values()), dtype=torch.float64)
    return list(shares)[int(torch.multinomial(weights, 1, generator=generator))]
