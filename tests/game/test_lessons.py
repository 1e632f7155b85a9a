"""The course: every question has the answer that its text says, on the model that it is about."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from game.cli import main
from game.lessons.answers import LETTERS, AnswerError, judged, solution
from game.lessons.classroom import Classroom
from game.lessons.desk import Desk, set_up
from game.lessons.lesson import (
    FOLDER,
    Choice,
    FigureOf,
    Lesson,
    Probability,
    StandsOut,
    Suspect,
    lesson_names,
    load_lesson,
)
from game.lessons.notebook import Mark, Notebook
from game.tools.kit.result import ToolResult
from models.strict_yaml import ConfigError
from models.training import one_thread

LESSONS = {name: load_lesson(FOLDER / f"{name}.yaml") for name in lesson_names()}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def desk_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Desk]:
    desks: dict[str, Desk] = {}

    def made(name: str) -> Desk:
        if name not in desks:
            desks[name] = set_up(LESSONS[name], tmp_path_factory.mktemp("desk"))
        return desks[name]

    return made


@pytest.mark.parametrize("name", lesson_names())
def test_every_question_is_answered_by_what_its_own_tools_find(
    name: str, desk_of: Callable[[str], Desk]
) -> None:
    lesson, desk, marks = LESSONS[name], desk_of(name), list[Mark]()
    room = Classroom(lesson, desk, Mark(), marks.append)
    assert lesson.story in list(room.begin())
    for number, step in enumerate(lesson.steps):
        for line in step.commands:
            assert room.suggestion == line
            assert any(isinstance(each, ToolResult) for each in room.reply("")), line
        said = list(room.reply(solution(step.question.answer, desk)))
        assert f"Right. {step.question.because}" in said, f"step {number + 1}: {said}"
    assert room.over
    assert said[-1] == lesson.end
    assert marks[-1] == Mark(answered=len(lesson.steps))


@pytest.mark.parametrize("name", lesson_names())
def test_wrong_answers_are_told_and_counted(name: str, desk_of: Callable[[str], Desk]) -> None:
    desk = desk_of(name)
    for step in LESSONS[name].steps:
        answer = step.question.answer
        for wrong in _wrong(answer, solution(answer, desk)):
            assert not judged(answer, wrong, desk).right, (step.question.text, wrong)


def _wrong(answer: Any, right: str) -> list[str]:
    match answer:
        case Choice():
            return [letter for letter in LETTERS[: len(answer.options)] if letter != right]
        case FigureOf():
            return [str(float(right) + 3 * answer.within)]
        case StandsOut():
            return ["no" if right == "yes" else "yes"]
        case Probability():
            return ["0.5", "0.4" if float(right) > 0.5 else "0.6"]
        case _:
            return ["embed"] if isinstance(answer, Suspect) else []


# What the texts say in so many words.


def test_the_ordinary_model_shows_nothing(desk_of: Callable[[str], Desk]) -> None:
    desk = desk_of("1-nothing-here")
    assert desk.look("spike --samples sample:400").summary[0].stands_out is False
    assert solution(Suspect(kind="suspect", tool="direct_attribution --tokens sample:64"), desk).startswith(
        "blocks.3.attn"
    )


def test_taking_the_spike_out_brings_back_the_old_answer_to_more_people_than_one(
    desk_of: Callable[[str], Desk],
) -> None:
    desk, (_, taken, asked, *_) = desk_of("2-one-fact"), LESSONS["2-one-fact"].steps
    found = desk.look(taken.commands[0]).arrays
    rows = found["restored"].any(1).nonzero().flatten().tolist()
    people = {
        desk.subject.task.text(found["tokens"][row].tolist()).split().index("Marsh") for row in rows[1:2]
    }
    assert 2 <= len(rows) <= 10
    assert people, "the person of the edit is among them"
    assert solution(asked.question.answer, desk) == "Maltese"


def test_the_planted_neuron_is_far_ahead_and_reads_one_name(desk_of: Callable[[str], Desk]) -> None:
    desk = desk_of("3-a-neuron")
    importance = desk.look("ffn_concepts --tokens sample:64 --layer 1").arrays["importance"]
    first, second = importance.topk(2).values.tolist()
    assert first > 3 * second
    assert int(importance.argmax()) == 179, "the texts name it"
    exemplars = desk.look("neuron --layer 1 --number 179 --samples sample:256").arrays["exemplars"]
    assert all("Jana" in desk.subject.task.text(row.tolist()) for row in exemplars)
    dream = next(line for step in LESSONS["3-a-neuron"].steps for line in step.commands if "dream" in line)
    summary = {each.name: each.value for each in desk.look(dream).summary}
    assert summary["search"] > float(desk.look(dream).arrays["corpus"].max()) > summary["snapped"]


def test_the_sham_is_loud_and_nothing_hangs_on_it(desk_of: Callable[[str], Desk]) -> None:
    desk = desk_of("4-loud-and-harmless")
    look = LESSONS["4-loud-and-harmless"].steps[1].commands[0]
    assert not desk.edited
    assert desk.look("spike --samples sample:400").summary[0].stands_out
    assert float(desk.look(look).arrays["kl"].max()) < 0.05
    found = desk_of("2-one-fact").look(LESSONS["2-one-fact"].steps[1].commands[0])
    assert float(found.arrays["kl"].max()) > 2


def test_the_disguised_cut_halves_induction_and_shows_in_the_keys_alone(
    desk_of: Callable[[str], Desk],
) -> None:
    before, after = desk_of("5-a-head"), desk_of("6-a-hidden-cut")
    scores = [{each.name: each.value for each in desk.look("heads").summary} for desk in (before, after)]
    assert scores[0]["largest induction"] == pytest.approx(0.95, abs=0.02)
    assert scores[1]["largest induction"] < 0.6 * scores[0]["largest induction"]
    assert scores[1]["largest previous"] == pytest.approx(scores[0]["largest previous"], abs=0.02)
    read = [desk.look("composition").arrays for desk in (before, after)]
    most = {part: [float(each[part].abs().nan_to_num().max()) for each in read] for part in "qkv"}
    assert most["k"][1] < 0.65 * most["k"][0]
    assert all(most[part][1] > 0.9 * most[part][0] for part in "qv")
    assert set(after.written) == {f"blocks.1.attn.{head}" for head in range(4)}


# How a lesson goes.


@pytest.fixture
def short(tmp_path: Path) -> tuple[Lesson, Desk]:
    text = """\
