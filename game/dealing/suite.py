"""Suites: YAML that lists groups of cases; what they would deal is fixed by rule before any is drawn."""

import hashlib
import json
from collections.abc import Mapping
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field

from edits.base import Camouflage, EditSpec, Family
from edits.camouflage.base import Approximate, CamouflageError
from edits.kinds import control_kinds, families
from game.api import LEAGUES, Corpus, League, Part
from models.components import Component
from models.naming import unknown
from models.recipe import Recipe, named_recipe, recipe_names
from models.strict_yaml import ConfigError, Document, Fault, StrictModel, read_document

FOLDER = Path(__file__).parent.parent / "suites"
if TYPE_CHECKING:
    AnyFamily = Family
else:  # the folder decides which kinds there are
    AnyFamily = Annotated[reduce(or_, families().values()), Field(discriminator="kind")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=40)]


class Grant(NamedTuple):
    """What an auditor of a case may access; every brief tells it."""

    league: League
    corpus: Corpus


class Bases(StrictModel):
    """The checkpoints of one recipe that cases are made from: worlds and seeds `first`, `first + 1`, ..."""

    recipe: str
    checkpoints: Annotated[int, Field(ge=1, le=1000)]
    first: Annotated[int, Field(ge=0, le=10**9)] = 0

    @property
    def seeds(self) -> range:
        """World seed and training seed of each checkpoint."""
        return range(self.first, self.first + self.checkpoints)


class Group(StrictModel):
    """Cases of one edit family at one strength, with the controls that belong to it.

    Attributes:
        name: For breakdowns; never told to an auditor.
        count: Cases.
        edit: The family: kind and strength.
        sites: For each recipe, the components that its edits write to, drawn uniformly; `blocks.1.attn.*`
            is every head of a layer.
        controls: Kinds of controls, drawn uniformly, each matched to an edit that is solved and discarded.
        camouflage: Passes that hide every case of the group, its controls too.
        league: What auditors of its cases are granted, if not what the suite says.
        corpus: What `sample` returns for them, if not what the suite says.
    """

    name: Name
    count: Annotated[int, Field(ge=1, le=100_000)]
    edit: AnyFamily
    sites: Mapping[str, Annotated[tuple[str, ...], Field(min_length=1)]]
    controls: Annotated[tuple[str, ...], Field(min_length=1)]
    camouflage: Camouflage = ()
    league: League | None = None
    corpus: Corpus | None = None

    def hidden(self, spec: EditSpec) -> EditSpec:
        """The specification with the group's camouflage."""
        return spec.model_copy(update={"camouflage": self.camouflage})


