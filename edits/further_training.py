"""More of a base's ordinary training, on its own world's documents."""

import torch
from torch import Tensor

from edits.moments import Base
from models.training import document_loss, optimizer_for


def trained_further(base: Base, steps: int, lr_scale: float, generator: torch.Generator) -> dict[str, Tensor]:
    """Every weight after some more steps, with a linear decay to zero.

    Args:
        base: A model whose recipe has training.
        steps: Optimiser steps.
        lr_scale: Peak learning rate, in units of the recipe's.
        generator: Draws the documents.
    """
    training = base.trained.recipe.training
    assert training is not None
    model = base.checkpoint.model().requires_grad_(True)
    peak = training.lr * lr_scale
    optimizer = optimizer_for(model, peak, training.betas, training.weight_decay)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = peak * (1 - step / steps)
        loss = document_loss(model, base.task.documents(training.batch, generator)).total
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
