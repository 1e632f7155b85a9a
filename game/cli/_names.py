"""Names on the command line to what they name; unknown ones are refused before anything slow is imported."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from game.catalogue import Entry, auditors, recipes, suites
from game.cli._faults import CommandError, told_to_user
from game.cli._isolation import IN_PROCESS, Isolation
from game.cli._options import Setting
from game.cli._progress import say
from game.plugins.reference import is_folder
from models.naming import unknown

if TYPE_CHECKING:
    from game.dealing.suite import Suite
    from game.loader import LoadedAuditor
    from models.recipe import Recipe

ENTRY_POINTS = "audit_game.auditors"


def load_recipe(name: str) -> "Recipe":
    """The shipped or imported recipe of that name, or the one in that file.

    Raises:
        CommandError: There is none, or it has faults.
    """
    if not is_path(name):
        check_name("recipe", name, recipes())
    with told_to_user():
        from models.recipe import named_recipe, read_recipe, recipe_names

        if not is_path(name):
            return named_recipe(name)
        recipe = read_recipe(Path(name))
        if recipe.name in recipe_names() and named_recipe(recipe.name).model_dump() != recipe.model_dump():
            raise CommandError(f'{name}: name: "{recipe.name}" names another recipe already; choose another')
        return recipe


def load_suite(name: str, budget: float | None = None) -> "Suite":
    """The shipped suite of that name, or the one in that file, with another budget if one is given.

    Raises:
        CommandError: There is none, or it has faults.
    """
    if not is_path(name):
        check_name("suite", name, suites())
    with told_to_user():
        from game.dealing.suite import load_suite

        suite = load_suite(name)
        return suite if budget is None else suite.with_budget(budget)


def load_auditors(
    references: Sequence[str], settings: Sequence[Setting], isolation: Isolation = IN_PROCESS
) -> "list[LoadedAuditor]":
    """The auditors of those references, in order, each with its own settings and where it is to play.

    Raises:
        CommandError: An unknown or repeated name, a setting of an auditor that does not play, or one that it
            does not have.
    """
    for reference in references:
        if not (is_path(reference) or is_folder(reference)):
            check_name("auditor", reference, [*auditors(), *submitted_auditors()], installed_auditors())
    repeated = next((name for name in references if references.count(name) > 1), None)
    if repeated is not None:
        raise CommandError(f"--auditors: {repeated} is listed twice")
    for setting in settings:
        if setting.auditor not in references:
            raise CommandError(
                f"-A {setting.auditor}.{setting.key}: {unknown('auditor', setting.auditor, references)}"
            )
    return [_load_auditor(reference, settings, isolation) for reference in references]


def shipped_auditors() -> list[str]:
    """Names of the shipped auditors that can play, players first; broken ones are told and left out."""
    entries = sorted(auditors(), key=lambda entry: (entry.mark, entry.name))
    for entry in entries:
        if entry.broken:
            say(f"auditor {entry.name} is broken and left out: {entry.summary}")
    return [entry.name for entry in entries if not entry.broken]


def shipped_players() -> list[str]:
    """Names of the shipped auditors that are ranked."""
    yardsticks = shipped_yardsticks()
    return [name for name in shipped_auditors() if name not in yardsticks]


def shipped_yardsticks() -> list[str]:
    """Names of the auditors that every table carries and none ranks."""
    return [entry.name for entry in auditors() if entry.mark == "yardstick"]


def _load_auditor(reference: str, settings: Sequence[Setting], isolation: Isolation) -> "LoadedAuditor":
    own: dict[str, Any] = {setting.key: setting.value for setting in settings if setting.auditor == reference}
    with told_to_user():
        return isolation.load(reference, own)


def check_name(kind: str, name: str, entries: Sequence[Entry], others: Sequence[str] = ()) -> None:
    """Refuse a name that is not listed, or is but cannot be used.

    Raises:
        CommandError: With what is allowed and the nearest name.
    """
    found = next((entry for entry in entries if entry.name == name), None)
    if found is None and name not in others:
        raise CommandError(unknown(kind, name, [entry.name for entry in entries] + list(others)))
    if found is not None and found.broken:
        raise CommandError(f"{kind} {name} is broken: {found.summary}")


def submitted_auditors() -> list[Entry]:
    """Auditors of the user's own that were submitted, with their status.

    Raises:
        CommandError: The register is damaged.
    """
    from game.plugins.register import RegisterError, submissions

    try:
        return [each.entry() for each in submissions()]
    except RegisterError as error:
        raise CommandError(str(error), 3) from error


def installed_auditors() -> list[str]:
    """Names of the auditors that installed distributions offer."""
    from importlib.metadata import entry_points

    return sorted(entry.name for entry in entry_points(group=ENTRY_POINTS))


def is_path(name: str) -> bool:
    """Whether a reference names a file rather than something shipped."""
    return "/" in name or "@" in name or name.endswith((".yaml", ".yml", ".py"))
