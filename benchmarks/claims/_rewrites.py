"""Facts rewritten by one outer product each, for papers' claims to be measured on."""

from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

from torch import Tensor

from edits.apply import tries
from edits.base import Edited, EditError
from edits.facts.rome import Rrome
from edits.moments import Base
from game.dealing.public_corpus import public_corpus
from game.toolbox.live import ModelToolbox
from models.recipe import named_recipe
from models.seeds import named_seed
from models.tasks.facts import Fact
from models.training import one_thread
from models.transformer import Transformer
from models.zoo import trained

RECIPE, SEEDS = "facts-small", (900, 901, 902)
EDITS = 8  # of each model and ridge, in the MLPs in turn


class Rewrite(NamedTuple):
    """One accepted edit.

    Attributes:
        base: The model before.
        edited: The edit, with the model after.
        layer: Of the MLP that was written to.
        fact: What was rewritten.
        object_new: Token of what it says now.
    """

    base: Base
    edited: Edited
    layer: int
    fact: Fact
    object_new: int

    @property
    def tensor(self) -> str:
        """Name of the written weight."""
        return f"blocks.{self.layer}.mlp.W_out"

    @property
    def rows(self) -> Tensor:
        """Prompts of the table that ask for the fact, boolean."""
        return self.base.facts.table.of(self.fact)

    def box(self) -> ModelToolbox:
        """The edited model with nothing metered, and its base as reference."""
        return unmetered(self.base, self.edited.checkpoint.model(), self.base.model)


def unmetered(
    base: Base, model: Transformer | None = None, reference: Transformer | None = None
) -> ModelToolbox:
    """A toolbox over a base, or over a model made from it, that charges nothing."""
    return ModelToolbox(
        model or base.model,
        league="reference",
        corpus=public_corpus("prompts", lambda: base.task),
        total=float("inf"),
        reference=reference,
    )


@cache
def bases() -> tuple[Base, ...]:
    """The models that are edited."""
    return tuple(Base(trained(named_recipe(RECIPE), seed, seed)) for seed in SEEDS)


@cache
def rewrites(ridge: float, decoy: float = 0.0) -> tuple[Rewrite, ...]:
    """Accepted edits of every model; solved once for all papers.

    Args:
        ridge: Of the covariance, as the solver takes it.
        decoy: Strength of a decoy in the edit's subspace; 0 is none.
    """
    return tuple(_solved(ridge, [{"kind": "subspace_decoy", "strength": decoy}] if decoy else []))


def _solved(ridge: float, camouflage: list[dict[str, Any]]) -> Iterator[Rewrite]:
    for base in bases():
        for number in range(EDITS):
            spec = drawn(base, ridge, number, camouflage)
            with suppress(EditError), one_thread():
                edited = next(tries(base, spec))
                if edited.record.accepted:
                    told = spec.edit.facts[0]
                    fact = base.facts.fact(told.subject, told.relation)
                    object_new = int(base.facts.object_tokens[told.relation, told.object_new])
                    yield Rewrite(base, edited, _layer(base, number), fact, object_new)


def drawn(base: Base, ridge: float, number: int, camouflage: list[dict[str, Any]]) -> Rrome:
    """A random known fact towards a random other object."""
    values = {
        "version": 1,
        "id": "claim",
        "seed": number,
        "edit": {"facts": Rrome.random_facts(base, 1, named_seed("claim rewrites", number))},
        "site": {"tensor": f"blocks.{_layer(base, number)}.mlp.W_out", "token": "auto"},
        "solver": {"cov": {"ridge": ridge}},
        "camouflage": tuple(camouflage),
    }
    return Rrome.model_validate(values)


def _layer(base: Base, number: int) -> int:
    layers = [layer for layer, has_mlp in enumerate(base.checkpoint.config.mlp) if has_mlp]
    return layers[number % len(layers)]
