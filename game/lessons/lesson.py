"""A lesson: a model, what is told of it, and what is asked; one YAML file each."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from models.naming import unknown
from models.strict_yaml import ConfigError, Fault, StrictModel, read_document

FOLDER = Path(__file__).parent
SPECS = (FOLDER / "specs", FOLDER.parent.parent / "edits" / "specs")
Text = Annotated[str, Field(min_length=1)]


def flowing(text: str) -> str:
    """Text without its line breaks, but for those between paragraphs: the screen breaks lines itself."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


Prose = Annotated[Text, AfterValidator(flowing)]


class FigureOf(StrictModel):
    """A number: a figure that a tool prints, give or take."""

    kind: Literal["figure"]
    tool: Text
    figure: Text
    within: Annotated[float, Field(gt=0)]


class StandsOut(StrictModel):
    """Yes or no: whether a tool's figure lies outside its null band."""

    kind: Literal["stands_out"]
    tool: Text
    figure: Text


class Suspect(StrictModel):
    """A component: the one that a tool ranks first."""

    kind: Literal["suspect"]
    tool: Text


class Largest(StrictModel):
    """A place: the number of the largest entry of a row of numbers that a tool found."""

    kind: Literal["largest"]
    tool: Text
    array: Text


class Word(StrictModel):
    """A word: the token in one cell of what a tool found.

    Attributes:
        array: Of tokens.
        where: Another array, whose largest entry has the place of the cell, or begins it.
        at: The cell, or the rest of its place.
    """

    kind: Literal["word"]
    tool: Text
    array: Text
    where: str | None = None
    at: tuple[int, ...] = ()


class Written(StrictModel):
    """A component that the edit wrote to; any of them will do."""

    kind: Literal["written"]


class Choice(StrictModel):
    """One of several sentences, by its letter."""

    kind: Literal["choice"]
    options: Annotated[tuple[Text, ...], Field(min_length=2, max_length=6)]
    right: Annotated[int, Field(ge=0, le=5)]

    @model_validator(mode="after")
    def _one_of_them(self) -> "Choice":
        if self.right >= len(self.options):
            raise ValueError(f"right: got {self.right}, wanted a number below {len(self.options)}")
        return self


class Probability(StrictModel):
    """P(edited), judged as the game judges it; better than the prior of one half will do."""

    kind: Literal["probability"]


Answer = Annotated[
    FigureOf | StandsOut | Suspect | Largest | Word | Written | Choice | Probability,
    Field(discriminator="kind"),
]


class Question(StrictModel):
    """What is asked.

    Attributes:
        text: The question.
        answer: Where the right answer comes from.
        hints: From a nudge to all but the answer.
        because: Said once it is answered.
    """

    text: Prose
    answer: Answer
    hints: Annotated[tuple[Prose, ...], Field(min_length=1)]
    because: Prose


class Step(StrictModel):
    """A thing to read, something to try, and a question.

    Attributes:
        text: What is told.
        commands: Tools to run, such as `spike --samples sample:400`; a result that was seen before is named
            by its tool, `spike.json:read[0]`.
        question: What is asked then.
    """

    text: Prose
    commands: tuple[Text, ...] = ()
    question: Question


class Lesson(StrictModel):
    """A guided case.

    Attributes:
        title: One line.
        learns: What it is for, one line.
        recipe, world: The model.
        edit: A specification by name, of `edits/specs` or of this course; none leaves the model as it is.
        story: What is told at the start.
        steps: In order.
        end: What is told at the end.
    """

    version: Literal[1]
    title: Text
    learns: Text
    recipe: Text
    world: Annotated[int, Field(ge=0)] = 0
    edit: str | None = None
    story: Prose
    steps: Annotated[tuple[Step, ...], Field(min_length=1)]
    end: Prose

    @property
    def spec_path(self) -> Path | None:
        """The file of its edit."""
        if self.edit is None:
            return None
        return next(path for folder in SPECS if (path := folder / f"{self.edit}.yaml").is_file())


def lesson_names() -> tuple[str, ...]:
    """The lessons in order."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def lesson_named(name: str) -> str:
    """A lesson's full name, from that or its number.

    Raises:
        ConfigError: There is none.
    """
    names = lesson_names()
    numbers = {each.partition("-")[0]: each for each in names}
    if name in numbers:
        return numbers[name]
    if name not in names:
        raise ConfigError([Fault("", None, None, "", unknown("lesson", name, [*numbers, *names]))])
    return name


def load_lesson(path: Path) -> Lesson:
    """The lesson in a file.

    Raises:
        ConfigError: Every fault of it, with its place.
    """
    document = read_document(path)
    lesson = document.validate(Lesson)
    known = sorted({each.stem for folder in SPECS for each in folder.glob("*.yaml")})
    if lesson.edit is not None and lesson.edit not in known:
        raise document.error(("edit",), unknown("specification", lesson.edit, known))
    return lesson
