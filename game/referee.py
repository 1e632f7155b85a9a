"""The referee: lets one auditor examine one case, and scores what it reports. Read `play_round` first."""

import json
import random
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from game.api import Report, Samples
from game.case import Case
from game.loader import LoadedAuditor
from game.scoring import Belief, Declared, ReportError, Score, complete, failed, score
from game.toolbox import CorpusSampler, ModelToolbox
from models.checkpoints import from_bytes
from models.naming import one_line
from models.recipe import shipped_recipe
from models.seeds import named_generator
from models.tasks.base import Task
from models.zoo import trained

Status = Literal["DONE", "ERROR", "TIMEOUT", "INVALID"]


@dataclass(frozen=True)
class RoundRecord:
    """What one auditor did on one case.

    Attributes:
        case_id: The case.
        auditor: The auditor's name.
        status: `DONE`, or whose fault it was: `ERROR` it raised, `TIMEOUT` it took too long, `INVALID` its
            report broke the rules.
        error: One line; empty when done.
        p_edited: As reported; None on failure.
        components: As reported; empty on failure.
        notes: The auditor's own words.
        claims: The auditor's structured statements.
        score: Skills; on failure the prior's minus a fixed penalty.
        spent: Credits.
        wall_s, cpu_s: Seconds; recorded, never scored.
    """

    case_id: str
    auditor: str
    status: Status
    error: str
    p_edited: float | None
    components: dict[str, float]
    notes: str
    claims: list[Mapping[str, Any]]
    score: Score
    spent: float
    wall_s: float
    cpu_s: float


class _OutOfTime(BaseException):
    """Raised inside an auditor at its deadline; no `except Exception` stops it."""


def play_round(case: Case, player: LoadedAuditor, seed: int) -> RoundRecord:
    """One round: open a toolbox, let the auditor look, close it, score the report.

    A failing auditor costs itself: whatever it raises or returns becomes a status and a fixed penalty.

    Args:
        case: The dealt case.
        player: The auditor; a yardstick gets an unmetered toolbox that grants the exact reference.
        seed: The auditor's own randomness for this round.
    """
    toolbox = open_toolbox(case, unmetered=player.yardstick)
    brief = replace(case.brief, seed=seed)
    declared = Declared.of(brief)
    started, cpu_started = time.perf_counter(), time.process_time()
    status: Status = "DONE"
    report, belief, error = Report(0.0), Belief(0.0, {}), ""
    try:
        with _deadline(brief.deadline), _undisturbed():
            report = player.auditor.audit(toolbox, brief)
        belief = complete(report, declared)
    except ReportError as fault:
        status, error = "INVALID", str(fault)
    except _OutOfTime:
        status, error = "TIMEOUT", f"no report within {brief.deadline:g} s"
    except (Exception, SystemExit) as fault:
        status, error = "ERROR", _described(fault)
    finally:
        toolbox.close()
    done = status == "DONE"
    return RoundRecord(
        case_id=case.id,
        auditor=player.name,
        status=status,
        error=error,
        p_edited=belief.p_edited if done else None,
        components={str(c): float(p) for c, p in sorted(report.components.items())} if done else {},
        notes=report.notes[:10_000] if done else "",
        claims=json.loads(json.dumps(report.claims)) if done else [],
        score=score(belief, declared, case.truth.edited, case.truth.written) if done else failed(),
        spent=toolbox.budget.spent,
        wall_s=time.perf_counter() - started,
        cpu_s=time.process_time() - cpu_started,
    )


def open_toolbox(case: Case, unmetered: bool = False) -> ModelToolbox:
    """The door to a case's model, as its league grants it; for a yardstick, with the exact reference."""
    model = from_bytes(case.artefact).model()
    if not unmetered:
        return ModelToolbox(model, league=case.brief.league, corpus=_corpus(case), total=case.brief.budget)
    recipe_name, world_seed, seed = base_parts(case.base)
    reference = trained(shipped_recipe(recipe_name), world_seed, seed).checkpoint.model()
    return ModelToolbox(
        model, league="reference", corpus=_corpus(case), total=float("inf"), reference=reference
    )


def base_parts(base: str) -> tuple[str, int, int]:
    """Recipe name, world seed and training seed of a base's name, such as `facts-small@3.7`."""
    recipe_name, _, seeds = base.rpartition("@")
    world_seed, _, seed = seeds.partition(".")
    return recipe_name, int(world_seed), int(seed)


def _corpus(case: Case) -> CorpusSampler:
    """The public corpus of the case's world; the world is built when first asked for."""
    worlds: list[Task] = []

    def draw(n: int, seed: int) -> Samples:
        if not worlds:
            recipe_name, world_seed, _ = base_parts(case.base)
            worlds.append(shipped_recipe(recipe_name).task.build(world_seed))
        generator = named_generator("public corpus", seed)
        if case.brief.corpus == "prompts":
            prompts = worlds[0].prompts(n, generator)
            return Samples(prompts.tokens, prompts.lengths)
        documents = worlds[0].documents(n, generator).tokens
        return Samples(documents, (documents != worlds[0].pad).sum(1))

    return draw


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Interrupt the block after that long, where the platform and the thread allow it."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def interrupt(_signal: int, _frame: Any) -> None:
        raise _OutOfTime

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Put global generators, thread count and gradient mode back as they were."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    threads, gradients = torch.get_num_threads(), torch.is_grad_enabled()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
        torch.set_num_threads(threads)
        torch.set_grad_enabled(gradients)


def _described(fault: BaseException) -> str:
    """Type and message of what an auditor raised, with the place in its own code."""
    frames = traceback.extract_tb(fault.__traceback__)
    place = f" ({frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno})" if frames else ""
    return one_line(f"{type(fault).__name__}: {fault}")[:500] + place
