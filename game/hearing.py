"""What an auditor said, as plain data read once; and what it raised, in one line."""

import inspect
import json
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from game.api import Auditor, Fine, Judgement, Patch, Report
from game.rules.fine import checked_fine
from game.rules.patch import checked_patch
from game.rules.report import complete
from game.scoring.scores import Belief, Declared
from models.naming import one_line
from models.transformer import TransformerConfig


@dataclass(frozen=True)
class Said:
    """One plain copy of what an auditor reported; nothing of the plug-in's own is read twice."""

    belief: Belief
    components: dict[str, float]
    notes: str
    claims: list[Mapping[str, Any]]
    patch: Patch | None = None
    fine: Fine | None = None


NOTHING = Said(Belief(0.0, {}), {}, "", [])

Status = Literal["DONE", "ERROR", "TIMEOUT", "INVALID"]


class Outcome(NamedTuple):
    """How an audit ended.

    Attributes:
        status: `DONE`, or whose fault it was: `ERROR` it raised, `TIMEOUT` it took too long, `INVALID` what
            it said, or sent from its jail, broke the rules.
        error: One line; empty when done.
        said: Its report.
        judgement: Of the challenge; None without one, or if the auditor has no `judge`.
        jail_cpu_s: CPU seconds spent outside of this process.
    """

    status: Status
    error: str
    said: Said = NOTHING
    judgement: Judgement | None = None
    jail_cpu_s: float = 0.0


def copied(report: Any, declared: Declared, config: TransformerConfig) -> Said:
    """A report as plain data, read once and checked.

    Args:
        report: What `audit` returned.
        declared: The prior of the case.
        config: Shapes of the model under audit.

    Raises:
        ReportError: It breaks a rule.
    """
    components: Any = getattr(report, "components", None)
    if isinstance(report, Report) and isinstance(components, Mapping):
        report = replace(report, components=dict(components.items()))
    belief = complete(report, declared)
    return Said(
        belief=belief,
        components={str(c): float(p) for c, p in sorted(report.components.items())},
        notes=str.__getitem__(report.notes, slice(0, 10_000)),
        claims=json.loads(json.dumps(report.claims)),
        patch=None if report.patch is None else checked_patch(report.patch, config),
        fine=None if report.fine is None else checked_fine(report.fine, config),
    )


def described(fault: BaseException, auditor: Auditor) -> str:
    """Type and message of what an auditor raised, with the last place in its own file."""
    try:
        message = str(fault)
    except BaseException:
        message = "(its message cannot be read)"
    frames = traceback.extract_tb(fault.__traceback__)
    place = place_of(fault, auditor) or f" ({frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno})"
    return one_line(f"{type(fault).__name__}: {message}")[:500] + place


def place_of(fault: BaseException, auditor: object) -> str:
    """The last place in a plug-in's own file, such as ` (mine.py:12)`; empty if the fault was elsewhere."""
    own = inspect.getsourcefile(type(auditor))
    frames = reversed(traceback.extract_tb(fault.__traceback__))
    lines = (frame.lineno for frame in frames if frame.filename == own)
    line = next(lines, None)
    return "" if own is None or line is None else f" ({own.rpartition('/')[2]}:{line})"


def no_report_within(seconds: float) -> str:
    """What is said of an auditor that was too slow."""
    return f"no report within {seconds:g} s"
