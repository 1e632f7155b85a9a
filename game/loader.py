"""Finding a plug-in by reference: a shipped name, an installed one, `file.py@Class`, or a folder."""

import ast
import dataclasses
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from edits.briefing import RedStrategy
from game.api import Auditor
from game.catalogue import ROOT
from game.plugins.manifest import AUDITOR_FILE, RED_FILE
from game.plugins.place import Place, PlaceError, place_of
from game.plugins.register import RegisterError, submission, submissions
from game.sandbox.tiers import Tier
from game.sources import digest_of, source_of
from models.naming import one_line, unknown


@dataclass(frozen=True)
class Role:
    """One sort of plug-in: where its files are and what its class must offer.

    Attributes:
        name: As messages say it.
        package: The folder of the shipped ones, as a package.
        group: Entry points of installed ones.
        method: What the class must have, with the names of its arguments.
        arguments: See `method`.
        manifest: What the folder of a user's own holds.
    """

    name: str
    package: str
    group: str
    method: str
    arguments: tuple[str, ...]
    manifest: str

    @property
    def shipped(self) -> list[str]:
        """Names of the files in the folder."""
        files = (ROOT / self.package.replace(".", "/")).glob("*.py")
        return sorted(file.stem for file in files if not file.stem.startswith("_"))

    @property
    def call(self) -> str:
        """Such as `audit(toolbox, brief)`."""
        return f"{self.method}({', '.join(self.arguments)})"

    def place(self, reference: str) -> Place | None:
        """Where the code of a user's own plug-in is; None if the reference is the name of another one.

        Raises:
            LoadError: There is none.
        """
        try:
            if reference in self.shipped:
                return None
            return place_of(self.manifest, reference) or self._submitted(reference)
        except (PlaceError, RegisterError) as error:
            raise LoadError(f"{self.name} {error}") from error

    def _submitted(self, name: str) -> Place | None:
        """Where a submitted plug-in is; one that changed since then is not what was submitted.

        Raises:
            PlaceError: It changed, or is broken.
        """
        found = None if self.installed(name) else submission(name)
        if found is None or not (Path(found.folder) / self.manifest).is_file():
            return None
        if (status := found.now()) in ("stale", "broken"):
            again = f"audit-game submit {found.folder}"
            raise PlaceError(f"{name} is {status}: {found.entry().summary}; {again}")
        return place_of(self.manifest, f"{found.folder}/")

    def installed(self, name: str) -> bool:
        """Whether an installed distribution offers one of that name."""
        return any(entry.name == name for entry in entry_points(group=self.group))


AUDITOR = Role("auditor", "auditors", "audit_game.auditors", "audit", ("toolbox", "brief"), AUDITOR_FILE)
RED = Role("red strategy", "edits.strategies", "audit_game.strategies", "plan", ("briefing",), RED_FILE)


class LoadError(ValueError):
    """No plug-in can be made from a reference; the message says why, and where in a file."""


@dataclass(frozen=True)
class LoadedAuditor:
    """An auditor ready to play.

    Attributes:
        name: As it appears in tables.
        auditor: The plug-in, with its settings.
        yardstick: Whether it is shown but never ranked.
        sees_reference: Whether its toolbox is unmetered and grants the exact reference; it is a
            yardstick then.
        tier: How its code is kept from ours.
        identity: Its settings and the hash of its source, where it is not loaded here to be asked.
    """

    name: str
    auditor: Auditor
    yardstick: bool
    tier: Tier = "in process"
    identity: Mapping[str, Any] | None = None
    sees_reference: bool = False


def load_auditor(reference: str, settings: Mapping[str, Any]) -> LoadedAuditor:
    """The auditor of a reference, with some of its fields set.

    Args:
        reference: A shipped name, an entry point's name, `path/to/file.py@Class`, or a folder with
            `auditor.yaml`.
        settings: Field values; text is read as the field's type, so that a command line can give them.

    Raises:
        LoadError: Nothing there, it does not import, it is no auditor, or a setting does not fit.
    """
    place = AUDITOR.place(reference)
    strategy = _strategy(AUDITOR, reference, place)
    auditor: Auditor = _with_settings(AUDITOR, reference, strategy, settings)
    sees_reference = bool(getattr(strategy, "sees_reference", False))
    identity = None
    if place and place.folder:
        identity = {"settings": settings_of(auditor), "source": _digest(AUDITOR, place)}
    return LoadedAuditor(
        name=place.name if place else reference,
        auditor=auditor,
        yardstick=sees_reference or bool(getattr(strategy, "yardstick", False)),
        sees_reference=sees_reference,
        identity=identity,
    )


class LoadedStrategy(NamedTuple):
    """A red strategy ready to plan.

    Attributes:
        name: As it appears in tables.
        strategy: The plug-in, with its settings.
        source: Digest of its file or folder; another one is another competitor.
    """

    name: str
    strategy: RedStrategy
    source: str


