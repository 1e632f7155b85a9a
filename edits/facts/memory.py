"""MLPs as memories: keys in, values out; edits that solve for the change of `W_out` in closed form."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from edits.base import Candidate, EditError
from edits.facts.sites import Place, Spread
from edits.facts.spec import FactSpec
from edits.facts.value import Rows, Value, ValueVector, value_rows, value_vector
from edits.moments import Base, conditioning
from models.checkpoints import Checkpoint
from models.components import Entries
from models.seeds import named_generator
from models.strict_yaml import StrictModel
from models.transformer import Transformer


class Covariance(StrictModel):
    """Key statistics: sampled tokens, and a ridge in units of C's mean diagonal: the difficulty dial."""

    tokens: Annotated[int, Field(ge=1000, le=100_000)] = 12_000
    ridge: Annotated[float, Field(ge=1e-8, le=1e4)] = 1e-2


class MemorySolver(StrictModel):
    """How values are found and written.

    Attributes:
        cov: What is measured of the keys.
        value: How a value vector is found.
        spread: Over how many consecutive layers the edit is split; the last one is the site's.
    """

    cov: Covariance = Covariance()
    value: Value = Value()
    spread: Spread = 1


@dataclass(frozen=True)
class Writing:
    """What is to be written to one `W_out`; float64.

    Attributes:
        keys: Mean key over each fact's rewriting rows, `[fact, d_mlp]`.
        bare: Key of each fact's bare prompt, `[fact, d_mlp]`.
        values: What is to be added to the output for each key, `[fact, d_model]`.
        earlier: Keys that were written before, `[earlier, d_mlp]`.
        moment: Second moment of keys, `[d_mlp, d_mlp]`.
    """

    keys: Tensor
    bare: Tensor
    values: Tensor
    earlier: Tensor
    moment: Tensor

    def ridged(self, ridge: float) -> Tensor:
        """C plus a ridge in units of its mean diagonal, `[d_mlp, d_mlp]`."""
        eye = torch.eye(len(self.moment), dtype=self.moment.dtype)
        return self.moment + ridge * self.moment.diagonal().mean() * eye


class Draft:
    """A model on its way: the base with what has been written so far.

    Args:
        base: The model to start from; it is never written to.

    Attributes:
        changed: The weights that were written to, by name.
    """

    def __init__(self, base: Base) -> None:
        self._base = base
        self._model: Transformer | None = base.model
        self._keys: dict[str, list[Tensor]] = {}
        self.changed: dict[str, Tensor] = {}

    @property
    def model(self) -> Transformer:
        """The model as it is now."""
        if self._model is None:
            before = self._base.checkpoint
            self._model = Checkpoint(before.config, {**before.weights, **self.changed}).model()
        return self._model

    def add(self, name: str, change: Tensor, keys: Tensor) -> None:
        """Add to a `W_out`, for these keys, `[fact, d_mlp]`."""
        before = self.changed.get(name, self._base.checkpoint.weights[name])
        self.changed[name] = before + change.float()
        self._keys.setdefault(name, []).append(keys)
        self._model = None

    def earlier_keys(self, name: str, like: Tensor) -> Tensor:
        """The keys that were written to a `W_out` before, `[earlier, d_mlp]`."""
        return torch.cat([like[:0], *self._keys.get(name, [])])


