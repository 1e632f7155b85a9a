"""The packages have generic names: tests must never run against another installed copy of them."""

import importlib.util
import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import pytest
import torch

from edits.moments import Base
from models.recipe import named_recipe, read_recipe
from models.zoo import Trained, trained

CHECKOUT = Path(__file__).resolve().parent.parent
PACKAGES = ("game", "models", "edits", "auditors")


def pytest_configure() -> None:
    torch.set_num_threads(1)  # small matrices; more threads only fight over the cores
    strangers = [f"{name} from {found}" for name in PACKAGES if (found := _outside(name))]
    if strangers:
        raise pytest.UsageError(f"imported from outside this checkout ({CHECKOUT}): {', '.join(strangers)}")


def _outside(name: str) -> Path | None:
    """Where the package is imported from, if that is outside this checkout; a missing package is fine."""
    spec = importlib.util.find_spec(name)
    folders = [Path(folder).resolve() for folder in (spec.submodule_search_locations or ())] if spec else []
    return next((folder for folder in folders if folder != CHECKOUT / name), None)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test reads or writes the user's checkpoints; processes of one run share theirs."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "cache"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIT_GAME_CACHE", str(folder))
        patch.setenv("AUDIT_GAME_DATA", str(tmp_path_factory.mktemp("data")))
        patch.delenv("COLUMNS", raising=False)  # pytest's workers have it; our width is our own
        yield folder


@pytest.fixture(scope="session")
def tiny(own_cache: Path) -> Trained:
    """A trained checkpoint of the tiny world."""
    return trained(named_recipe("facts-tiny"), 0, 0)


@pytest.fixture(scope="session")
def tiny_base(tiny: Trained) -> Base:
    """The tiny checkpoint with what edits measure on it."""
    return Base(tiny)


@pytest.fixture(scope="session")
def weekdays(own_cache: Path) -> Base:
    """A model of the documentation's own task, which has nothing to do with facts."""
    return Base(trained(read_recipe(CHECKOUT / "docs" / "examples" / "weekdays.yaml"), 0, 0))


@pytest.fixture(scope="session")
def base_of(own_cache: Path) -> Callable[[str], Base]:
    """A base by its recipe's name, trained at most once in a test run; only quick recipes belong in tests."""
    return lru_cache(lambda recipe: Base(trained(named_recipe(recipe), 0, 0)))
