"""A lesson's model on a desk: what a learner may do with it, and what the questions are judged by."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edits.apply import apply
from edits.kinds import load_spec
from edits.moments import Base
from game.by_hand.line import read_line, run_ready
from game.by_hand.subject import UNMETERED, ToolSubject
from game.dealing.dealer import public_part
from game.dealing.public_corpus import public_corpus
from game.lessons.lesson import Lesson
from game.toolbox.live import ModelToolbox
from game.tools.kit.result import ToolResult
from models.recipe import named_recipe
from models.strict_yaml import read_document
from models.training import Progress
from models.zoo import trained


@dataclass(frozen=True)
class Desk:
    """A model behind an unmetered door of the whitebox league.

    Attributes:
        subject: What tools are run on.
        edited: Whether the model was edited, and
        written: the components that the edit wrote to.
        folder: Where results are kept while the lesson lasts.
    """

    subject: ToolSubject
    edited: bool
    written: tuple[str, ...]
    folder: Path
    _seen: dict[str, ToolResult] = field(default_factory=dict, repr=False)

    def look(self, line: str) -> ToolResult:
        """What a tool's line finds; the same line again is not run again.

        Raises:
            MenuError, WordsError, RequestError, AccessError: It cannot be run.
        """
        words = " ".join(line.split())
        if words not in self._seen:
            self._seen[words] = run_ready(
                read_line(words, self.subject, self.folder), self.subject, self.folder
            )
        return self._seen[words]


def set_up(
    lesson: Lesson, folder: Path, on_step: Callable[[Progress], None] = lambda _progress: None
) -> Desk:
    """The lesson's model, trained and edited if it must be.

    Raises:
        TrainingError: The model does not reach its criterion.
        EditError: The edit cannot be carried out on it.
    """
    base = Base(trained(named_recipe(lesson.recipe), lesson.world, lesson.world, on_step=on_step))
    made = None if lesson.spec_path is None else apply(base, load_spec(read_document(lesson.spec_path)))
    box = ModelToolbox(
        base.model if made is None else made.checkpoint.model(),
        league="whitebox",
        corpus=public_corpus("prompts", lambda: base.task),
        total=UNMETERED,
    )
    edited = made is not None and made.record.edited
    written = made.record.components if made is not None and edited else ()
    return Desk(ToolSubject("the model", box, public_part(base.task)), edited, written, folder)