class Suite(StrictModel):
    """A declared distribution of cases.

    Attributes:
        title: One line for tables.
        league: What auditors are granted, in every group that does not say otherwise.
        corpus: What `sample` returns, likewise.
        siblings: Clean models of other worlds that a case of that league grants.
        prior: P(edited), in every group.
        budget: Credits a round.
        deadline: Wall-clock limit of a round, seconds.
        parts: The parts of the headline; `score` in the YAML.
        bases: Checkpoints by recipe.
        groups: What is dealt.
    """

    version: Literal[1]
    name: Name
    title: str
    league: League = "whitebox"
    corpus: Corpus = "prompts"
    siblings: Annotated[int, Field(ge=1, le=16)] = 3
    prior: Annotated[float, Field(gt=0, le=2 / 3)] = 0.5
    budget: Annotated[float, Field(gt=0, le=1e9)]
    deadline: Annotated[float, Field(gt=0, le=3600)] = 60.0
    parts: Annotated[tuple[Part, ...], Field(min_length=1, alias="score")]
    bases: Annotated[tuple[Bases, ...], Field(min_length=1)]
    groups: Annotated[tuple[Group, ...], Field(min_length=1)]

    @property
    def n_cases(self) -> int:
        """Cases in all."""
        return sum(group.count for group in self.groups)

    @property
    def digest(self) -> str:
        """SHA-256 of the content, and of the recipes that it names."""
        content = [
            self.model_dump(mode="json"),
            [recipe.model_dump(mode="json") for recipe in self.recipes.values()],
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def recipes(self) -> dict[str, Recipe]:
        """The recipes by name."""
        return {bases.recipe: named_recipe(bases.recipe) for bases in self.bases}

    def grant(self, group: Group) -> Grant:
        """What auditors of a group's cases may access."""
        return Grant(group.league or self.league, group.corpus or self.corpus)

    @property
    def leagues(self) -> tuple[League, ...]:
        """The leagues that cases are dealt in, those that grant less first."""
        dealt = {self.grant(group).league for group in self.groups}
        return tuple(league for league in LEAGUES if league in dealt)

    def seeds(self, recipe: str) -> tuple[int, ...]:
        """World seeds, and training seeds, of a recipe's checkpoints, without repeats."""
        declared = [seed for bases in self.bases if bases.recipe == recipe for seed in bases.seeds]
        return tuple(dict.fromkeys(declared))

    def with_budget(self, budget: float) -> Self:
        """The same suite at another budget, credits a round."""
        return self.model_copy(update={"budget": budget})


def suite_names() -> tuple[str, ...]:
    """Names of the shipped suites."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def load_suite(name_or_path: str) -> Suite:
    """A shipped suite by name, or the one in a file.

    Raises:
        ConfigError: There is none, or every fault of it with its place.
    """
    if name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path:
        return suite_of(read_document(Path(name_or_path)))
    if name_or_path not in suite_names():
        raise ConfigError([Fault("", None, None, "", unknown("suite", name_or_path, suite_names()))])
    return suite_of(read_document(FOLDER / f"{name_or_path}.yaml"))


def suite_of(document: Document) -> Suite:
    """The suite that a document describes.

    Raises:
        ConfigError: Every fault, with its place.
    """
    suite = document.validate(Suite)
    faults = [fault for error in _meaning_faults(document, suite) for fault in error.faults]
    if faults:
        raise ConfigError(faults)
    return suite


def _meaning_faults(document: Document, suite: Suite) -> list[ConfigError]:
    """What is well formed but cannot be dealt."""
    faults = []
    for index, bases in enumerate(suite.bases):
        if bases.recipe not in recipe_names():
            faults.append(
                document.error(("bases", index, "recipe"), unknown("recipe", bases.recipe, recipe_names()))
            )
            continue
        imported = named_recipe(bases.recipe).imported
        if imported is not None and list(bases.seeds) != [imported.world_seed]:
            message = (
                f"{bases.recipe} is imported and has one checkpoint; wanted first: {imported.world_seed}"
            )
            faults.append(document.error(("bases", index), f"{message}, checkpoints: 1"))
    if faults:
        return faults
    recipes = suite.recipes  # read once: a suite has many groups
    names = [group.name for group in suite.groups]
    for index, group in enumerate(suite.groups):
        if group.name in names[:index]:
            faults.append(document.error(("groups", index, "name"), f'"{group.name}" names an earlier group'))
        for place, control in enumerate(group.controls):
            if control not in control_kinds():
                message = unknown("control", control, control_kinds())
                faults.append(document.error(("groups", index, "controls", place), message))
            elif control == "gauge_only":
                message = "gauge_only is told by rewritings that edits lack; give the group camouflage, which"
                fault = document.error(
                    ("groups", index, "controls", place), f"{message} untouched then has alone"
                )
                faults.append(fault)
            elif control_kinds()[control].replaces and (of_change := _of_change(group)):
                message = f"{control} has other weights altogether, and {of_change} hides a change"
                faults.append(document.error(("groups", index, "controls", place), message))
            elif control_kinds()[control].trains and (untrained := _untrained(recipes, group)):
                message = f"{control} trains further, but recipe {untrained} says nothing about training"
                faults.append(document.error(("groups", index, "controls", place), message))
        faults += _site_faults(document, recipes, group, index)
        faults += _camouflage_faults(document, recipes, group, index)
        faults += _sibling_faults(document, suite, recipes, index)
    return faults


def _of_change(group: Group) -> str | None:
    """A pass of the group that works on the difference from the base."""
    passes = (each for each in group.camouflage if isinstance(each, Approximate) and each.of_change)
    return next((each.kind for each in passes), None)


def _untrained(recipes: Mapping[str, Recipe], group: Group) -> str | None:
    """A recipe of a group that has no training."""
    own = (recipes[name] for name in group.sites if name in recipes)
    return next((recipe.name for recipe in own if recipe.training is None), None)


def _camouflage_faults(
    document: Document, recipes: Mapping[str, Recipe], group: Group, index: int
) -> list[ConfigError]:
    """Passes that do not suit one of the group's architectures."""
    faults: list[ConfigError] = []
    if not group.camouflage:
        return faults
    for recipe in (recipes[name] for name in group.sites if name in recipes):
        config = recipe.architecture.config(recipe.task.build(0))
        for place, each in enumerate(group.camouflage):
            try:
                each.check(config)
            except CamouflageError as error:
                message = f"{recipe.name}: {error}"
                faults.append(document.error(("groups", index, "camouflage", place), message))
    return faults


def _sibling_faults(
    document: Document, suite: Suite, recipes: Mapping[str, Recipe], index: int
) -> list[ConfigError]:
    """Recipes of a group that have too few other worlds for the siblings that its league grants."""
    group, faults = suite.groups[index], []
    if suite.grant(group).league != "siblings":
        return []
    at: tuple[str | int, ...] = ("groups", index, "league") if group.league else ("league",)
    for recipe in (name for name in group.sites if name in recipes):
        others = len(suite.seeds(recipe)) - 1
        if recipes[recipe].imported is not None:
            message = f"{recipe} is imported and has no model of another world; choose another league"
            faults.append(document.error(at, message))
        elif others < suite.siblings:
            wanted = f"wanted siblings: {suite.siblings}, so at least {suite.siblings + 1} checkpoints"
            faults.append(document.error(at, f"{recipe} has {others} models of other worlds; {wanted}"))
    return faults


def _site_faults(
    document: Document, recipes: Mapping[str, Recipe], group: Group, index: int
) -> list[ConfigError]:
    faults = []
    for recipe, names in group.sites.items():
        at = ("groups", index, "sites", recipe)
        if recipe not in recipes:
            faults.append(document.error(at, unknown("recipe of this suite", recipe, recipes)))
            continue
        allowed, task = group.edit.tasks, recipes[recipe].task.kind
        if allowed is not None and task not in allowed:
            message = f"{group.edit.kind} edits models of {', '.join(allowed)}, not of {task}"
            faults.append(document.error(at, message))
            continue
        legal = open_sites(group, recipes[recipe])
        for place, name in enumerate(names):
            if not matching_sites(name, legal):
                shown = sorted({str(site) for site in legal} | {_every_head(site) for site in legal})
                faults.append(document.error((*at, place), unknown("site", name, shown)))
    return faults


def open_sites(group: Group, recipe: Recipe) -> tuple[Component, ...]:
    """The components that a group's family can write to in a recipe's models."""
    return group.edit.open_sites(recipe.architecture.config(recipe.task.build(0)))


def matching_sites(name: str, legal: tuple[Component, ...]) -> list[Component]:
    """The legal sites that a name stands for: one component, or `blocks.L.attn.*`."""
    return [site for site in legal if name in (str(site), _every_head(site))]


def _every_head(site: Component) -> str:
    return f"blocks.{site.layer}.attn.*" if site.head is not None else str(site)


def declared_sites(group: Group, recipe: Recipe) -> tuple[Component, ...]:
    """A group's sites in a recipe's models, without repeats, in order."""
    legal = open_sites(group, recipe)
    return tuple(sorted({site for name in group.sites[recipe.name] for site in matching_sites(name, legal)}))


def as_data(model: StrictModel) -> dict[str, Any]:
    """A model as JSON-ready data."""
    return model.model_dump(mode="json")
