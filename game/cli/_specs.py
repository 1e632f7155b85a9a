"""Specifications on the command line: read, applied, and refused with line and column."""

from pathlib import Path
from typing import TYPE_CHECKING

from game.cli._faults import CommandError, told_to_user
from game.cli._names import load_recipe
from game.cli._progress import say

if TYPE_CHECKING:
    from game.red.lab import Preview
    from models.training import Progress


def previewed(path: Path, recipe_name: str | None, world: int) -> "Preview":
    """The specification of a file on one model, which is trained if it must be.

    Raises:
        CommandError: The file has faults, or asks for what this model does not have.
    """
    with told_to_user():
        from edits.base import EditError
        from edits.kinds import load_spec, located
        from game.red.lab import preview, usual_recipe
        from models.strict_yaml import read_document

        document = read_document(path)
        spec = load_spec(document)
        recipe = load_recipe(recipe_name) if recipe_name else usual_recipe(spec)

        def on_step(progress: "Progress") -> None:
            if progress.step % 500 == 0:
                say(f"training {recipe.name}: step {progress.step} of at most {progress.steps}")

        try:
            return preview(spec, recipe, world, on_step)
        except EditError as error:
            raise CommandError(str(located(document, error))) from error
