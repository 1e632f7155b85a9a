"""The deterministic trainer: a recipe and seeds give the same bytes on one machine, interrupted or not."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from models.checkpoints import Checkpoint, checkpoint_of, write_atomically
from models.recipe import Recipe
from models.seeds import named_generator
from models.tasks.base import Documents
from models.transformer import Transformer

SMOOTHING = 0.95  # of the running means
SAVE_EVERY = 10.0  # seconds between two savings of a run's state
CURVE_EVERY = 10  # steps between two points of the loss curve
DIGEST = 32  # bytes of a state's hash, which comes first
EXTENSIONS = 3  # of a training that misses its criterion


class TrainingError(RuntimeError):
    """Training ended without a usable model."""


@dataclass(frozen=True)
class Progress:
    """Where training stands.

    Attributes:
        step: Steps done.
        steps: Steps that are planned as far as is known: the latest end, until the cool-down starts.
        loss: Running mean loss on answers, nats.
        accuracy: Running share of answers that are right.
    """

    step: int
    steps: int
    loss: float
    accuracy: float


@dataclass(frozen=True)
class Outcome:
    """What training yields: the checkpoint, and where training stood on the way, every few steps."""

    checkpoint: Checkpoint
    curve: tuple[Progress, ...]


@dataclass(frozen=True)
class BatchLoss:
    """A batch's loss.

    Attributes:
        total: Weighted mean over all tokens, nats, to be differentiated.
        answers: Plain mean over the answers, nats, detached.
        right: Share of the answers that are right.
    """

    total: Tensor
    answers: Tensor
    right: Tensor


def silent(_progress: Progress) -> None:
    """Shows nothing."""


def train(
    recipe: Recipe,
    world_seed: int,
    seed: int,
    on_step: Callable[[Progress], None] = silent,
    start: Checkpoint | None = None,
    saved: Path | None = None,
) -> Outcome:
    """What a recipe and two seeds determine.

    Args:
        recipe: Task, architecture and training.
        world_seed: Fixes the task's world.
        seed: Fixes initial weights and the order of the data.
        on_step: Told where training stands after every step.
        start: Weights to go on from, instead of random ones.
        saved: File for the state of an unfinished run; training goes on from what it holds, to the same end.

    Raises:
        TrainingError: The recipe does not train, or the loss stopped being finite.
    """
    with one_thread():
        run = _Run(recipe, world_seed, seed, start)
        if saved is not None:
            run.restore(saved)
        written = time.monotonic()
        while run.goes_on():
            on_step(run.advance())
            if saved is not None and time.monotonic() - written > SAVE_EVERY:
                write_atomically(saved, run.state())
                written = time.monotonic()
    return Outcome(checkpoint_of(run.model), tuple(run.curve))


class _Run:
    """A run of training that can be put into bytes and taken up again."""

    def __init__(self, recipe: Recipe, world_seed: int, seed: int, start: Checkpoint | None) -> None:
        if recipe.training is None:
            raise TrainingError(f"{recipe.name}: the recipe has no training")
        self.recipe, self.training = recipe, recipe.training
        self.task = recipe.task.build(world_seed)
        config = recipe.architecture.config(self.task)
        self.model = Transformer(config, named_generator("initial weights", seed))
        with torch.no_grad():
            self.model.embed.W_E.mul_(self.training.embed_scale)
            self.model.pos_embed.W_pos.mul_(self.training.pos_scale)
        if start is not None:
            self.model.load_state_dict(dict(start.weights))
        self.generator = named_generator("training data", seed)
        self.step, self.end, self.extended = 0, self.training.max_steps + self.training.cooldown, 0
        self.loss, self.accuracy = math.inf, 0.0
        self.curve: list[Progress] = []
        self.optimizer = optimizer_for(
            self.model, self.training.lr, self.training.betas, self.training.weight_decay
        )
        self.schedule = LambdaLR(self.optimizer, self._rate)

    def _rate(self, step: int) -> float:
        """The learning rate of a step, in units of the peak."""
        warm, cool = (step + 1) / self.training.warmup, (self.end - step) / self.training.cooldown
        return min(1.0, warm, cool)

    def goes_on(self) -> bool:
        """Whether there are steps left; a seed that misses the criterion at the end gets a few more."""
        if self.step == self.end and self.extended < EXTENSIONS:
            with torch.no_grad():
                missed = self.recipe.missed(self.task.evaluate(self.model))
            if missed:
                self.extended += 1
                self.end += 2 * self.training.cooldown  # half of them at the peak rate
                self._set_rate()
        return self.step < self.end

    def advance(self) -> Progress:
        """One step of training.

        Raises:
            TrainingError: The loss is not finite.
        """
        batch = document_loss(self.model, self.task.documents(self.training.batch, self.generator))
        loss, accuracy = batch.answers.item(), batch.right.item()
        if not (math.isfinite(loss) and batch.total.isfinite()):
            raise TrainingError(f"loss became {loss} at step {self.step}; lower the learning rate")
        self.optimizer.zero_grad()
        batch.total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        first = self.step == 0
        self.loss = loss if first else SMOOTHING * self.loss + (1 - SMOOTHING) * loss
        self.accuracy = accuracy if first else SMOOTHING * self.accuracy + (1 - SMOOTHING) * accuracy
        self.step += 1
        if self.extended == 0 and self._enough():
            self.end = min(self.end, self.step + self.training.cooldown)
        self.schedule.step()
        now = Progress(self.step, self.end, self.loss, self.accuracy)
        if self.step % CURVE_EVERY == 0 or self.step == self.end:
            self.curve.append(now)
        return now

    def _enough(self) -> bool:
        """Whether the cool-down may start."""
        answer_loss, check_every = self.training.answer_loss, self.training.check_every
        if answer_loss is not None and self.loss < answer_loss:
            return True
        cooling = self.end < self.training.max_steps + self.training.cooldown
        if check_every is None or cooling or self.step % check_every:
            return False
        with torch.no_grad():
            return not self.recipe.missed(self.task.evaluate(self.model))

    def state(self) -> bytes:
        """All that the rest of the run depends on."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in moments.items()}
        tensors["generator"] = self.generator.get_state()
        told: dict[str, Any] = {"step": self.step, "end": self.end, "extended": self.extended}
        told |= {"loss": self.loss, "accuracy": self.accuracy, "training": self._settings()}
        told |= {"curve": [asdict(now) for now in self.curve]}
        whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
        payload = save(whole, {"run": json.dumps(told)})
        return hashlib.sha256(payload).digest() + payload

    def _settings(self) -> dict[str, Any]:
        return self.training.model_dump(mode="json")

    def restore(self, saved: Path) -> None:
        """Go on from a saved state of this training; what is absent, damaged or another's is no state."""
        try:
            data = saved.read_bytes()
        except OSError:
            return
        digest, payload = data[:DIGEST], data[DIGEST:]
        if hashlib.sha256(payload).digest() != digest:
            return
        told, tensors = _metadata(payload), load(payload)
        if told["training"] != self._settings():
            return
        moments: dict[int, dict[str, Tensor]] = {}
        for name in (name for name in tensors if name.startswith("optimizer.")):
            _, index, key = name.split(".")
            moments.setdefault(int(index), {})[key] = tensors[name]
        self.model.load_state_dict({name: tensors[f"model.{name}"] for name in self.model.state_dict()})
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        self.generator.set_state(tensors["generator"])
        self.curve = [Progress(**point) for point in told["curve"]]
        self.step, self.end, self.extended = told["step"], told["end"], told["extended"]
        self.loss, self.accuracy = told["loss"], told["accuracy"]
        self._set_rate()

    def _set_rate(self) -> None:
        """Put the schedule at the present step, whose rate may be another than when it was last set."""
        self.schedule = LambdaLR(self.optimizer, self._rate, last_epoch=self.step - 1)


def _metadata(data: bytes) -> dict[str, Any]:
    """What a state says beside its tensors."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    told: dict[str, Any] = json.loads(header["__metadata__"]["run"])
    return told


def document_loss(model: Transformer, documents: Documents) -> BatchLoss:
    """A batch's loss."""
    targets = documents.tokens[:, 1:].flatten()
    logits = model(documents.tokens[:, :-1]).flatten(0, 1)  # [token, d_vocab]
    losses = functional.cross_entropy(logits, targets, reduction="none")
    weight, answers = documents.loss_weight[:, 1:].flatten(), documents.answers[:, 1:].flatten()
    right = logits.detach()[answers].argmax(-1) == targets[answers]
    return BatchLoss(
        (losses * weight).sum() / weight.sum(), losses.detach()[answers].mean(), right.float().mean()
    )


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
