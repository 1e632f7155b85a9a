"""What an auditor said, as plain data read once; and what it raised, in one line."""

import inspect
import json
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from game.api import Auditor, Report
from game.scoring import Belief, Declared, complete
from models.naming import one_line


@dataclass(frozen=True)
class Said:
    """One plain copy of what an auditor reported; nothing of the plug-in's own is read twice."""

    belief: Belief
    components: dict[str, float]
    notes: str
    claims: list[Mapping[str, Any]]


NOTHING = Said(Belief(0.0, {}), {}, "", [])


def copied(report: Any, declared: Declared) -> Said:
    """A report as plain data, read once and checked.

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
    )


def described(fault: BaseException, auditor: Auditor) -> str:
    """Type and message of what an auditor raised, with the last place in its own file."""
    try:
        message = str(fault)
    except BaseException:
        message = "(its message cannot be read)"
    own = inspect.getsourcefile(type(auditor))
    frames = traceback.extract_tb(fault.__traceback__)
    frame = next((frame for frame in reversed(frames) if frame.filename == own), frames[-1])
    place = f" ({frame.filename.rpartition('/')[2]}:{frame.lineno})"
    return one_line(f"{type(fault).__name__}: {message}")[:500] + place