def load_strategy(reference: str, settings: Mapping[str, Any]) -> LoadedStrategy:
    """The red strategy of a reference.

    Raises:
        LoadError: As for an auditor.
    """
    place = RED.place(reference)
    strategy = _strategy(RED, reference, place)
    planner: RedStrategy = _with_settings(RED, reference, strategy, settings)
    source = _digest(RED, place) if place else digest_of(source_of(planner))
    return LoadedStrategy(place.name if place else reference, planner, source)


def settings_of(auditor: Any) -> dict[str, Any]:
    """An auditor's settings as JSON takes them."""
    values = {each.name: getattr(auditor, each.name) for each in dataclasses.fields(auditor) if each.init}
    plain = bool | int | float | str | None
    return {name: value if isinstance(value, plain) else repr(value) for name, value in values.items()}


def _digest(role: Role, place: Place) -> str:
    """Of every file that a plug-in of the user's own is made of.

    Raises:
        LoadError: One of them cannot be read, or must not be there.
    """
    try:
        return place.digest()
    except PlaceError as error:
        raise LoadError(f"{role.name} {error}") from error


def _strategy(role: Role, reference: str, place: Place | None) -> type[Any]:
    if place is not None:
        member = _member(role, reference, _module_of(role, place), place.class_name)
        return _checked(role, reference, member)
    installed = {entry.name: entry for entry in entry_points(group=role.group)}
    if reference in role.shipped:
        module = _imported(role, reference, lambda: importlib.import_module(f"{role.package}.{reference}"))
        return _only_one(role, reference, module)
    if reference in installed:
        return _checked(role, reference, _imported(role, reference, installed[reference].load))
    own = [each.name for each in submissions()] if role is AUDITOR else []
    raise LoadError(unknown(role.name, reference, [*role.shipped, *installed, *own]))


def _imported(role: Role, reference: str, load: Any) -> Any:
    """What `load` imports; whatever a plug-in raises on import becomes one message."""
    try:
        return load()
    except SyntaxError as error:
        raise LoadError(f"{role.name} {reference}: {error.filename}:{error.lineno}: {error.msg}") from error
    except Exception as error:
        raise LoadError(
            f"{role.name} {reference}: fails on import: {type(error).__name__}: {one_line(str(error))}"
        ) from error


def _module_of(role: Role, place: Place) -> Any:
    """A file's module under a private name, so that it shadows none of ours; its folder comes last."""
    path = place.file
    if place.folder and str(place.code) not in sys.path:
        sys.path.append(str(place.code))
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    name = f"_{role.method}_{path.stem}_{digest}"

    def load() -> Any:
        ast.parse(path.read_bytes(), str(path))
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError("not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    return _imported(role, str(path), load)


def _member(role: Role, reference: str, module: Any, class_name: str) -> Any:
    found = [name for name, value in vars(module).items() if inspect.isclass(value)]
    if class_name not in found:
        raise LoadError(f"{role.name} {reference}: {unknown('class', class_name, found)}")
    return getattr(module, class_name)


def _only_one(role: Role, reference: str, module: Any) -> type[Any]:
    own = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and value.__module__ == module.__name__ and hasattr(value, role.method)
    ]
    if len(own) != 1:
        raise LoadError(f"{role.name} {reference}: wanted one class with `{role.method}`, found {len(own)}")
    return _checked(role, reference, own[0])


def _checked(role: Role, reference: str, strategy: Any) -> type[Any]:
    """The class, if it can play.

    Raises:
        LoadError: Not a frozen dataclass, or its method cannot be called as the role wants.
    """
    if not (inspect.isclass(strategy) and dataclasses.is_dataclass(strategy)):
        raise LoadError(f"{role.name} {reference}: wanted a dataclass whose fields are its settings")
    method = getattr(strategy, role.method, None)
    if not callable(method):
        raise LoadError(f"{role.name} {reference}: has no method `{role.call}`")
    try:
        inspect.signature(method).bind(None, *(None for _ in role.arguments))
    except TypeError as error:
        wanted = f"`{role.method}` must take ({', '.join(role.arguments)})"
        raise LoadError(f"{role.name} {reference}: {wanted}: {error}") from error
    return strategy


def _with_settings(role: Role, reference: str, strategy: type[Any], settings: Mapping[str, Any]) -> Any:
    fields = [field.name for field in dataclasses.fields(strategy) if field.init]
    for name in settings:
        if name not in fields:
            raise LoadError(f"{role.name} {reference}: {unknown('setting', name, fields)}")
    hints = get_type_hints(strategy)
    try:
        values = {name: _read(hints[name], value) for name, value in settings.items()}
    except ValidationError as error:
        fault = error.errors()[0]
        raise LoadError(f"{role.name} {reference}: setting {fault['input']!r}: {fault['msg']}") from error
    return _imported(role, reference, lambda: strategy(**values))


def _read(hint: Any, value: Any) -> Any:
    """A setting as its field's type; text such as `0.5` becomes a number where one is wanted."""
    return TypeAdapter(hint, config=ConfigDict(allow_inf_nan=False)).validate_python(value)
