"""What a run tells whoever watches it; no event says what an auditor believed or what the truth is."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias


@dataclass(frozen=True)
class RunOpened:
    """A run begins, or goes on with `done` of its `rounds` already played."""

    folder: Path
    done: int
    rounds: int


@dataclass(frozen=True)
class CaseAwaited:
    """A case is about to be dealt, which may train models first."""

    case_id: str


@dataclass(frozen=True)
class CaseDealt:
    """A case is on disk, the `done`-th of `cases`."""

    case_id: str
    done: int
    cases: int


@dataclass(frozen=True)
class CasesCommitted:
    """Every case is dealt; `digest` is what to publish before the first auditor starts."""

    digest: str
    cases: int


@dataclass(frozen=True)
class ModelTraining:
    """A checkpoint that a case needs is being trained, at `step` of at most `steps`."""

    model: str
    step: int
    steps: int


@dataclass(frozen=True)
class RoundStarted:
    """An auditor is about to look at a case."""

    case_id: str
    auditor: str


@dataclass(frozen=True)
class RoundEnded:
    """A round is on disk, the `done`-th of `rounds`; `failed` if the auditor gave no valid report."""

    case_id: str
    auditor: str
    failed: bool
    done: int
    rounds: int


@dataclass(frozen=True)
class RunClosed:
    """Every round is played and on disk, the folder sealed; `head` is what to publish now."""

    folder: Path
    head: str


Event: TypeAlias = (
    RunOpened
    | CaseAwaited
    | CaseDealt
    | CasesCommitted
    | ModelTraining
    | RoundStarted
    | RoundEnded
    | RunClosed
)
