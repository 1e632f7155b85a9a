"""The passes that the folder holds, found in its modules, and the type of an entry of `camouflage:`."""

import importlib
import pkgutil
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from edits.camouflage.base import CamouflageError, Exact, Pass
from models.transformer import TransformerConfig


def passes() -> dict[str, type[Pass]]:
    """Every kind of pass by name."""
    found: dict[str, type[Pass]] = {}
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if module.name not in ("base", "folder"):
            for value in vars(importlib.import_module(f"{__package__}.{module.name}")).values():
                if (
                    isinstance(value, type)
                    and issubclass(value, Pass)
                    and value.__module__.endswith(module.name)
                ):
                    found[value.model_fields["kind"].default] = value
    return dict(sorted(found.items()))


def exact_passes(config: TransformerConfig) -> tuple[Exact, ...]:
    """Every exact pass that suits an architecture, with its default settings, by name."""
    exact = (each(kind=kind) for kind, each in passes().items() if issubclass(each, Exact))
    return tuple(each for each in exact if _suits(each, config))


def _suits(each: Pass, config: TransformerConfig) -> bool:
    try:
        each.check(config)
    except CamouflageError:
        return False
    return True


if TYPE_CHECKING:
    AnyPass = Pass
else:  # the folder decides which kinds there are
    AnyPass = Annotated[reduce(or_, passes().values()), Field(discriminator="kind")]
