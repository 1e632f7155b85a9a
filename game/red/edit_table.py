"""What every kind of edit does on real models: random targets, first tries beside accepted edits.

A first try is the first candidate of a drawn edit, whatever its gates say; the accepted ones are what a case
would deliver. Every kind is tried at home: on the recipe that its family names.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import torch

from edits.apply import tries
from edits.base import EditError, Family
from edits.kinds import families
from edits.moments import Base
from models.components import Component
from models.recipe import named_recipe
from models.seeds import named_seed
from models.training import one_thread
from models.zoo import trained

SEEDS = (900, 901, 902)


@dataclass(frozen=True)
class Attempt:
    """One drawn edit.

    Attributes:
        kind: Of the edit.
        recipe: Of the model.
        seed: World and training seed of the model.
        site: Where it was drawn.
        first: Measures of the first candidate; empty if the draw was refused.
        first_accepted: Whether the first candidate passes every gate.
        kept: Measures of the first candidate that does; empty if none does.
        refusal: Why no candidate could be made; empty if one was.
        cpu_s: Seconds until the kept candidate, or the last one, was judged.
    """

    kind: str
    recipe: str
    seed: int
    site: str
    first: Mapping[str, float]
    first_accepted: bool
    kept: Mapping[str, float]
    refusal: str
    cpu_s: float

    @property
    def accepted(self) -> bool:
        """Whether some candidate passes every gate."""
        return bool(self.kept)


def attempts(family: Family, recipe: str, seed: int, count: int) -> list[Attempt]:
    """Drawn edits of one family on one model, as many at each of its sites as nearly as possible."""
    base = Base(trained(named_recipe(recipe), seed, seed))
    sites = family.open_sites(base.checkpoint.config)
    order = [sites[place * len(sites) // count] for place in range(count)] if count < len(sites) else None
    with one_thread():
        return [_attempt(base, family, order[i] if order else sites[i % len(sites)], i) for i in range(count)]


def all_attempts(
    kinds: Iterable[str], per_model: int, jobs: int, on_done: Callable[[str, int], None]
) -> list[Attempt]:
    """Drawn edits of every kind with its family's own settings, on the models of `SEEDS`.

    Args:
        kinds: Of edits.
        per_model: Edits of a kind on each model.
        jobs: Processes.
        on_done: Told the kind and the model's seed whenever one of them is through.
    """
    work = [(kind, seed) for kind in kinds for seed in SEEDS]
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        running = [pool.submit(_of_kind, kind, seed, per_model) for kind, seed in work]
        done: list[Attempt] = []
        for (kind, seed), future in zip(work, running, strict=True):
            done += future.result()
            on_done(kind, seed)
    return done


def _of_kind(kind: str, seed: int, count: int) -> list[Attempt]:
    torch.set_num_threads(1)
    return attempts(families()[kind].model_validate({"kind": kind}), families()[kind].home, seed, count)


def _attempt(base: Base, family: Family, site: Component, index: int) -> Attempt:
    started = time.process_time()
    first: Mapping[str, float] = {}
    kept: Mapping[str, float] = {}
    first_accepted, refusal = False, ""
    try:
        spec = family.draw(base, site, f"attempt-{index}", named_seed("attempt", family.kind, index))
        for number, edited in enumerate(tries(base, spec)):
            record = edited.record
            if number == 0:
                first, first_accepted = record.measured, record.accepted
            if record.accepted:
                kept = record.measured
                break
    except EditError as error:
        refusal = str(error)
    seconds = time.process_time() - started
    trained_of = base.trained
    return Attempt(
        family.kind,
        trained_of.recipe.name,
        trained_of.seed,
        str(site),
        first,
        first_accepted,
        kept,
        refusal,
        seconds,
    )
