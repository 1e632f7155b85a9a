"""Training several checkpoints at once, one process a core, into the zoo."""

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from models.recipe import named_recipe
from models.training import Progress
from models.zoo import is_kept, trained

EVERY = 20  # steps between two reports of a training process
Wanted = tuple[str, int, int]  # shipped recipe's name, world seed, training seed

_progress: Any = None  # in a training process, the queue to its parent


def train_missing(wanted: Sequence[Wanted], on_step: Callable[[str, Progress], None]) -> None:
    """Train what the zoo lacks, as many at once as there are cores; the weights are the same as one by one.

    Args:
        wanted: Checkpoints.
        on_step: Told a checkpoint's name and where its training stands, every few steps.

    Raises:
        TrainingError: A checkpoint does not reach its recipe's criterion.
    """
    missing = [
        (name, world, seed) for name, world, seed in wanted if not is_kept(named_recipe(name), world, seed)
    ]
    workers = min(len(missing), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
    if workers < 2:
        for name, world_seed, seed in missing:
            _train(name, world_seed, seed, on_step)
        return
    try:
        _train_in_processes(missing, workers, on_step)
    except BrokenProcessPool:  # a script without a main guard cannot be started anew; train here instead
        for checkpoint in missing:
            _train(*checkpoint, on_step)


def _train_in_processes(
    missing: Sequence[Wanted], workers: int, on_step: Callable[[str, Progress], None]
) -> None:
    context = multiprocessing.get_context("spawn")
    reports = context.Queue()
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, context, initializer=_enter, initargs=(reports, os.getpid()))
    try:
        futures = [pool.submit(_train_here, *checkpoint) for checkpoint in missing]
        _follow(futures, reports, on_step)
    except BaseException:
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _follow(
    futures: "Sequence[Future[None]]", reports: Any, on_step: Callable[[str, Progress], None]
) -> None:
    """Pass progress on until every future is done; the first failure ends it."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=0.1)
        while True:
            try:
                on_step(*reports.get_nowait())
            except queue.Empty:
                break
        for future in done:
            future.result()


def _enter(reports: Any, parent: int) -> None:
    """In a training process: remember the queue, leave Ctrl-C to the parent, and end when it does."""
    global _progress
    _progress = reports
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process soon after its parent, which may have been killed; files are written whole or not."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _train_here(name: str, world_seed: int, seed: int) -> None:
    _train(name, world_seed, seed, lambda checkpoint, progress: _progress.put((checkpoint, progress)))


def _train(name: str, world_seed: int, seed: int, on_step: Callable[[str, Progress], None]) -> None:
    checkpoint = f"{name}@{world_seed}.{seed}"

    def every_few(progress: Progress) -> None:
        if progress.step % EVERY == 0 or progress.step == progress.steps:
            on_step(checkpoint, progress)

    trained(named_recipe(name), world_seed, seed, every_few)
