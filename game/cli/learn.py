"""Learn to audit: six guided cases, from an untouched model to a hidden cut in a circuit."""

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from game.lessons.classroom import Shown
    from game.lessons.desk import Desk
    from game.lessons.lesson import Lesson
    from models.training import Progress


def configure(parser: argparse.ArgumentParser) -> None:
    """Which lesson, and how it is shown."""
    from game.cli._options import add_output_options

    parser.epilog = (
        "Lines are read from the terminal, or from a file or pipe. Without LESSON, all lessons are listed."
    )
    parser.add_argument("lesson", nargs="?", metavar="LESSON", help="a lesson's number or name")
    parser.add_argument("--restart", action="store_true", help="begin the lesson anew")
    parser.add_argument("--solution", action="store_true", help="show the whole lesson with its answers")
    add_output_options(parser)


def run(args: argparse.Namespace) -> int:
    """List the lessons, or teach one."""
    from game.cli._faults import told_to_user

    with told_to_user():
        if args.lesson is None:
            _list(args)
            return 0
        return _teach(args)


def _list(args: argparse.Namespace) -> None:
    import json

    from game.lessons.lesson import FOLDER, lesson_names, load_lesson
    from game.lessons.notebook import Notebook

    names = lesson_names()
    marks = Notebook().marks(names)
    lessons = {name: load_lesson(FOLDER / f"{name}.yaml") for name in names}
    if args.json:
        for name, lesson in lessons.items():
            told = {"kind": "lesson", "name": name, "title": lesson.title, "steps": len(lesson.steps)}
            print(json.dumps(told | vars(marks[name])))
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from game.cli._console import console

    table = Table("", "lesson", "what it is for", "done", box=SIMPLE_HEAD, pad_edge=False)
    for name, lesson in lessons.items():
        done = f"{min(marks[name].answered, len(lesson.steps))} of {len(lesson.steps)}"
        number = name.partition("-")[0]
        table.add_row(number, Text(lesson.title, style="bold"), Text(lesson.learns), done)
    console().print(table)
    print("audit-game learn 1 begins; each lesson takes a quarter to half an hour", file=sys.stderr)


def _teach(args: argparse.Namespace) -> int:
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from game.cli._console import console
    from game.lessons.classroom import Classroom
    from game.lessons.lesson import FOLDER, lesson_named, load_lesson
    from game.lessons.notebook import Mark, Notebook
    from models.training import one_thread

    name = lesson_named(args.lesson)
    lesson, notebook = load_lesson(FOLDER / f"{name}.yaml"), Notebook()
    fresh = args.restart or args.solution
    mark = Mark() if fresh else notebook.marks([name])[name]
    if mark.answered >= len(lesson.steps):
        print(f"lesson {name} is done; --restart begins it anew", file=sys.stderr)
    with TemporaryDirectory() as folder, one_thread():  # the texts name what one thread finds
        desk = _set_up(lesson, Path(folder))
        room = Classroom(
            lesson,
            desk,
            mark,
            (lambda _mark: None) if args.solution else lambda new: notebook.write(name, new),
        )
        screen = console()
        screen.rule(lesson.title)
        _show(screen, desk, room.begin())
        for line in _solutions(len(lesson.steps)) if args.solution else _typed():
            if room.over or line.strip() in ("quit", "exit"):
                break
            _show(screen, desk, room.reply(line))
            if room.over:
                break
    return 0


def _set_up(lesson: "Lesson", folder: "Path") -> "Desk":
    from game.cli._progress import say
    from game.lessons.desk import set_up

    def on_step(progress: "Progress") -> None:
        if progress.step % 500 == 0:
            say(f"training {lesson.recipe}: step {progress.step} of at most {progress.steps}")

    return set_up(lesson, folder, on_step)


def _typed() -> Iterator[str]:
    """Lines as they are typed, until the end of input."""
    if sys.stdin.isatty():
        import readline  # noqa: F401  # gives input() its history and line editing
    while True:
        try:
            yield input("learn> " if sys.stdin.isatty() else "")
        except EOFError:
            return


def _solutions(steps: int) -> Iterator[str]:
    for _ in range(steps):
        yield "solution"


def _show(screen: "Console", desk: "Desk", shown: "Iterator[Shown]") -> None:
    from rich.padding import Padding
    from rich.text import Text

    from game.drawing.terminal import result_view

    for each in shown:
        if isinstance(each, str):
            screen.print(Padding(Text(each.rstrip()), (0, 0, 1, 0)))
        else:
            screen.print(Padding(result_view(each, desk.subject.task, 4), (0, 0, 1, 2)))
