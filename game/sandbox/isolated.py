"""Auditors that play in a jail: described without importing them here, and heard over a wire."""

import json
import math
import secrets
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any, ClassVar, Literal, NoReturn

from game.api import Brief, Challenge, Judgement, Report, Toolbox
from game.brief_text import brief_to_json
from game.hearing import no_report_within
from game.loader import AUDITOR, LoadedAuditor, LoadError
from game.plugins.digest import FolderError, folder_files
from game.plugins.place import PlaceError
from game.sandbox.serving import Desk
from game.sandbox.testimony import challenge_frame, read_judgement, read_report
from game.sandbox.warden import Sandbox
from game.sandbox.wire import Channel, Frame, WireClosedError, WireError, WireTimeoutError
from game.sources import files_of
from game.toolbox.transcript import Recorded
from models.naming import one_line

Outcome = Literal["DONE", "ERROR", "TIMEOUT", "INVALID"]
_LOADING = 60.0  # seconds that an auditor may take to be imported
_LAST_WORDS = 0.5  # seconds after the deadline in which a jail may still say where the auditor was


@dataclass(frozen=True)
class Heard:
    """What came of a round in a jail.

    Attributes:
        status: As in `RoundRecord`.
        error: One line; empty when done.
        report: None unless done; still to be checked.
        judges: Whether the auditor has `judge`.
        judgement: Of the challenge, where it was asked; still to be checked.
        cpu_s: CPU seconds of the jail.
        place: Where in its file the auditor was when its time was over; empty where that is not known.
    """

    status: Outcome
    error: str
    report: Report | None = None
    judges: bool = False
    judgement: Judgement | None = None
    cpu_s: float = 0.0
    place: str = ""


_SILENT = Heard("ERROR", "it said nothing")


@dataclass(frozen=True)
class IsolatedAuditor:
    """Stands in for an auditor whose code runs elsewhere.

    Attributes:
        reference: What the jail loads: a shipped name, an entry point, `/absolute/file.py@Class`, or
            `/absolute/folder/`.
        settings: As given on the command line.
        sandbox: Where it plays.
        sees_reference: Whether its toolbox is unmetered, grants the reference and stays open while it judges.
        stray_seed: What global generators start from in its jail; nothing should depend on it.
    """

    yardstick: ClassVar[bool] = False
    reference: str
    settings: Mapping[str, Any]
    sandbox: Sandbox
    sees_reference: bool = False
    stray_seed: int = 0

    def audit(self, toolbox: Toolbox, brief: Brief) -> NoReturn:
        """Refused: the referee calls `hear`."""
        raise TypeError("an isolated auditor is heard, not called")

    def hear(self, toolbox: Recorded, brief: Brief, challenge: Challenge | None) -> Heard:
        """One round in a fresh jail, which is gone afterwards.

        Args:
            toolbox: Closed once the report is in, unless the auditor sees the reference.
            brief: What the auditor is told.
            challenge: What an auditor with `judge` is asked afterwards, within the same deadline.

        Raises:
            IsolationError: The jail cannot be built; no fault of the auditor.
        """
        heard, missing = _SILENT, ""
        with self.sandbox.child(brief.deadline, *_opened(self.reference)) as child:
            over = time.monotonic() + brief.deadline
            child.channel.deadline = over + _LAST_WORDS
            try:
                desk = Desk(toolbox, self.sandbox.limits.calls)
                heard = self._reported(child.channel, desk, toolbox, brief)
                if not self.sees_reference:
                    toolbox.close()
                if challenge is not None and heard.judges:
                    heard = _judged(child.channel, desk, heard, challenge)
            except WireTimeoutError:
                pass
            except WireClosedError:
                missing = "judgement" if heard.report else "report"
            except WireError as fault:
                heard = Heard("INVALID", one_line(str(fault)))
            late = time.monotonic() >= over
        if late:
            heard = Heard("TIMEOUT", no_report_within(brief.deadline) + heard.place)
        elif missing:
            heard = Heard("ERROR", f"its process ended without a {missing} ({_ending(child.code)})")
        return replace(heard, cpu_s=child.cpu_s)

    def _reported(self, channel: Channel, desk: Desk, toolbox: Recorded, brief: Brief) -> Heard:
        """What comes of `audit`."""
        budget = toolbox.budget
        limits = budget.total, budget.max_rows
        start = start_frame(self.reference, self.settings, brief, *limits, self.stray_seed)
        channel.send(start.header)
        frame = desk.last_word(channel)
        if fault := _fault_in(frame, "report"):
            return fault
        report, judges = read_report(frame)
        return Heard("DONE", "", report, judges=judges)


def start_frame(
    reference: str,
    settings: Mapping[str, Any],
    brief: Brief,
    total: float,
    max_rows: int,
    stray_seed: int = 0,
) -> Frame:
    """What starts a round in a jail: everything that it is told beside the toolbox's answers."""
    header = {
        "type": "audit",
        "reference": reference,
        "settings": dict(settings),
        "brief": brief_to_json(brief),
        "total": total if math.isfinite(total) else None,
        "max_rows": max_rows,
        "stray_seed": stray_seed,
    }
    return Frame(header)


