"""An audit in the referee's own process: a fresh instance, under a deadline, that leaves no trace behind.

It guards against accidents only; code that is not ours plays in a jail (`game/sandbox/`).
"""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from game.api import Auditor, Brief, Challenge, Judgement, Toolbox
from game.auditing.evidence import Evidence
from game.deadline import OutOfTimeError, interrupted_after
from game.hearing import Outcome, copied, described, no_report_within, place_of
from game.loader import LoadedAuditor
from game.rules.faults import ReportError
from game.rules.judgement import judged
from game.runs.interrupts import Stopped
from game.scoring.scores import Declared
from game.toolbox.transcript import Recorded
from models.naming import one_line


def heard_in_process(
    player: LoadedAuditor, toolbox: Recorded, brief: Brief, challenge: Challenge | None
) -> Outcome:
    """The outcome of one audit by a fresh instance; nothing that it raises gets out.

    The toolbox is closed before the challenge is shown, so that no answer to it can be looked up; one that
    sees the reference, a yardstick, keeps it.

    Raises:
        Stopped: A signal came that ends the run.
    """
    late = Outcome("TIMEOUT", no_report_within(brief.deadline))
    started = time.perf_counter()
    try:
        with interrupted_after(brief.deadline), _undisturbed():
            auditor = _fresh(player.auditor)
            said = copied(auditor.audit(toolbox, _own(brief)), Declared.of(brief), brief.config)
            if not player.sees_reference:
                toolbox.close()
            judgement = _judgement(auditor, challenge)
    except Stopped:
        raise
    except ReportError as fault:
        return Outcome("INVALID", one_line(str(fault)))
    except OutOfTimeError as fault:
        return late._replace(error=late.error + place_of(fault, player.auditor))
    except BaseException as fault:
        return Outcome("ERROR", described(fault, player.auditor))
    if time.perf_counter() - started > brief.deadline:  # it swallowed the interruption
        return late
    return Outcome("DONE", "", said, judgement)


def read_in_process(player: LoadedAuditor, toolbox: Toolbox, brief: Brief) -> Evidence:
    """What a fresh instance of an auditor with `read` reads, under the same conditions as an audit.

    Raises:
        TimeoutError: It took longer than the deadline.
        Stopped: A signal came.
        Exception: Whatever it raises.
    """
    reader: Any = _fresh(player.auditor)
    try:
        with interrupted_after(brief.deadline), _undisturbed():
            evidence: Evidence = reader.read(toolbox, _own(brief))
    except OutOfTimeError:
        raise TimeoutError(f"nothing read within {brief.deadline:g} s") from None
    return evidence


def _fresh(auditor: Auditor) -> Auditor:
    """The same settings in a new instance: an auditor remembers nothing between rounds."""
    settings: Any = auditor  # a dataclass: the loader takes nothing else
    copy: Auditor = replace(settings)
    return copy


def _own(brief: Brief) -> Brief:
    """The same brief with mappings of its own: writing into them changes no case."""
    task = replace(brief.task, classes=dict(brief.task.classes))
    return replace(brief, task=task, component_prior=dict(brief.component_prior))


def _judgement(auditor: Auditor, challenge: Challenge | None) -> Judgement | None:
    """What an auditor believes of a challenge, of which it gets its own copy; None where it has no `judge`.

    Raises:
        ReportError: It breaks a rule.
    """
    judge: Any = getattr(auditor, "judge", None)
    if challenge is None or judge is None:
        return None
    own = replace(challenge, tokens=challenge.tokens.clone(), lengths=challenge.lengths.clone())
    return judged(judge(own), challenge)


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