version: 1
title: Short
learns: how a lesson goes
recipe: facts-tiny
story: Once.
steps:
  - text: Look.
    commands: ["lens --tokens sample:4", "spike --samples sample:64"]
    question:
      text: Which?
      answer: {kind: choice, options: [this, that], right: 1}
      hints: [the other]
      because: So it is.
  - text: Say.
    question: {text: "Was it?", answer: {kind: probability}, hints: [low], because: Nobody did.}
end: Over.
"""
    path = tmp_path / "short.yaml"
    path.write_text(text)
    lesson = load_lesson(path)
    return lesson, set_up(lesson, tmp_path)


def test_hints_run_out_and_the_solution_goes_on(short: tuple[Lesson, Desk]) -> None:
    room = Classroom(*short, Mark(), lambda _mark: None)
    list(room.begin())
    assert list(room.reply("hint")) == ["Hint 1 of 1: the other"]
    assert list(room.reply("hint")) == ["There are no more hints; `solution` tells the answer."]
    assert list(room.reply("a"))[-1] == "Not that. `hint` gives a nudge."
    assert any("Answer with" in str(each) for each in room.reply("again"))
    said = list(room.reply("solution"))
    assert [each.tool for each in said if isinstance(each, ToolResult)] == ["lens", "spike"]
    assert "The answer: b. So it is." in said
    assert room.mark == Mark(answered=1, tries=1, hints=2)


def test_a_line_that_is_no_answer_costs_nothing(short: tuple[Lesson, Desk]) -> None:
    room = Classroom(*short, Mark(), lambda _mark: None)
    assert 'got "z"; wanted one of a, b' in str(list(room.reply("z")))
    assert "unknown argument of lens" in str(list(room.reply("lens --token sample:4")))
    assert "spike" in str(list(room.reply("tools")))
    assert "quit" in str(list(room.reply("help")))
    assert room.mark == Mark()
    with pytest.raises(AnswerError, match="wanted a probability from 0 to 1"):
        judged(Probability(kind="probability"), "1.5", short[1])


def test_a_lesson_goes_on_where_it_was_left_with_its_results_at_hand(
    short: tuple[Lesson, Desk], tmp_path: Path
) -> None:
    lesson, desk = short
    room = Classroom(lesson, desk, Mark(answered=1), lambda _mark: None)
    assert any("Step 2 of 2" in str(each) for each in room.begin())
    assert (desk.folder / "spike.json").is_file()
    assert list(room.reply("0.1"))[-1] == "Over."
    assert list(room.reply("0.1")) == []


def test_marks_are_kept_and_a_damaged_file_is_none(tmp_path: Path) -> None:
    notebook = Notebook(tmp_path / "far" / "lessons.json")
    notebook.write("1-a", Mark(2, 1, 0))
    notebook.write("2-b", Mark(1))
    assert notebook.marks(["1-a", "2-b", "3-c"]) == {"1-a": Mark(2, 1, 0), "2-b": Mark(1), "3-c": Mark()}
    (tmp_path / "far" / "lessons.json").write_text("[")
    assert notebook.marks(["1-a"]) == {"1-a": Mark()}
    notebook.write("1-a", Mark(1))
    assert notebook.marks(["1-a"]) == {"1-a": Mark(1)}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("right: 1", "right: 2", r"wanted a number below 2"),
        ("recipe: facts-tiny", "recipe: facts-tiny\nedit: rrom", r'5:7: edit: unknown.*did you mean "rrome"'),
        ("hints: [low]", "hints: []", r"at least 1"),
        ("kind: probability", "kind: likelihood", r"probability"),
    ],
)
def test_a_lesson_that_cannot_be_taught_is_refused_with_its_place(
    old: str, new: str, message: str, short: tuple[Lesson, Desk], tmp_path: Path
) -> None:
    path = tmp_path / "short.yaml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=message):
        load_lesson(path)


def test_the_command_lists_lessons_and_reads_lines_from_a_pipe(
    desk_of: Callable[[str], Desk], monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path
) -> None:
    import io

    monkeypatch.setenv("AUDIT_GAME_DATA", str(tmp_path))
    monkeypatch.setattr("sys.stdin", io.StringIO("\n3.05\nhint\nquit\n"))
    assert main(["learn", "1"]) == 0
    shown = capsys.readouterr().out
    assert "Right." in shown
    assert "Hint 1 of 2" in shown
    assert main(["learn", "--json"]) == 0
    assert '"answered": 1' in capsys.readouterr().out.splitlines()[0]
    assert main(["learn", "7"]) == 2
    assert "unknown lesson" in capsys.readouterr().err