def load_isolated(reference: str, settings: Mapping[str, Any], sandbox: Sandbox) -> LoadedAuditor:
    """The auditor of a reference, loaded once in a jail to learn what it is; never imported here.

    Raises:
        LoadError: As `load_auditor`, in its words.
        IsolationError: The jail cannot be built.
    """
    place = AUDITOR.place(reference)
    absolute = place.absolute if place else reference
    try:
        source = place.digest() if place else ""
    except PlaceError as error:
        raise LoadError(f"{AUDITOR.name} {error}") from error
    told = _described(absolute, reference, settings, sandbox)
    identity = {"settings": _settings(told["settings"]), "source": source or str(told["source"])[:64]}
    return LoadedAuditor(
        name=place.name if place else reference,
        auditor=IsolatedAuditor(absolute, settings, sandbox, told["sees_reference"] is True),
        yardstick=told["yardstick"] is True or told["sees_reference"] is True,
        sees_reference=told["sees_reference"] is True,
        tier=sandbox.tier,
        identity=identity,
    )


def code_of(reference: str) -> tuple[str, ...]:
    """Files and folders with the code of a reference, found without running any of it.

    Raises:
        LoadError: There is none.
    """
    if place := AUDITOR.place(reference):
        files = files_of(place.code) if place.folder is None else (place.code,)
        return tuple(map(str, files))
    installed = {entry.name: entry.module for entry in entry_points(group=AUDITOR.group)}
    if reference in AUDITOR.shipped or reference not in installed:
        return ()
    spec = find_spec(installed[reference].partition(".")[0])
    if spec is None:
        return ()
    return tuple(spec.submodule_search_locations or [spec.origin or ""])


def _opened(reference: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a jail reads of the code of a reference, of a folder only what is hashed; what it lists.

    Raises:
        LoadError: There is none, or it holds what no plug-in may.
    """
    place = AUDITOR.place(reference)
    if place is None or place.folder is None:
        return code_of(reference), ()
    try:
        files = folder_files(place.code)
    except FolderError as error:
        raise LoadError(f"{AUDITOR.name} {error}") from error
    return tuple(map(str, files)), (str(place.code),)


def _described(
    absolute: str, reference: str, settings: Mapping[str, Any], sandbox: Sandbox
) -> dict[str, Any]:
    with sandbox.child(_LOADING, *_opened(absolute)) as child:
        child.channel.deadline = time.monotonic() + _LOADING
        try:
            child.channel.send({"type": "describe", "reference": absolute, "settings": dict(settings)})
            header = child.channel.receive().header
        except WireError as error:
            raise LoadError(f"{AUDITOR.name} {reference}: it cannot be loaded in a jail: {error}") from None
    told = {"yardstick", "sees_reference", "settings", "source"}
    if header.get("type") == "described" and told <= header.keys():
        return header
    fault = one_line(str(header.get("error", "it says nothing")))
    if reference not in fault:
        fault = fault.replace(absolute, reference)
    if not fault.startswith(AUDITOR.name):
        fault = f"{AUDITOR.name} {reference}: {fault}"
    raise LoadError(
        fault.replace(absolute.rpartition("@")[0] or absolute, reference.rpartition("@")[0] or reference)
    )


def _settings(text: object) -> dict[str, Any]:
    """The settings that an auditor says it has, for the run's identity."""
    try:
        settings = json.loads(str(text)[:100_000])
    except (ValueError, RecursionError):
        return {}
    return settings if isinstance(settings, dict) else {}


def _judged(channel: Channel, desk: Desk, heard: Heard, challenge: Challenge) -> Heard:
    """What comes of `judge`; calls of the toolbox are still answered, by refusing them once it is closed."""
    number = secrets.token_hex(8)
    asked = challenge_frame(challenge, number)
    channel.send(asked.header, asked.tensors)
    frame = desk.last_word(channel)
    return _fault_in(frame, "judgement") or replace(heard, judgement=read_judgement(frame, number))


def _fault_in(frame: Frame, wanted: str) -> Heard | None:
    """The fault that ended a round; None if the frame holds what was wanted.

    Raises:
        WireError: It is neither.
    """
    header = frame.header
    if header.get("type") == "fault" and header.get("status") in ("ERROR", "INVALID", "TIMEOUT"):
        status: Outcome = "INVALID" if header["status"] == "INVALID" else "ERROR"
        words = one_line(str(header.get("error", "")))[:1000] or "it does not say why"
        return Heard(status, words, place=words if header["status"] == "TIMEOUT" else "")
    if header.get("type") != wanted:
        raise WireError(f"frame: type {str(header.get('type'))[:20]!r}; allowed: call, {wanted}, fault")
    return None


def _ending(code: int | None) -> str:
    if code is None:
        return "nobody knows how"
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
