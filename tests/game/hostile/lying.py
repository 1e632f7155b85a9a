"""Auditors that abuse the wire, poison global state, or rewrite the game's own code."""

import builtins
import json
import os
import random
import struct
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from game.api import Brief, BudgetExceededError, Report, Toolbox

WIRE = 3  # the descriptor of the jail's only way out


def send(header: bytes, payload: bytes = b"", lengths: tuple[int, int] | None = None) -> None:
    """Write a frame, or something like one, past the toolbox."""
    os.set_blocking(WIRE, True)
    rest = struct.pack(">II", *(lengths or (len(header), len(payload)))) + header + payload
    while rest:
        rest = rest[os.write(WIRE, rest) :]


def call(number: int, primitive: str, **rest: Any) -> bytes:
    return json.dumps({"type": "call", "id": number, "box": 0, "primitive": primitive, **rest}).encode()


def report(p_edited: float, notes: str) -> bytes:
    words = {"type": "report", "p_edited": p_edited, "components": {}, "notes": notes, "claims": "[]"}
    return json.dumps(words).encode()


@dataclass(frozen=True)
class Mumbler:
    """Sends bytes that are no frame."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        send(b"\xff" * 100)
        return Report(0.5)


@dataclass(frozen=True)
class Boaster:
    """Announces a frame larger than any."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        send(b"{}", lengths=(2**32 - 1, 2**32 - 1))
        return Report(0.5)


@dataclass(frozen=True)
class Stutterer:
    """Sends half a frame and waits."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        send(b'{"type":', lengths=(1000, 0))
        time.sleep(1000)
        return Report(0.5)


@dataclass(frozen=True)
class Flooder:
    """Sends calls without end and reads no answer."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        number = 0
        while True:
            send(call(number, "sample", n=1000))
            number += 1


@dataclass(frozen=True)
class GarbageFlooder:
    """Sends garbage without end."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        while True:
            os.write(WIRE, b"\x00\x00\x00\x02" * 1000)


@dataclass(frozen=True)
class Pickler:
    """Sends an object that would run code where somebody unpickled it."""

    target: str = ""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        bomb = f"cposix\nsystem\n(S'rm -f {self.target}'\ntR.".encode()
        send(call(0, "logits"), payload=bomb)
        return Report(0.5)


@dataclass(frozen=True)
class Nester:
    """Sends JSON deeper than any stack."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        send(b'{"type":' + b"[" * 400_000 + b"]" * 400_000 + b"}")
        return Report(0.5)


@dataclass(frozen=True)
class Usher:
    """Says hello again, with a self-test of its own making."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        send(b'{"type":"hello","findings":[]}')
        return Report(0.5)


@dataclass(frozen=True)
class TwoFaced:
    """Sends two reports; the first one counts."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        send(report(0.25, "held: the first"))
        send(report(1.0, "ESCAPED with a second report"))
        time.sleep(1000)
        return Report(0.5)


@dataclass(frozen=True)
class Impossible:
    """Reports a probability that is none, past every check on its own side."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        send(report(7.0, "ESCAPED with seven"))
        time.sleep(1000)
        return Report(0.5)


@dataclass(frozen=True)
class Windbag:
    """Reports more words than fit into a frame."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        return Report(0.5, notes="held" * 10_000_000, claims=({"x": "y" * 10_000_000},))


@dataclass(frozen=True)
class Overdrawer:
    """Gives itself credits, and buys with them."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        box: Any = toolbox
        box._line._total, box._line._spent = 1e9, -1e9
        tokens = torch.arange(4, dtype=torch.int64)[None].repeat(101, 1)
        try:
            toolbox.logits(tokens)
        except BudgetExceededError as error:
            return Report(0.5, notes=f"held: {error}")
        return Report(1.0, notes="ESCAPED with credits")


@dataclass(frozen=True)
class Trespasser:
    """Asks past the toolbox for what the league does not grant, and for what is no call."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        box: Any = toolbox
        for primitive in ("reference", "sibling"):
            try:
                box._ask(primitive)
            except Exception as error:
                notes = f"held: {type(error).__name__}"
            else:
                return Report(1.0, notes=f"ESCAPED with a {primitive}")
        return Report(0.5, notes=notes)


@dataclass(frozen=True)
class Poisoner:
    """Reseeds every generator, switches gradients off and NaNs on, and leaves traps in the builtins."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        if hasattr(builtins, "poisoned"):
            return Report(1.0, notes="ESCAPED into the next round")
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        builtins.poisoned = True  # type: ignore[attr-defined]
        return Report(0.5, notes="held: poisoned only itself")


@dataclass(frozen=True)
class Rewriter:
    """Rewrites the rules of the game: every report is perfect, every budget endless."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        import game.scoring.scores
        import game.toolbox.meter

        perfect = game.scoring.scores.Score(1.0, 1.0, 1.0)
        game.scoring.scores.score = lambda *_: perfect
        game.scoring.scores.failed = lambda *_: perfect
        game.toolbox.meter.Meter.buy = lambda *_: {}  # type: ignore[method-assign]
        return Report(0.0, notes="held: rewrote only its own copy")
