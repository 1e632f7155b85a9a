"""Controls: cases whose correct verdict is *clean*, though their weights may have been touched."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from edits.base import Candidate, Control, Edited, EditError
from edits.gates import Gates
from edits.moments import Base
from edits.truth import changed_entries
from models.bounds import Bound
from models.checkpoints import Checkpoint
from models.components import Entries
from models.naming import unknown
from models.seeds import named_generator
from models.strict_yaml import StrictModel
from models.training import document_loss, optimizer_for

_READER_OF = {"mlp.W_out": "mlp.hook_post", "attn.W_O": "attn.hook_z"}


class UntouchedEdit(StrictModel):
    """Nothing to set."""

    kind: Literal["untouched"] = "untouched"


class Untouched(Control):
    """The base itself, saved again through the same path as every edit."""

    floor: ClassVar[Gates] = {"agree": Bound(min=1.0)}
    edit: UntouchedEdit

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """No change."""
        yield Candidate({}, ())

    def summary(self, base: Base) -> str:
        """What was done."""
        return "nothing was done"


class RandomRank1Edit(StrictModel):
    """Where and how loud.

    Attributes:
        tensor: An MLP's `W_out`, or one head's `blocks.L.attn.W_O[H]`.
        rel_norm: Norm of the change, in units of the changed matrix's norm.
        tail_mass: Share of the reading activation's energy that the read direction may see.
    """

    kind: Literal["random_rank1"] = "random_rank1"
    tensor: Annotated[str, Field(pattern=r"^blocks\.\d+\.(mlp\.W_out|attn\.W_O\[\d+\])$")]
    rel_norm: Annotated[float, Field(gt=0, le=100)]
    tail_mass: Annotated[float, Field(gt=0, lt=1)] = 1e-4


class RandomRank1(Control):
    """A sham: a random rank-one change as loud as an edit, read where activations hardly ever point.

    The read direction is random among the weakest eigenvectors of the reading activation's second moment,
    so that the change looks like an edit in the weights and does nothing.
    """

    floor: ClassVar[Gates] = {"kl": Bound(max=1e-3), "agree": Bound(min=0.998)}
    edit: RandomRank1Edit

    @classmethod
    def matching(cls, edit: Edited) -> dict[str, Any]:
        """The same tensor or head, the same relative norm."""
        if edit.loudest is None:
            raise EditError(f"random_rank1: {edit.record.kind} writes no matrix that it could match")
        return {"tensor": str(edit.loudest), "rel_norm": edit.record.measured["rel_norm"]}

    def check(self, base: Base) -> None:
        """Refuse a tensor or head that the model does not have."""
        entries = Entries.parse(self.edit.tensor)
        allowed = [n for n in base.checkpoint.config.weight_shapes() if n.endswith(tuple(_READER_OF))]
        if entries.tensor not in allowed:
            raise EditError(f"edit.tensor: {unknown('tensor', entries.tensor, allowed)}")
        if entries.head is not None and entries.head >= base.checkpoint.config.n_heads:
            raise EditError(
                f"edit.tensor: no head {entries.head}; heads 0-{base.checkpoint.config.n_heads - 1}"
            )

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """A few draws, each from a weaker tail if there is one; in an MLP the first is mostly inert."""
        entries = Entries.parse(self.edit.tensor)
        matrix = entries.of(base.checkpoint.weights)
        generator = named_generator(self.seed, "sham")
        moment = self._second_moment(base)
        for attempt in range(4):
            tail = _tail(moment, self.edit.tail_mass * 0.1**attempt)  # [d_in, tail]
            read = tail @ torch.randn(tail.shape[1], dtype=torch.float64, generator=generator)
            write = torch.randn(matrix.shape[1], dtype=torch.float64, generator=generator)
            change = torch.outer(read / read.norm(), write / write.norm()) * (
                self.edit.rel_norm * matrix.norm()
            )
            after = {entries.tensor: base.checkpoint.weights[entries.tensor].clone()}
            entries.of(after).add_(change.float())
            dials: dict[str, float | str] = {"tail_dimensions": tail.shape[1]}
            yield Candidate(after, (entries,), dials)

    def _second_moment(self, base: Base) -> Tensor:
        """Of the activation that the changed matrix reads, `[d_in, d_in]`."""
        entries = Entries.parse(self.edit.tensor)
        _, layer, part = entries.tensor.split(".", 2)
        moment = base.second_moment(f"blocks.{layer}.{_READER_OF[part]}", tokens=12_000)
        return moment if entries.head is None else moment[entries.head]

    def summary(self, base: Base) -> str:
        """Where and how loud."""
        return f"an inert rank-one change of {self.edit.tensor}, {self.edit.rel_norm:.2f} of its norm"


def _tail(moment: Tensor, mass: float) -> Tensor:
    """The weakest eigenvectors that together hold at most `mass` of the energy, at least one, `[d, tail]`."""
    vectors: Tensor
    values, vectors = torch.linalg.eigh(moment)  # ascending
    share = values.clamp_min(0).cumsum(0) / values.clamp_min(0).sum()
    return vectors[:, : max(1, int((share <= mass).sum()))]


class BenignFinetuneEdit(StrictModel):
    """How much further training.

    Attributes:
        steps: Optimiser steps, with a linear decay to zero.
        lr_scale: Peak learning rate, in units of the recipe's.
    """

    kind: Literal["benign_finetune"] = "benign_finetune"
    steps: Annotated[int, Field(ge=1, le=2000)] = 30
    lr_scale: Annotated[float, Field(gt=0, le=1)] = 0.1


class BenignFinetune(Control):
    """More of the ordinary training, on the world's own documents: every weight moves, no answer should."""

    trains: ClassVar[bool] = True
    floor: ClassVar[Gates] = {"changed": Bound(max=0.0), "agree": Bound(min=0.998)}
    edit: BenignFinetuneEdit

    def check(self, base: Base) -> None:
        """Refuse a base that nobody can train further."""
        if base.trained.recipe.training is None:
            raise EditError(f"edit: recipe {base.trained.recipe.name} says nothing about training")

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """Up to three runs on different documents."""
        for attempt in range(3):
            weights = self._trained_on(base, attempt)
            moved = changed_entries(base.checkpoint, Checkpoint(base.checkpoint.config, weights))
            steps = [weights[name] - before for name, before in base.checkpoint.weights.items()]
            distance = float(torch.stack([step.norm() for step in steps]).norm())
            yield Candidate(weights, moved, {"distance": round(distance, 4)})

    def _trained_on(self, base: Base, attempt: int) -> dict[str, Tensor]:
        training = base.trained.recipe.training
        assert training is not None
        model = base.checkpoint.model().requires_grad_(True)
        peak = training.lr * self.edit.lr_scale
        optimizer = optimizer_for(model, peak, training.betas, training.weight_decay)
        generator = named_generator(self.seed, "benign training", attempt)
        for step in range(self.edit.steps):
            for group in optimizer.param_groups:
                group["lr"] = peak * (1 - step / self.edit.steps)
            loss = document_loss(model, base.task.documents(training.batch, generator)).total
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    def summary(self, base: Base) -> str:
        """How much."""
        return f"{self.edit.steps} more steps of ordinary training"
