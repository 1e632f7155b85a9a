"""What stands behind `--on`: a recipe's model, edited if that is asked for, or a case of a suite or a run."""

from pathlib import Path
from typing import TYPE_CHECKING

from game.catalogue import recipes, suites
from game.cli._faults import CommandError, told_to_user
from game.cli._names import is_path, load_recipe, load_suite
from game.cli._progress import say
from models.naming import unknown

if TYPE_CHECKING:
    from game.by_hand.subject import ToolSubject
    from game.case import Case
    from models.training import Progress


def subject_of(on: str, world: int | None, edit: Path | None, public_seed: int) -> "ToolSubject":
    """The model to look at; it is trained, or the case dealt, if it must be.

    Raises:
        CommandError: There is no such thing, or an edit is asked for on a case.
    """
    source, colon, case_id = on.rpartition(":")
    if not colon:
        return _model(on, world or 0, edit)
    if edit is not None or world is not None:
        raise CommandError(
            f"--on: {on} is a case, which has an edit or none of its own; leave --edit and --world out"
        )
    from game.by_hand.subject import case_subject

    return case_subject(_case(source, case_id, public_seed))


def _model(name: str, world: int, edit: Path | None) -> "ToolSubject":
    known = [entry.name for entry in recipes()]
    if not is_path(name) and name not in known:
        raise CommandError(f"--on: {unknown('recipe', name, known)}; or SUITE:CASE, or RUN_FOLDER:CASE")
    with told_to_user():
        from edits.base import EditError
        from edits.kinds import load_spec, located
        from game.by_hand.subject import edited_subjects, recipe_subject
        from models.strict_yaml import read_document

        document = None if edit is None else read_document(edit)
        spec = None if document is None else load_spec(document)
        recipe = load_recipe(name)

        def on_step(progress: "Progress") -> None:
            if progress.step % 500 == 0:
                say(f"training {recipe.name}: step {progress.step} of at most {progress.steps}")

        if spec is None or document is None:
            return recipe_subject(recipe, world, on_step)
        try:
            return edited_subjects(recipe, world, spec, on_step)[0]
        except EditError as error:
            raise CommandError(str(located(document, error))) from error


def _case(source: str, case_id: str, public_seed: int) -> "Case":
    """A case of a run that was played, or of a suite."""
    if (Path(source) / "run.db").is_file():
        with told_to_user():
            from game.runs.store import read_run

            with read_run(Path(source)) as store:
                run = store.run()
                if run.by_hand and run.state == "open":
                    raise CommandError(
                        f"--on: {source}: still played; `audit-game case tool` looks at it and charges for it"
                    )
                if run.rated and run.state == "open":
                    raise CommandError(
                        f"--on: {source}: a rated run, whose cases are looked at once it is over"
                    )
                found = store.case(case_id)
                known = [each.id for each in store.cases()]
        if found is None:
            raise CommandError(f"--on: {source}: {unknown('case', case_id, known)}")
        return found
    names = [entry.name for entry in suites()]
    if not is_path(source) and source not in names:
        raise CommandError(f"--on: {unknown('suite', source, names)}; or the folder of a run")
    suite = load_suite(source)
    with told_to_user():
        from game.dealing.master import Master
        from game.runs.events import Event, ModelTraining
        from game.runs.tournament import suite_source

        def on_event(event: Event) -> None:
            if isinstance(event, ModelTraining) and event.step % 500 == 0:
                say(f"training {event.model}: step {event.step} of at most {event.steps}")

        dealt = suite_source(suite, on_event).only(case_id)
        return dealt.dealer(Master.of_seed(public_seed))(case_id)
