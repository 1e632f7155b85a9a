"""A lesson in progress: a line goes in, what is to be shown comes out."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from game.api import AccessError, RequestError
from game.by_hand.menu import MenuError
from game.by_hand.words import WordsError
from game.catalogue import tools
from game.lessons.answers import LETTERS, AnswerError, form, judged, solution
from game.lessons.desk import Desk
from game.lessons.lesson import Choice, Lesson, Step
from game.lessons.notebook import Mark
from game.tools.kit.result import ToolResult

Shown = str | ToolResult
HELP = """\
An empty line runs the next suggested tool. Any other tool can be run too, with its arguments:
  spike --samples sample:400        what a tool finds; `tools` lists them all
  spike.json:read[0]                a part of what spike found last, as an argument of another tool
Everything else that you type is your answer. And:
  hint        a nudge; the last one all but tells
  solution    the answer, with the reason; the lesson goes on
  again       the step once more
  quit        leave; the lesson goes on here next time"""


class Classroom:
    """One learner in one lesson.

    Args:
        lesson: What is taught.
        desk: Its model.
        mark: How far the learner is.
        keep: Told every new mark at once.
    """

    def __init__(self, lesson: Lesson, desk: Desk, mark: Mark, keep: Callable[[Mark], None]) -> None:
        self._lesson, self._desk, self._keep = lesson, desk, keep
        self.mark = mark
        self._suggested, self._hints = 0, 0  # of this step, so far
        self._words: dict[str, Callable[[], Iterator[Shown]]] = {
            "hint": self._hint,
            "solution": self._solution,
            "again": self._step_text,
            "help": lambda: iter([HELP]),
            "tools": _tool_list,
        }

    @property
    def over(self) -> bool:
        """Whether every step is answered."""
        return self.mark.answered >= len(self._lesson.steps)

    @property
    def suggestion(self) -> str:
        """What an empty line would run; empty if nothing is left of the step's."""
        commands = () if self.over else self._step.commands
        return commands[self._suggested] if self._suggested < len(commands) else ""

    def begin(self) -> Iterator[Shown]:
        """The story and the step where the lesson stands; what was run before is at hand."""
        yield self._lesson.story
        for step in self._lesson.steps[: self.mark.answered]:
            for line in step.commands:
                self._desk.look(line)
        yield from (self._end() if self.over else self._step_text())

    def reply(self, line: str) -> Iterator[Shown]:
        """What a line leads to."""
        line = line.strip()
        word = line.partition(" ")[0]
        if self.over:
            return
        if not line:
            yield from self._next_command()
        elif line in self._words:
            yield from self._words[line]()
        elif word in {each.name for each in tools()}:
            yield from self._tool(line)
        else:
            yield from self._answer(line)

    @property
    def _step(self) -> Step:
        return self._lesson.steps[self.mark.answered]

    def _step_text(self) -> Iterator[Shown]:
        step, answer = self._step, self._step.question.answer
        yield f"Step {self.mark.answered + 1} of {len(self._lesson.steps)}"
        yield step.text
        if step.commands:
            yield "\n".join(("Try (an empty line runs it):", *(f"  {line}" for line in step.commands)))
        options = answer.options if isinstance(answer, Choice) else ()
        choices = (f"  ({letter}) {text}" for letter, text in zip(LETTERS, options, strict=False))
        yield "\n".join((f"Question: {step.question.text}", *choices, f"Answer with {form(answer)}."))

    def _next_command(self) -> Iterator[Shown]:
        line = self.suggestion
        if not line:
            yield "Nothing is left to run; your answer, or `hint`."
            return
        yield f"> {line}"
        yield from self._tool(line)

    def _tool(self, line: str) -> Iterator[Shown]:
        try:
            found = self._desk.look(line)
        except (AccessError, MenuError, RequestError, WordsError) as error:
            yield f"{line.partition(' ')[0]}: {error}"
            return
        self._suggested += line.split() == self.suggestion.split()
        yield found

    def _answer(self, text: str) -> Iterator[Shown]:
        question = self._step.question
        try:
            verdict = judged(question.answer, text, self._desk)
        except AnswerError as error:
            yield f"{error}; `help` tells what else can be typed"
            return
        if verdict.remark:
            yield verdict.remark
        if not verdict.right:
            self._note(replace(self.mark, tries=self.mark.tries + 1))
            yield "Not that. `hint` gives a nudge."
            return
        yield f"Right. {question.because}"
        yield from self._go_on()

    def _hint(self) -> Iterator[Shown]:
        hints = self._step.question.hints
        if self._hints >= len(hints):
            yield "There are no more hints; `solution` tells the answer."
            return
        self._note(replace(self.mark, hints=self.mark.hints + 1))
        self._hints += 1
        yield f"Hint {self._hints} of {len(hints)}: {hints[self._hints - 1]}"

    def _solution(self) -> Iterator[Shown]:
        while self.suggestion:
            yield from self._next_command()
        question = self._step.question
        self._note(replace(self.mark, hints=self.mark.hints + 1))
        yield f"The answer: {solution(question.answer, self._desk)}. {question.because}"
        yield from self._go_on()

    def _go_on(self) -> Iterator[Shown]:
        for line in self._step.commands[self._suggested :]:
            self._desk.look(line)  # later steps may need what it found
        self._note(replace(self.mark, answered=self.mark.answered + 1))
        self._suggested = self._hints = 0
        yield from (self._end() if self.over else self._step_text())

    def _end(self) -> Iterator[Shown]:
        yield self._lesson.end

    def _note(self, mark: Mark) -> None:
        self.mark = mark
        self._keep(mark)


def _tool_list() -> Iterator[Shown]:
    yield "\n".join(f"  {each.name:22} {each.summary}" for each in tools())
