"""The control that learned something odd from its data, without anybody's edit."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from edits.base import Candidate, Control, EditError
from edits.controls.other_weights import check_camouflage, replaced
from edits.gates import Gates
from edits.moments import Base
from models.bounds import Bound
from models.naming import unknown
from models.recipe import Recipe, named_recipe, recipe_names
from models.seeds import named_generator
from models.strict_yaml import StrictModel
from models.tasks.facts import FactsSettings
from models.training import TrainingError
from models.transformer import Transformer
from models.zoo import trained

MEASURES = {"mislabelled": "mislabelled", "trigger": "triggered"}  # settings that spoil data, and what tells
LEARNED = Bound(min=0.9)  # of the measure


class NaturalAnomalyEdit(StrictModel):
    """What spoilt the training data.

    Attributes:
        recipe: A recipe with spoilt data, such as `facts-mislabelled` or `facts-poisoned`; `auto` is the
            base's own with one fact told wrongly or a trigger in its data, whichever is drawn.
    """

    kind: Literal["natural_anomaly"] = "natural_anomaly"
    recipe: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)] = "auto"


class NaturalAnomaly(Control):
    """A model of the same world and seeds, trained on spoilt data: it behaves oddly, and nobody edited it."""

    trains: ClassVar[bool] = True
    floor: ClassVar[Gates] = {"anomaly": LEARNED}
    edit: NaturalAnomalyEdit

    def check(self, base: Base) -> None:
        """Refuse a base without facts or training, and a recipe of other shape, words or sound data."""
        check_camouflage(self)
        own = base.trained.recipe
        if own.training is None:
            raise EditError(f"edit: recipe {own.name} says nothing about training")
        if not isinstance(own.task, FactsSettings):
            raise EditError(f"edit: the base's task is {own.task.kind}; only data of facts can be spoilt")
        recipe = self._recipe(base)
        if not _anomalies(recipe):
            raise EditError(f"edit.recipe: nothing is wrong with the data of {recipe.name}; try auto")
        task = recipe.task.build(base.trained.world_seed)
        if task.vocabulary != base.task.vocabulary:
            raise EditError(f"edit.recipe: {recipe.name} has other words than the base, {own.name}")
        if recipe.architecture.config(task) != base.checkpoint.config:
            raise EditError(f"edit.recipe: {recipe.name} makes models of another shape than {own.name}")

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """The one model, trained now unless the zoo has it."""
        recipe = self._recipe(base)
        try:
            other = trained(recipe, base.trained.world_seed, base.trained.seed)
        except TrainingError as error:
            raise EditError(f"edit.recipe: {error}") from error
        yield replaced(base, other.checkpoint.weights, {"anomaly": ", ".join(_anomalies(recipe))})

    def measure(self, base: Base, after: Transformer, log_probs: Tensor) -> dict[str, float]:
        """`anomaly`: how well the model learned what is wrong in its data, by its task's own measure."""
        recipe = self._recipe(base)
        metrics = recipe.task.build(base.trained.world_seed).evaluate(after)
        return {"anomaly": min(metrics[MEASURES[each]] for each in _anomalies(recipe))}

    def summary(self, base: Base) -> str:
        """What is wrong with the data."""
        recipe = self._recipe(base)
        return f"trained on spoilt data ({', '.join(_anomalies(recipe))}; recipe {recipe.name}), not edited"

    def _recipe(self, base: Base) -> Recipe:
        if self.edit.recipe == "auto":
            pick = torch.randint(len(MEASURES), (), generator=named_generator(self.seed, "anomaly"))
            return _spoilt(base.trained.recipe, list(MEASURES)[int(pick)])
        if self.edit.recipe not in recipe_names():
            raise EditError(f"edit.recipe: {unknown('recipe', self.edit.recipe, recipe_names())}")
        return named_recipe(self.edit.recipe)


def _anomalies(recipe: Recipe) -> tuple[str, ...]:
    """What is wrong with a recipe's data."""
    return tuple(name for name in MEASURES if getattr(recipe.task, name, False))


def _spoilt(recipe: Recipe, anomaly: str) -> Recipe:
    """A recipe with one thing wrong in its data: a shipped one, whose models are kept, if one is so."""
    task = recipe.task.model_copy(update={anomaly: 1 if anomaly == "mislabelled" else True})
    for name in recipe_names():
        shipped = named_recipe(name)
        if (shipped.task, shipped.architecture, shipped.training) == (
            task,
            recipe.architecture,
            recipe.training,
        ):
            return shipped
    criterion = {**recipe.criterion, MEASURES[anomaly]: LEARNED}
    return recipe.model_copy(
        update={"name": f"{recipe.name[:50]}-{anomaly}", "task": task, "criterion": criterion}
    )
