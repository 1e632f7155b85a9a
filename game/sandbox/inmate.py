"""What a child of the fork server does: lock itself in, try to get out, then load the auditor and play.

One child is one round. It says `hello` with what its self-test found, waits for `start`, and answers with
`described`, `report` or `fault`. After a report it may be shown a `challenge`, and answers with `judgement`
or `fault`.
"""

import json
import os
import random
import sys
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from game.brief_text import brief_from_json
from game.deadline import OutOfTimeError, interrupted_after
from game.hearing import copied, described, place_of
from game.loader import LoadedAuditor, LoadError, load_auditor, settings_of
from game.rules.faults import ReportError
from game.rules.judgement import judged
from game.sandbox.kernel import PR_SET_PDEATHSIG, drop_capabilities, process_control
from game.sandbox.landlock import lock_files
from game.sandbox.limits import keep_only, limit
from game.sandbox.remote import Line, RemoteToolbox
from game.sandbox.seccomp import lock_calls
from game.sandbox.self_test import Targets, findings
from game.sandbox.testimony import judgement_frame, read_challenge, report_frame
from game.sandbox.tiers import IsolationError, Limits, Tier
from game.sandbox.wire import Channel, Frame
from game.scoring.scores import Declared
from game.sources import digest_of, source_of
from models.naming import one_line

_SIGKILL = 9
_NO_FOLDER = "/dev/null/none"


@dataclass(frozen=True)
class Order:
    """How a jail is to be built.

    Attributes:
        tier: Which one.
        seconds: Until the deadline.
        limits: As in `Limits`.
        readable: Paths that stay readable from `landlock` on.
        listed: Folders that can still be listed, though what is in them need not be readable.
        referee: Its process id, for the self-test.
        canary: A file of the referee's, for the self-test.
    """

    tier: Tier
    seconds: float
    limits: Limits
    readable: tuple[str, ...]
    listed: tuple[str, ...]
    referee: int
    canary: str

    @classmethod
    def parse(cls, data: dict[str, Any]) -> "Order":
        """The order in JSON-ready data."""
        paths = {name: tuple(data[name]) for name in ("readable", "listed")}
        return cls(**data | {"limits": Limits(**data["limits"]), **paths})


def live(descriptor: int, order: Order) -> None:
    """One round, from the lock to the last frame; the caller then ends the process."""
    channel = Channel(keep_only(descriptor), trusted=True)
    try:
        _lock(order)
    except (IsolationError, OSError, ValueError) as error:
        channel.send({"type": "unfit", "error": one_line(str(error))})
        return
    found = findings(Targets(order.referee, order.canary, order.limits))
    channel.send({"type": "hello", "findings": [asdict(finding) for finding in found]})
    start = channel.receive()
    if start.header["type"] == "describe":
        channel.send(_description(start))
    elif start.header["type"] == "audit":
        _testify(start, channel)


def _lock(order: Order) -> None:
    """Give up every right that the tier takes away; the filter comes last, for it refuses the rest."""
    process_control(PR_SET_PDEATHSIG, _SIGKILL)
    os.setsid()
    limit(order.limits, order.seconds)
    drop_capabilities()
    sys.dont_write_bytecode = True
    sys.pycache_prefix = _NO_FOLDER  # a plug-in's source is what was hashed; its compiled files are not
    if order.tier in ("landlock", "bubblewrap"):
        lock_files(order.readable, order.listed)
        lock_calls()


def _loaded(start: Frame) -> LoadedAuditor:
    return load_auditor(start.header["reference"], start.header["settings"])


def _description(start: Frame) -> dict[str, Any]:
    """Name, settings and source of an auditor, or why it cannot be loaded."""
    try:
        player = _loaded(start)
        settings = settings_of(player.auditor)
        source = digest_of(source_of(player.auditor))
    except LoadError as error:
        return {"type": "fault", "status": "ERROR", "error": str(error)[:2000]}
    except BaseException as error:
        return {"type": "fault", "status": "ERROR", "error": f"{type(error).__name__} on import"}
    return {
        "type": "described",
        "name": player.name,
        "yardstick": player.yardstick,
        "sees_reference": player.sees_reference,
        "settings": json.dumps(settings),
        "source": source,
    }


def _testify(start: Frame, channel: Channel) -> None:
    """The frames that end a round: a report and perhaps a judgement, or what went wrong."""
    try:
        player = _loaded(start)
    except LoadError as error:
        channel.send(_fault("ERROR", f"LoadError: {one_line(str(error))}"[:500]))
        return
    try:
        with interrupted_after(json.loads(start.header["brief"])["deadline"]):
            _say(player, start, channel)
    except OutOfTimeError as error:
        channel.send(_fault("TIMEOUT", place_of(error, player.auditor) or " (not in its own file)"))
    except ReportError as error:
        channel.send(_fault("INVALID", one_line(str(error))))
    except BaseException as error:
        channel.send(_fault("ERROR", described(error, player.auditor)))


def _say(player: LoadedAuditor, start: Frame, channel: Channel) -> None:
    """Send the auditor's report and, if it has `judge` and the referee asks, its judgement.

    Raises:
        ReportError: One of them breaks a rule.
    """
    header, auditor = start.header, player.auditor
    brief = brief_from_json(header["brief"])
    total = float("inf") if header["total"] is None else header["total"]
    torch.set_grad_enabled(True)
    _seed_globals(header["stray_seed"])
    line = Line(channel, total, header["max_rows"])
    said = copied(auditor.audit(RemoteToolbox(line, brief.config), brief), Declared.of(brief), brief.config)
    if not player.sees_reference:
        line.close()
    judge: Any = getattr(auditor, "judge", None)
    reported = report_frame(said, judges=judge is not None)
    channel.send(reported.header, reported.tensors)
    if judge is not None:
        asked = channel.receive()
        challenge = read_challenge(asked)
        said_of_it = judgement_frame(judged(judge(challenge), challenge), asked.header["challenge"])
        channel.send(said_of_it.header, said_of_it.tensors)


def _seed_globals(seed: int) -> None:
    """Start the generators that an auditor should not use from a number, not from what a fork copied."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


def _fault(status: str, error: str) -> dict[str, Any]:
    return {"type": "fault", "status": status, "error": error}
