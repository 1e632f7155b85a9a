"""What a run shows on stderr while it plays: its folder first and last, and how far it is in between."""

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from game.report.plain_text import one_line
from game.runs.events import (
    CaseAwaited,
    CaseDealt,
    CasesCommitted,
    Event,
    ModelTraining,
    RoundEnded,
    RoundStarted,
    RunClosed,
    RunOpened,
)

if TYPE_CHECKING:
    from rich.progress import Progress

EVERY = 10.0  # seconds between lines where no bar can be drawn


class Watch:
    """Remembers where a run stands; what it shows of that is up to its subclasses."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.done = self.rounds = self.failed = self.dealt = self.cases = 0
        self.now = ""

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunOpened):
            self.folder, self.done, self.rounds = event.folder, event.done, event.rounds
            going_on = f", going on after {event.done} of {event.rounds} rounds" if event.done else ""
            say(f"run {event.folder}{going_on}")
        elif isinstance(event, CaseAwaited):
            self.now = f"dealing {event.case_id}"
        elif isinstance(event, CaseDealt):
            self.dealt, self.cases = event.done, event.cases
        elif isinstance(event, CasesCommitted):
            self.cases = 0
            say(f"{event.cases} cases, committed to as {event.digest}")
        elif isinstance(event, RunClosed):
            say(f"sealed as {event.head}")
        elif isinstance(event, ModelTraining):
            self.now = f"training {event.model}: step {event.step} of at most {event.steps}"
        elif isinstance(event, RoundStarted):
            self.now = f"{event.case_id}, {one_line(event.auditor, 60)}"
        elif isinstance(event, RoundEnded):
            self.done, self.rounds, self.failed = event.done, event.rounds, self.failed + event.failed
        self.show()

    def show(self) -> None:
        """Nothing, unless a subclass does."""


class Lines(Watch):
    """A line every ten seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._over = threading.Event()

    def start(self) -> None:
        """Begin to print, from a thread of its own: a round may take longer than that."""
        threading.Thread(target=self._tick, daemon=True).start()

    def stop(self) -> None:
        """No more lines."""
        self._over.set()

    def _tick(self) -> None:
        started = time.monotonic()
        while not self._over.wait(EVERY):
            seconds = time.monotonic() - started
            failed = f", {self.failed} failed" if self.failed else ""
            rounds = f"{self.done}/{self.rounds} rounds{failed}, " if self.rounds else ""
            rounds = f"{self.dealt}/{self.cases} cases dealt, " if self.cases else rounds
            say(f"{rounds}{seconds:.0f} s: {self.now}")


class Bar(Watch):
    """A bar that moves."""

    def __init__(self, bar: "Progress") -> None:
        super().__init__()
        self._bar, self._task = bar, bar.add_task("", total=None)

    def show(self) -> None:
        done, total = (self.dealt, self.cases) if self.cases else (self.done, self.rounds)
        self._bar.update(self._task, total=total or None, completed=done, description=self.now)


@contextmanager
def watching(args: argparse.Namespace) -> Iterator[Callable[[Event], None]]:
    """Progress as the flags and the terminal allow; the run's folder is told in any case, first and last."""
    watch = Watch()
    try:
        with _watch(args) as watch:
            yield _with_published(watch) if args.json else watch
    except KeyboardInterrupt:
        say("stopped; the same command goes on from here")
        raise
    finally:
        if watch.folder is not None:
            say(f"run {watch.folder}")


def _with_published(watch: Watch) -> Callable[[Event], None]:
    """The same, with what is to be published before the first round as a line of JSON on stdout."""

    def tell(event: Event) -> None:
        watch(event)
        if isinstance(event, CasesCommitted):
            line = {"kind": "commitments", "digest": event.digest, "cases": event.cases}
            print(json.dumps(line), flush=True)

    return tell


@contextmanager
def _watch(args: argparse.Namespace) -> Iterator[Watch]:
    if args.display == "none":
        yield Watch()
    elif args.display == "rich" and can_redraw():
        with _bar() as bar:
            yield Bar(bar)
    else:
        lines = Lines()
        lines.start()
        try:
            yield lines
        finally:
            lines.stop()


def can_redraw() -> bool:
    """Whether stderr is a terminal that can move its cursor."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("CI")


def say(text: str) -> None:
    """One line on stderr."""
    print(text, file=sys.stderr, flush=True)


def _bar() -> "Progress":
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    from game.cli._console import console

    words = TextColumn("{task.description}", markup=False)
    columns = (SpinnerColumn(), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), words)
    return Progress(*columns, console=console(error=True), transient=True)
