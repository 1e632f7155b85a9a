"""An auditor that times its own calls, in a jail or out of it."""

import json
import time
from dataclasses import dataclass

from game.api import Brief, Report, Toolbox


@dataclass(frozen=True)
class Stopwatch:
    """Times forward passes of 64 prompts, no two alike; the notes hold seconds as JSON.

    Attributes:
        calls: How many.
    """

    calls: int = 40

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        tokens, seconds = toolbox.sample(64).tokens, []
        for call in range(self.calls):
            asked = tokens.clone()
            asked[:, 1] = call
            started = time.perf_counter()
            toolbox.logits(asked)
            seconds.append(time.perf_counter() - started)
        return Report(brief.prior, notes=json.dumps(seconds))
