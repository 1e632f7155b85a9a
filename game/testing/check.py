"""Holding a plug-in to its contract, from its reference."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from edits.moments import Base
from game.catalogue import ROOT
from game.loader import AUDITOR, RED, LoadedAuditor, LoadError, Role, load_auditor, load_strategy
from game.plugins.manifest import AuditorManifest
from game.sandbox.check import not_above, reach
from game.sandbox.isolated import code_of, load_isolated
from game.sandbox.tiers import IsolationError
from game.sandbox.warden import Sandbox
from game.testing.auditor_rules import AUDITOR_RULES, AuditorSubject
from game.testing.contract import Finding, Rule, findings
from game.testing.red_rules import RED_RULES, RedSubject
from game.testing.source import Source
from game.testing.stage import DEADLINE
from models.recipe import named_recipe
from models.zoo import trained

LOADS = "it can be loaded"
RECIPE = "facts-tiny"  # what red strategies plan on: trains in seconds, and takes no quiet edits


def check_auditor(reference: str, deadline: float = DEADLINE) -> tuple[Finding, ...]:
    """What comes of every rule of the contract, in the strongest jail of this machine.

    Args:
        reference: A folder with `auditor.yaml`, `file.py@Class`, or a name.
        deadline: Seconds for each round.

    Raises:
        IsolationError: A jail that could be built once cannot be built again.
    """
    try:
        with best_sandbox(reference) as sandbox:
            return tuple(auditor_findings(reference, sandbox, deadline))
    except LoadError as error:
        return tuple(_not_loaded(error, AUDITOR_RULES))


def auditor_findings(
    reference: str, sandbox: Sandbox | None, deadline: float = DEADLINE
) -> Iterator[Finding]:
    """What comes of every rule, as soon as it is known.

    Args:
        reference: As in `check_auditor`.
        sandbox: Where it plays; None is this process.
        deadline: Seconds for each round.

    Raises:
        IsolationError: The jail cannot be built.
    """
    try:
        subject = auditor_subject(reference, sandbox, deadline)
    except LoadError as error:
        yield from _not_loaded(error, AUDITOR_RULES)
        return
    yield Finding(LOADS, "held")
    yield from findings(AUDITOR_RULES, subject)


def auditor_subject(reference: str, sandbox: Sandbox | None, deadline: float = DEADLINE) -> AuditorSubject:
    """The auditor of a reference, ready to be held to the rules.

    Raises:
        LoadError: It cannot be loaded.
        IsolationError: The jail cannot be built.
    """

    def load(settings: Mapping[str, Any]) -> LoadedAuditor:
        if sandbox is None:
            return load_auditor(reference, settings)
        return load_isolated(reference, settings, sandbox)

    player, place = load({}), AUDITOR.place(reference)
    manifest = place.manifest if place else None
    return AuditorSubject(
        player=player,
        manifest=manifest if isinstance(manifest, AuditorManifest) else None,
        source=source_of(AUDITOR, reference, player.auditor),
        deadline=deadline,
        load=load,
    )


def source_of(role: Role, reference: str, strategy: object) -> Source:
    """What the text of a reference's file says of its class."""
    place = role.place(reference)
    if place is not None:
        return Source.read(place.file, place.class_name, role.method)
    if reference in role.shipped:
        return Source.read(ROOT / role.package.replace(".", "/") / f"{reference}.py", "", role.method)
    return Source.read(Path(inspect.getfile(type(strategy))), type(strategy).__name__, role.method)


def check_red(reference: str, deadline: float = DEADLINE) -> tuple[Finding, ...]:
    """What comes of every rule of a red strategy's contract, whose code runs in this process.

    Args:
        reference: A folder with `red.yaml`, `file.py@Class`, or a name.
        deadline: Seconds for each plan.
    """
    return tuple(red_findings(reference, deadline))


def red_findings(
    reference: str,
    deadline: float = DEADLINE,
    recipe: str = RECIPE,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[Finding]:
    """What comes of every rule, as soon as it is known.

    Args:
        reference: As in `check_red`.
        deadline: Seconds for each plan.
        recipe: Of the model that it plans on; trained if it must be.
        settings: Of the strategy.
    """
    try:
        subject = red_subject(reference, deadline, recipe, settings or {})
    except LoadError as error:
        yield from _not_loaded(error, RED_RULES)
        return
    yield Finding(LOADS, "held")
    yield from findings(RED_RULES, subject)


def red_subject(reference: str, deadline: float, recipe: str, settings: Mapping[str, Any]) -> RedSubject:
    """The red strategy of a reference, ready to be held to the rules.

    Raises:
        LoadError: It cannot be loaded.
    """
    name, strategy, _ = load_strategy(reference, settings)
    return RedSubject(
        reference=reference,
        given=settings,
        name=name,
        strategy=strategy,
        source=source_of(RED, reference, strategy),
        base=_base(recipe),
        deadline=deadline,
    )


@cache
def _base(recipe: str) -> Base:
    return Base(trained(named_recipe(recipe), 0, 0))


def _not_loaded(error: LoadError, rules: Sequence[Rule[Any]]) -> Iterator[Finding]:
    yield Finding(LOADS, "broken", str(error))
    for rule in rules:
        yield Finding(rule.name, "not tried", f"as this is broken: {LOADS}")


@contextmanager
def best_sandbox(reference: str) -> Iterator[Sandbox | None]:
    """A jail of the strongest tier that this machine reaches; None if it reaches none.

    Raises:
        LoadError: The reference leads nowhere.
    """
    try:
        sandbox = reach(not_above("bubblewrap"), code_of(reference))
    except IsolationError:
        yield None
        return
    with sandbox:
        yield sandbox