class MemorySpec(FactSpec):
    """A fact edit whose change of `W_out` is solved for in closed form, given keys and values."""

    solver: MemorySolver = MemorySolver()

    @property
    def spread(self) -> int:
        """How many consecutive layers the edit is split over."""
        return self.solver.spread

    def update(self, writing: Writing) -> Tensor:
        """The change of `W_out`, `[d_mlp, d_model]`, float64.

        Raises:
            ValueError: A key is dead.
        """
        raise TypeError(f"{type(self).__name__} writes nothing")

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """One solution for each KL weight of the ladder."""
        place, generator = self.place(base), named_generator(self.seed, "value prompts")
        prefixes = self.solver.value.prefixes
        rows = [value_rows(base, goal, place.token, prefixes, generator) for goal in self.goals(base)]
        tokens = self.solver.cov.tokens
        moments = {
            layer: base.second_moment(f"blocks.{layer}.mlp.hook_post", tokens) for layer in place.layers
        }
        condition = conditioning(moments[place.layer]).log_condition
        for kl in self.solver.value.kl_ladder:
            draft, found = Draft(base), []
            for batch in self.batches(rows):
                found += self._write(draft, batch, place, moments, kl)
            written = tuple(map(Entries, place.names))
            dials = {**place.dials, "facts": len(rows), "kl": kl, **_dials_of(found)}
            yield Candidate(draft.changed, written, {**dials, "log10_condition": round(condition, 3)})

    def batches(self, rows: Sequence[Rows]) -> Sequence[Sequence[Rows]]:
        """The facts in the groups in which they are written, each on the model so far; one by one."""
        return [[each] for each in rows]

    def _write(
        self, draft: Draft, batch: Sequence[Rows], place: Place, moments: Mapping[int, Tensor], kl: float
    ) -> list[ValueVector]:
        """Write one batch layer by layer, what is still missing divided over the layers to come."""
        before, hook = draft.model, f"blocks.{place.layer}.hook_resid_post"
        found = [value_vector(before, rows, place.layer, self.solver.value, kl) for rows in batch]
        aim = torch.stack([value.delta for value in found]).double()  # [fact, d_model]
        for done, layer in enumerate(place.layers):
            missing = aim - _moved(before, draft.model, batch, hook) if done else aim
            moment, values = moments[layer], missing / (len(place.layers) - done)
            self._add(draft, f"blocks.{layer}.mlp", batch, values, moment)
        return found

    def _add(self, draft: Draft, mlp: str, batch: Sequence[Rows], values: Tensor, moment: Tensor) -> None:
        """Solve for one layer's change and write it."""
        name, keys = f"{mlp}.W_out", [at_site(draft.model, rows, f"{mlp}.hook_post") for rows in batch]
        mean = torch.stack([key.mean(0) for key in keys])
        bare = torch.stack([key[0] for key in keys])
        if not moment.diagonal().sum() > 0:
            raise EditError(f"site: {name} cannot be solved for: its keys are zero on every document")
        writing = Writing(mean, bare, values, draft.earlier_keys(name, mean), moment)
        try:
            change = self.update(writing)
        except ValueError as error:
            raise EditError(f"site: {name} cannot be solved for: {error}") from error
        if not (change.isfinite().all() and change.any()):
            raise EditError(f"site: {name} cannot be solved for: its keys or values are degenerate")
        draft.add(name, change, mean)


def _moved(before: Transformer, now: Transformer, batch: Sequence[Rows], hook: str) -> Tensor:
    """How far each fact's mean activation at its site has moved, `[fact, d]`, float64."""
    moved = [(at_site(now, rows, hook) - at_site(before, rows, hook)).mean(0) for rows in batch]
    return torch.stack(moved)


def at_site(model: Transformer, rows: Rows, hook: str) -> Tensor:
    """An activation at the site of the rewriting rows, `[row, d]`, float64."""
    activation = model.run_with_cache(rows.tokens[: rows.rewriting], hook)[1][hook]
    return activation[torch.arange(rows.rewriting), rows.site[: rows.rewriting]].double()


def live(keys: Tensor) -> Tensor:
    """The keys, none of which is zero.

    Args:
        keys: `[fact, d_mlp]`.

    Raises:
        ValueError: One is.
    """
    if not (keys.abs().amax(1) > 0).all():
        raise ValueError("dead key: the activation to be read is zero")
    return keys


def _dials_of(found: Sequence[ValueVector]) -> dict[str, float]:
    """How the values were found, averaged over the facts."""
    count = len(found)
    return {
        "steps": sum(value.steps for value in found) / count if count > 1 else found[0].steps,
        "loss": round(sum(value.loss for value in found) / count, 6),
        "delta_over_v0": round(sum(value.relative_norm for value in found) / count, 6),
    }
