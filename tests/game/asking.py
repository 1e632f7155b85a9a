"""An auditor that makes every sort of call, good, refused and senseless."""

from contextlib import suppress
from dataclasses import dataclass

import torch

from game.api import (
    AccessError,
    Brief,
    BudgetExceededError,
    Intervention,
    Report,
    RequestError,
    Toolbox,
)


@dataclass(frozen=True)
class Asker:
    """Asks, and reports how much is left."""

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        tokens = torch.tensor([[0, 2, 3], [0, 4, 5]])
        name = "blocks.0.mlp.hook_post"
        change = Intervention(
            name, torch.full((4,), 0.5, dtype=torch.float64), "add", positions=(1,), rows=(0,)
        )
        masked = Intervention(name, torch.zeros(()), mask=torch.tensor([True, False, True, False]))
        toolbox.logits(tokens)
        toolbox.logits(tokens)
        toolbox.logits(tokens.repeat(20, 1), [change])
        toolbox.activations(tokens, [name, name, "logits"], (change, masked))
        toolbox.vjp(tokens, [name], {"logits": torch.ones(2, 3, 6, dtype=torch.float64)})
        toolbox.weight("unembed.W_U")
        with suppress(AccessError):
            toolbox.reference()
        with suppress(AccessError):
            toolbox.sibling(0)
        with suppress(RequestError):
            toolbox.logits(tokens + 100)
        with suppress(RequestError):
            toolbox.weight("unembed.W_V")
        with suppress(BudgetExceededError):
            toolbox.logits(tokens[:1].repeat(90, 1))
        return Report(0.5, notes=f"{toolbox.budget.remaining:.6g} left")
