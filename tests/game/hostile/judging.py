"""Auditors that abuse what comes after the toolbox: patches, finer locations, and the challenge."""

import builtins
import gc
import json
import os
import random
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from game.api import Brief, Challenge, Judgement, LowRank, Report, Toolbox

WIRE = 3  # the descriptor of the jail's only way out
W_OUT = "blocks.0.mlp.W_out"
NONE = torch.zeros(0, dtype=torch.int64)
NOTHING = {"before.prompt": NONE, "before.count": NONE, "before.token": NONE, "before.odds": NONE.double()}


def send(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a frame past every check on this side."""
    copies = {name: tensor.clone() for name, tensor in tensors.items()}
    head, payload = json.dumps(header).encode(), save(copies) if copies else b""
    os.set_blocking(WIRE, True)
    rest = len(head).to_bytes(4, "big") + len(payload).to_bytes(4, "big") + head + payload
    while rest:
        rest = rest[os.write(WIRE, rest) :]


def send_report(tensors: Mapping[str, Tensor], **rest: Any) -> None:
    words = {"type": "report", "p_edited": 0.5, "components": {}, "notes": "ESCAPED", "claims": "[]"}
    send(words | rest, tensors)


def send_judgement(**tensors: Tensor) -> NoReturn:
    """Send one under the number of the challenge, found in the variables of whoever called, and wait."""
    frame: Any = sys._getframe()
    while "asked" not in frame.f_locals:
        frame = frame.f_back
    header = {"type": "judgement", "challenge": frame.f_locals["asked"].header["challenge"]}
    send(header, {"changed": torch.zeros(4).double(), **NOTHING, **tensors})
    time.sleep(1000)
    raise SystemExit


@dataclass(frozen=True)
class _Honest:
    """Reports what it was told."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        return Report(0.5, notes="held")


@dataclass(frozen=True)
class Relapser:
    """Calls the toolbox from `judge`, after opening its own side again."""

    memory: dict[str, Any] = field(default_factory=dict, init=False)

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        self.memory["box"] = toolbox
        return Report(0.5, notes="held")

    def judge(self, challenge: Challenge) -> Judgement:
        self.memory["box"]._line._open = True
        return Judgement([1.0] * len(self.memory["box"].logits(challenge.tokens)))


@dataclass(frozen=True)
class Swollen(_Honest):
    """Judges more prompts than there are."""

    def judge(self, challenge: Challenge) -> Judgement:
        return Judgement([0.5] * 5_000_000)


@dataclass(frozen=True)
class SwollenPast(_Honest):
    """The same, past the checks on its own side."""

    def judge(self, challenge: Challenge) -> Judgement:
        send_judgement(changed=torch.zeros(8_000_000).double())


@dataclass(frozen=True)
class Terse(_Honest):
    """Judges one prompt of several, past the checks on its own side."""

    def judge(self, challenge: Challenge) -> Judgement:
        send_judgement(changed=torch.zeros(1).double())


@dataclass(frozen=True)
class Undecided(_Honest):
    """Judges with NaN."""

    def judge(self, challenge: Challenge) -> Judgement:
        return Judgement([float("nan")] * len(challenge.prior))


@dataclass(frozen=True)
class UndecidedPast(_Honest):
    """The same, past the checks on its own side."""

    def judge(self, challenge: Challenge) -> Judgement:
        send_judgement(changed=torch.full((4,), torch.nan).double())


@dataclass(frozen=True)
class Endless(_Honest):
    """Judges with minus infinity, which a frame may carry."""

    def judge(self, challenge: Challenge) -> Judgement:
        send_judgement(changed=torch.full((4,), -torch.inf).double())


@dataclass(frozen=True)
class Fabulist(_Honest):
    """Says that tokens were answered before which are no answers, past the checks on its own side."""

    def judge(self, challenge: Challenge) -> Judgement:
        one = torch.ones(1, dtype=torch.int64)
        lists = {"before.prompt": one, "before.count": one, "before.token": 5 * one}
        send_judgement(**lists, **{"before.odds": one.double()})


@dataclass(frozen=True)
class Miscounter(_Honest):
    """Announces more numbers than it sends."""

    def judge(self, challenge: Challenge) -> Judgement:
        one = torch.ones(1, dtype=torch.int64)
        send_judgement(**{"before.prompt": one, "before.count": one << 62})


@dataclass(frozen=True)
class Foreteller(_Honest):
    """Judges instead of reporting."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        send({"type": "judgement", "challenge": "0"}, {"changed": torch.ones(4).double(), **NOTHING})
        return Report(1.0, notes="ESCAPED")


@dataclass(frozen=True)
class Premature(_Honest):
    """Reports and judges in one breath, before it is asked."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        send_report({}, judges=True)
        send({"type": "judgement", "challenge": "0"}, {"changed": torch.ones(4).double(), **NOTHING})
        time.sleep(1000)
        return Report(1.0, notes="ESCAPED")


@dataclass(frozen=True)
class Repeater(_Honest):
    """Answers the challenge by another report."""

    def judge(self, challenge: Challenge) -> Judgement:
        send_report({}, judges=True)
        time.sleep(1000)
        return Judgement(challenge.prior)


@dataclass(frozen=True)
class Titan(_Honest):
    """Reports a patch of a thousand million numbers that share one place in memory."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        one = torch.ones(1, 1)
        return Report(0.5, patch={W_OUT: LowRank(one.expand(4, 10**9), one.expand(10**9, 4))})


@dataclass(frozen=True)
class Mountain(_Honest):
    """Reports a patch of rank one million, past the checks on its own side."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        high = torch.ones(4, 10**6)
        send_report({f"patch.{W_OUT}.left": high, f"patch.{W_OUT}.right": high.T.contiguous()}, patch=[W_OUT])
        time.sleep(1000)
        return Report(1.0, notes="ESCAPED")


@dataclass(frozen=True)
class Inventor(_Honest):
    """Patches a weight that does not exist, past the checks on its own side."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        one = torch.ones(1, 1)
        send_report({"patch.../answer.left": one, "patch.../answer.right": one}, patch=["../answer"])
        time.sleep(1000)
        return Report(1.0, notes="ESCAPED")


@dataclass(frozen=True)
class Explorer(_Honest):
    """Finds neurons that do not exist, past the checks on its own side."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        places = {"neurons": torch.tensor([[10**18, -1]]), "neuron_scores": torch.ones(1).double()}
        send_report(places, fine={"matrices": {}, "directions": []})
        time.sleep(1000)
        return Report(1.0, notes="ESCAPED")


@dataclass(frozen=True)
class Stowaway(_Honest):
    """Sends a tensor along that nobody wants."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        send_report({"score": torch.ones(1)})
        time.sleep(1000)
        return Report(1.0, notes="ESCAPED")


@dataclass(frozen=True)
class Dreamer(_Honest):
    """Never judges."""

    def judge(self, challenge: Challenge) -> Judgement:
        time.sleep(1000)
        return Judgement(challenge.prior)


@dataclass(frozen=True)
class Leaver(_Honest):
    """Ends its process instead of judging."""

    def judge(self, challenge: Challenge) -> Judgement:
        os._exit(3)


@dataclass(frozen=True)
class LatePoisoner(_Honest):
    """Poisons generators, defaults and builtins while it judges."""

    def judge(self, challenge: Challenge) -> Judgement:
        if hasattr(builtins, "poisoned_late"):
            raise ValueError("ESCAPED into the next round")
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        builtins.poisoned_late = True  # type: ignore[attr-defined]
        challenge.tokens.zero_()
        return Judgement(challenge.prior)


@dataclass(frozen=True)
class Rummager(_Honest):
    """Goes through every object in memory for what is true of the challenge."""

    def judge(self, challenge: Challenge) -> Judgement:
        wanted = {"Answers", "Bench", "Case", "Truth"}
        if loot := [each for each in gc.get_objects() if type(each).__name__ in wanted]:
            raise ValueError(f"ESCAPED with {loot[:1]}")
        return Judgement(challenge.prior)
