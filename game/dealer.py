"""The dealer: draws cases from a suite by rule, and knows the prior that the rule implies.

For each case the group, label, control kind, recipe, site and base are drawn first and kept. Then edits
there are drawn until the gates pass on the delivered file; a control goes through the same motions and is
matched to the edit that it replaces, so that nothing but the change itself tells the two apart.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from edits.apply import apply, written_components
from edits.base import Edited, EditError, EditSpec
from edits.moments import Base
from game.acceptance import accepts, matched_control
from game.api import Brief, PublicTask
from game.case import Case, Truth
from game.companions import companions, other_worlds
from game.master import Master
from game.suite import Grant, Group, Suite, as_data, declared_sites
from models.components import Component, component_entries
from models.nursery import train_missing
from models.tasks.base import Task
from models.training import Progress
from models.transformer import TransformerConfig
from models.zoo import trained

ATTEMPTS = 40  # draws at one site before giving up; a shipped site accepts most of its first draws
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
    """

    def __init__(self, suite: Suite, master: Master, on_step: OnStep = lambda _name, _progress: None) -> None:
        self.suite, self._master, self._on_step = suite, master, on_step
        self._groups = {group.name: group for group in suite.groups}
        self._recipes = suite.recipes
        self._bases: dict[tuple[str, int], Base] = {}
        self._cells: dict[tuple[str, str], tuple[Cell, ...]] = {}

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
        accept it, and its cases are made from those.

        Raises:
            DealError: No site is open.
        """
        key = (group.name, recipe)
        if key not in self._cells:
            sites = declared_sites(group, self._recipes[recipe])
            cells = [Cell(site, self._accepting(group, recipe, site)) for site in sites]
            enough = ENOUGH * len(self._seeds(recipe))
            self._cells[key] = tuple(cell for cell in cells if cell.seeds and len(cell.seeds) >= enough)
        if not self._cells[key]:
            raise DealError(f"suite {self.suite.name}: group {group.name} has no open site in {recipe}")
        return self._cells[key]

    def _accepting(self, group: Group, recipe: str, site: Component) -> tuple[int, ...]:
        if group.edit.redraws:
            return self._seeds(recipe)
        return tuple(seed for seed in self._seeds(recipe) if accepts(self.base(recipe, seed), group, site))

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
        base_seed = _pick(cell.seeds, generator)
        base = self.base(recipe, base_seed)
        refusal = ""
        for attempt in range(ATTEMPTS):
            seed = self._master.seed(self.suite.name, plan.id, "draw", attempt)
            try:
                spec = group.hidden(group.edit.draw(base, cell.site, plan.id, seed))
                found = delivered(base, spec, plan.edited, plan.control)
            except EditError as error:
                refusal = f"; the last one: {error}"
                continue
            if found is not None:
                truth = truth_of(base, found, plan.group, redraws=attempt)
                return Case(
                    id=plan.id,
                    recipe=recipe,
                    base=base.trained.name,
                    artefact=found.edited.artefact,
                    brief=self.brief(recipe, group, base.task),
                    truth=truth,
                    companions=self._companions(plan, recipe, base_seed),
                )
        where = f"{plan.group} at {cell.site} of {base.trained.name}"
        raise DealError(f"{plan.id}: {where} took none of {ATTEMPTS} draws{refusal}")

    def _companions(self, plan: CasePlan, recipe: str, base_seed: int) -> tuple[bytes, ...]:
        """What the case's league grants beside its model."""
        suite, base = self.suite, self.base(recipe, base_seed).checkpoint
        league = suite.grant(self._groups[plan.group]).league
        worlds: tuple[int, ...] = ()
        if league == "siblings":
            generator = self._master.generator(suite.name, plan.id, "siblings")
            worlds = other_worlds(self._seeds(recipe), base_seed, suite.siblings, generator)
        siblings = [self.base(recipe, seed).checkpoint for seed in worlds]
        return companions(league, base, siblings, self._master.seed(suite.name, plan.id, "scrambled"))

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


@dataclass(frozen=True)
class Delivered:
    """What a case delivers.

    Attributes:
        spec: Of the edit or control.
        edited: What it made.
        drawn: The edit that the case was drawn around; `spec` itself, unless that is a control's.
    """

    spec: EditSpec
    edited: Edited
    drawn: EditSpec


def delivered(base: Base, spec: EditSpec, edited: bool, control: str) -> Delivered | None:
    """The edit, or its matched control; None where one of them fails its gates.

    Args:
        base: What is edited.
        spec: The edit, solved for a control too.
        edited: The label.
        control: Kind of control.
    """
    edit = apply(base, spec)
    if not edit.record.accepted:
        return None
    if edited:
        return Delivered(spec, edit, spec)
    sham = matched_control(control, edit, spec)
    made = apply(base, sham)
    return Delivered(sham, made, spec) if made.record.accepted else None


def truth_of(base: Base, found: Delivered, group: str, redraws: int) -> Truth:
    """What the referee knows of a delivered case, with the draws that failed before it."""
    record = found.edited.record
    return Truth(
        edited=record.edited,
        written=written_components(found.edited),
        group=group,
        kind=record.kind,
        matched=found.drawn.kind(),
        summary=found.spec.summary(base),
        spec=as_data(found.spec),
        record={**record.to_dict(), "redraws": redraws},
    )


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
