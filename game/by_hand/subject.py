"""What a tool is run on by hand: a case behind its toolbox, or a model of the zoo, unmetered."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from edits.apply import apply
from edits.base import EditSpec
from edits.moments import Base
from game.api import PublicTask, Samples, Toolbox
from game.case import Case
from game.dealing.dealer import public_part
from game.dealing.public_corpus import public_corpus
from game.referee import open_toolbox
from game.toolbox.live import ModelToolbox
from models.recipe import Recipe
from models.training import Progress
from models.transformer import Transformer
from models.zoo import trained

UNMETERED = float("inf")


@dataclass(frozen=True)
class ToolSubject:
    """A model to look at.

    Attributes:
        name: What to call it, such as `facts-small@0, edited by rome`.
        box: The door to it.
        task: What everyone may know of its task.
        affected: Prompts that its edit is about, where the edit is no secret.
    """

    name: str
    box: Toolbox
    task: PublicTask
    affected: Samples | None = None

    @property
    def metered(self) -> bool:
        """Whether credits are charged."""
        return self.box.budget.total < UNMETERED


def case_subject(case: Case) -> ToolSubject:
    """A case as its auditors see it: its league, its budget, and no word about its edit."""
    return ToolSubject(case.id, open_toolbox(case), case.brief.task)


def recipe_subject(
    recipe: Recipe, world: int, on_step: Callable[[Progress], None] = lambda _progress: None
) -> ToolSubject:
    """A recipe's model of that world and training seed; its reference is itself."""
    base = Base(trained(recipe, world, world, on_step=on_step))
    return ToolSubject(f"{recipe.name}@{world}", _box(base, base.model), public_part(base.task))


def edited_subjects(
    recipe: Recipe,
    world: int,
    spec: EditSpec,
    on_step: Callable[[Progress], None] = lambda _progress: None,
) -> tuple[ToolSubject, ToolSubject]:
    """The same model edited, and untouched with the same affected prompts.

    Raises:
        EditError: The specification cannot be carried out there.
    """
    base = Base(trained(recipe, world, world, on_step=on_step))
    edited = apply(base, spec)
    predicate = spec.predicate(base)
    probe = predicate.affected if predicate else base.table
    untouched = ToolSubject(
        f"{recipe.name}@{world}",
        _box(base, base.model),
        public_part(base.task),
        Samples(probe.tokens, probe.last + 1),
    )
    name = f"{untouched.name}, {spec.summary(base)}"
    return replace(untouched, name=name, box=_box(base, edited.checkpoint.model())), untouched


def _box(base: Base, model: Transformer) -> ModelToolbox:
    """Everything is granted, nothing charged."""
    return ModelToolbox(
        model,
        league="reference",
        corpus=public_corpus("prompts", lambda: base.task),
        total=UNMETERED,
        reference=base.model,
    )
