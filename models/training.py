"""The deterministic trainer: the same recipe and seeds give the same bytes on one machine."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from models.checkpoints import Checkpoint, checkpoint_of
from models.recipe import Recipe, Training
from models.seeds import named_generator
from models.tasks.base import Documents, Task
from models.transformer import Transformer

SMOOTHING = 0.95  # of the running mean of the answer loss


class TrainingError(RuntimeError):
    """Training ended without a usable model."""


@dataclass(frozen=True)
class Progress:
    """Where training stands.

    Attributes:
        step: Steps done.
        steps: Steps that are planned as far as is known: the latest end, until the cool-down starts.
        loss: Running mean loss on answers, nats.
    """

    step: int
    steps: int
    loss: float


def silent(_progress: Progress) -> None:
    """Shows nothing."""


def train(
    recipe: Recipe, world_seed: int, seed: int, on_step: Callable[[Progress], None] = silent
) -> Checkpoint:
    """The checkpoint that a recipe and two seeds determine.

    Args:
        recipe: Task, architecture and training.
        world_seed: Fixes the task's world.
        seed: Fixes initial weights and the order of the data.
        on_step: Told where training stands after every step.

    Raises:
        TrainingError: The loss stopped being finite.
    """
    task = recipe.task.build(world_seed)
    model = Transformer(recipe.architecture.config(task), named_generator("initial weights", seed))
    with one_thread():
        _optimise(model, task, recipe.training, named_generator("training data", seed), on_step)
    return checkpoint_of(model)


def document_loss(model: Transformer, documents: Documents) -> tuple[Tensor, Tensor]:
    """Weighted mean loss over a batch, and the plain mean loss on its answers, both in nats."""
    targets = documents.tokens[:, 1:]
    logits = model(documents.tokens[:, :-1])
    losses = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    weight, answers = documents.loss_weight[:, 1:].flatten(), documents.answers[:, 1:].flatten()
    return (losses * weight).sum() / weight.sum(), losses.detach()[answers].mean()


def optimizer_for(
    model: Transformer, lr: float, betas: tuple[float, float], weight_decay: float
) -> torch.optim.AdamW:
    """AdamW that decays matrices and leaves biases and gains alone."""
    matrices = [weight for name, weight in model.named_parameters() if ".W_" in name]
    others = [weight for name, weight in model.named_parameters() if ".W_" not in name]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True)


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread inside: small matrices gain nothing from more, and results stay the same."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _optimise(
    model: Transformer,
    task: Task,
    training: Training,
    generator: torch.Generator,
    on_step: Callable[[Progress], None],
) -> None:
    optimizer = optimizer_for(model, training.lr, training.betas, training.weight_decay)
    step, running, end = 0, torch.inf, training.max_steps + training.cooldown
    while step < end:
        for group in optimizer.param_groups:
            group["lr"] = training.lr * min(
                1.0, (step + 1) / training.warmup, (end - step) / training.cooldown
            )
        loss, answer_loss = document_loss(model, task.documents(training.batch, generator))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if not loss.isfinite():
            raise TrainingError(f"loss became {loss.item()} at step {step}; lower the learning rate")
        step += 1
        new = answer_loss.item()
        running = new if step == 1 else SMOOTHING * running + (1 - SMOOTHING) * new
        if running < training.answer_loss:
            end = min(end, step + training.cooldown)
        on_step(Progress(step, end, running))
