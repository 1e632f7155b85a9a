"""Gradient descent on weights towards new answers: what fine-tuning and low-rank adapters share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call

from edits.facts.value import Rows, row_loss
from models.transformer import Transformer

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Descent:
    """How a descent ended: steps taken, and the last loss in nats."""

    steps: int
    loss: float


class Answers:
    """How far a model with other weights is from answering as wanted.

    Args:
        model: The model before.
        rows: Each fact's prompts.
        start: The first layer whose weights may differ.
    """

    def __init__(self, model: Transformer, rows: Sequence[Rows], start: int) -> None:
        self._model, self._rows, self._start = model, rows, start
        runs = [model.run_with_cache(each.tokens, f"blocks.{start}.hook_resid_pre") for each in rows]
        self._resid = [cache[f"blocks.{start}.hook_resid_pre"] for _, cache in runs]
        self._before = [
            logits[torch.arange(len(each.last)), each.last].log_softmax(-1)
            for (logits, _), each in zip(runs, rows, strict=True)
        ]

    def loss(self, weights: Weights, kl: float) -> Tensor:
        """`row_loss` averaged over the facts, differentiable in the weights."""
        losses = []
        for rows, resid, before in zip(self._rows, self._resid, self._before, strict=True):
            final = final_residual(self._model, resid, self._start, weights)
            last = final[torch.arange(len(rows.last)), rows.last]
            losses.append(row_loss(self._model.logits_of(last).log_softmax(-1), before, rows, kl))
        return torch.stack(losses).mean()


def descend(
    loss: Callable[[], Tensor],
    step: Callable[[], None],
    parameters: Sequence[Tensor],
    steps: int,
    stop: float,
) -> Descent:
    """Take steps until the loss falls below `stop`, nats.

    Args:
        loss: The loss now.
        step: Changes the parameters, given their gradients.
        parameters: What is changed.
        steps: At most so many.
        stop: The loss to stop at.
    """
    for taken in range(steps + 1):
        now = loss()
        if now.item() < stop or taken == steps:
            break
        gradients = torch.autograd.grad(now, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        step()
    return Descent(taken, now.item())


def final_residual(model: Transformer, resid: Tensor, start: int, weights: Weights) -> Tensor:
    """The residual stream after the last layer, with other weights in some layers, differentiable in them.

    Args:
        model: The model.
        resid: Before layer `start`, `[batch, pos, d_model]`.
        start: The first layer to run.
        weights: Values by full name for weights of this and later layers.
    """
    for layer, block in enumerate(list(model.blocks)[start:], start):
        prefix = f"blocks.{layer}."
        own = {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
        resid = functional_call(block, own, (resid,)) if own else block(resid)
    return resid
