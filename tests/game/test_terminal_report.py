import dataclasses
import io

import pytest
from rich.console import Console, RenderableType

from game.api import League
from game.report.bars import interval_bar, probability_bar
from game.report.debrief import Debrief, telling
from game.report.plain_text import one_line, printable
from game.report.tabbed import debrief_lines, leaderboard_lines
from game.report.terminal import debrief_view, leaderboard_view
from game.runs.store import StoredCase
from game.scoring.scores import PARTS
from game.standings.intervals import Interval
from game.standings.leaderboard import Leaderboard, leaderboard
from models.components import Component
from tests.game import hand_made
from tests.game.hand_made import HEAD, MLP, record

CASES = hand_made.cases(8)
HOSTILE = "\x1b[31mred\x07\u202e[bold]x[/bold]:boom:\nnext\ud800"
LOCATION = {MLP: 2 / 3, HEAD: 1 / 3}


def board(name: str = "good") -> Leaderboard:
    rounds = [record(case, name, 0.8 if case.truth.edited else 0.2, LOCATION) for case in CASES]
    rounds += [record(case, "floor", 0.5, {}) for case in CASES]
    rounds += [record(case, "mute", None, {}) for case in CASES]
    return leaderboard("hand-made", ("detection",), CASES, rounds, frozenset({"floor"}))


def in_two_leagues() -> Leaderboard:
    """The same rounds, every other case in another league."""
    leagues: tuple[League, League] = ("scrambled", "blackbox")
    dealt = [
        dataclasses.replace(case, brief=dataclasses.replace(case.brief, league=leagues[number % 2]))
        for number, case in enumerate(CASES)
    ]
    rounds = [record(case, name, 0.8, LOCATION) for case in dealt for name in ("good", "shortcut")]
    return leaderboard("hand-made", ("detection",), dealt, rounds, frozenset({"shortcut"}))


def test_several_leagues_have_a_table_with_the_shortcut_in_it() -> None:
    out = shown(leaderboard_view(in_two_leagues()))
    assert "hand-made · blackbox, scrambled · headline" in out
    _, _, table = out.partition("headline within each league")
    assert "blackbox" in table.splitlines()[1] + table.splitlines()[2]
    assert "shortcut" in table.partition("false alarms")[0]
    assert "within each league" not in shown(leaderboard_view(board()))


def test_tabbed_lines_have_a_block_for_leagues() -> None:
    rows = [line.split("\t") for line in leaderboard_lines(in_two_leagues())]
    start = next(number for number, row in enumerate(rows) if row[0] == "league")
    assert [row[:2] for row in rows[start + 1 : start + 5]] == [
        ["blackbox", "good"],
        ["blackbox", "shortcut"],
        ["scrambled", "good"],
        ["scrambled", "shortcut"],
    ]


def debrief(number: int = 0, p: float | None = 0.8, **changes: object) -> Debrief:
    played = record(CASES[number], "good", p, LOCATION)
    return Debrief(StoredCase.of(CASES[number]), dataclasses.replace(played, **changes))  # type: ignore[arg-type]


def shown(view: RenderableType, color: bool = False, width: int = 110) -> str:
    console = Console(
        file=io.StringIO(), markup=False, emoji=False, highlight=False, width=width, force_terminal=color
    )
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("mean", "low", "high", "drawn"),
    [
        # interval          on a scale from -1 to 1
        (0.0, 0.0, 0.0, "·····●·····"),
        (0.6, 0.2, 0.8, "·····│━━●━·"),
        (-0.6, -0.8, 0.4, "·━●━━━━━···"),
        (1.0, 0.8, 1.0, "·····│···━●"),
        (-0.4, -3.0, 3.0, "◂━━●━━━━━━▸"),
        (-3.0, -4.0, -2.0, "●····│·····"),
    ],
)
def test_intervals_are_drawn_on_a_scale(mean: float, low: float, high: float, drawn: str) -> None:
    assert interval_bar(Interval(mean, low, high), width=11) == drawn


@pytest.mark.parametrize(
    ("p", "drawn"),
    [
        # probability  four characters in eighths
        (0.0, "    "),
        (0.001, "▏   "),
        (0.125, "▌   "),
        (0.5, "██  "),
        (0.72, "██▉ "),
        (1.0, "████"),
    ],
)
def test_probabilities_are_drawn_as_bars(p: float, drawn: str) -> None:
    assert probability_bar(p, width=4) == drawn


def test_hostile_text_loses_its_controls_and_keeps_its_letters() -> None:
    assert printable(HOSTILE) == "[31mred[bold]x[/bold]:boom:\nnext"
    assert one_line(HOSTILE) == "[31mred[bold]x[/bold]:boom: next"
    assert printable("a\tb\n") == "a\tb\n"
    assert printable("\x9b31m\x85\u2066a\u061c\x7f") == "31ma"


def test_long_text_is_clipped() -> None:
    assert printable("x" * 3000) == "x" * 1999 + "…"
    assert one_line("y" * 50, 10) == "y" * 9 + "…"


def test_players_are_ranked_and_yardsticks_stand_below_without_a_rank() -> None:
    lines = shown(leaderboard_view(board())).splitlines()
    ranked = [line.split()[:2] for line in lines if line.strip().startswith(("1", "2"))]
    assert ranked == [["1", "good"], ["2", "mute"]]
    (floor,) = [line for line in lines if line.strip().startswith("floor") and "●" in line]
    assert lines.index(floor) > max(i for i, line in enumerate(lines) if "mute" in line and "●" in line)
    (good,) = [line for line in lines if " good " in line and "●" in line]
    assert good.split()[2] == "0.84"
    assert good.split()[-1] == "0/8"


@pytest.mark.parametrize("width", [80, 110])
def test_no_figure_is_cut_off_on_a_terminal_of_that_width(width: int) -> None:
    rounds = [record(case, "a_name_of_sixteen", 0.9, LOCATION) for case in CASES]
    wide = leaderboard("hand-made", ("localisation",), CASES, rounds, frozenset())
    lines = shown(leaderboard_view(wide), width=width).splitlines()
    (row,) = [line for line in lines if line.startswith(" 1")]
    assert max(map(len, lines)) <= width
    assert "…" not in row
    assert row.split()[-1] == "0/8"
    assert ("●" in row) == (width == 110)


LONG_NAME = "group-of-twenty-char-"


def crowded() -> Leaderboard:
    """A board of four parts and many groups."""
    dealt = [
        dataclasses.replace(
            case, truth=dataclasses.replace(case.truth, group=f"group-of-twenty-char-{i % 4}")
        )
        for i, case in enumerate(CASES)
    ]
    rounds = [record(case, "a_name_of_sixteen", 0.9, LOCATION) for case in dealt]
    scored = [
        dataclasses.replace(
            each,
            score=dataclasses.replace(each.score, behaviour=-1.5, repair=0.5),
            readouts={"answer_before": 0.25},
        )
        for each in rounds
    ]
    return leaderboard("hand-made", PARTS, dealt, scored, frozenset())


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        # characters   what the columns of the parts are called
        (80, ["det", "loc", "beh", "rep"]),
        (110, ["det", "loc", "beh", "rep"]),
        (150, ["detection", "localisation", "behaviour", "repair", "answer before"]),
    ],
)
def test_four_parts_and_many_groups_fit_any_terminal(width: int, headings: list[str]) -> None:
    lines = shown(leaderboard_view(crowded()), width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)
    heading = next(line for line in lines if "headline" in line and "#" in line)
    assert " ".join(headings) in " ".join(heading.split())
    (row,) = [line for line in lines if line.startswith(" 1")]
    assert {"-1.50", "0.50", "0/8"} <= set(row.split())
    assert sum(LONG_NAME in line for line in lines) == (1 if width == 150 else 4)


def test_false_alarms_stand_under_each_kind_of_control_with_their_interval() -> None:
    text = shown(leaderboard_view(board()))
    heading = text.splitlines().index(next(line for line in text.splitlines() if "false alarms" in line))
    (row,) = [line for line in text.splitlines()[heading:] if line.strip().startswith("good")]
    assert row.split() == ["good", "0/2", "0%-66%", "0/2", "0%-66%"]


def test_the_note_of_the_intervals_is_shown() -> None:
    assert "these checkpoints only" in shown(leaderboard_view(board()))


def test_a_debrief_tells_truth_belief_place_score_and_cost() -> None:
    text = shown(debrief_view(debrief(notes="W_out of layer 0 is loud")))
    for part in (
        "case-000 · good",
        "edited (rome) on toy@0.0: Ada Adler now hails from Oslo; written at blocks.0.mlp",
        "edited with 0.80 (prior 0.50)",
        "+0.67 (detection +0.84, localisation +0.51; +0.68 bits)",
        "12 of 100 credits",
        "W_out of layer 0 is loud",
        '{"family": "rome", "layer": 0}',
    ):
        assert part in text
    (written,) = [line for line in text.splitlines() if "<- written" in line]
    assert written.split()[1:2] == ["blocks.0.mlp"]
    assert "0.53  prior 0.33" in written


def test_a_component_that_was_written_to_is_shown_however_little_it_was_suspected() -> None:
    found = debrief(components={str(MLP): 0.0, str(HEAD): 0.3}).suspects()
    assert [(str(s.component), s.written) for s in found] == [(str(HEAD), False), (str(MLP), True)]


def test_components_left_out_of_the_report_show_what_they_were_scored_as() -> None:
    found = {str(s.component): s.believed for s in debrief(components={}).suspects()}
    assert found == {str(MLP): pytest.approx(0.8 / 3 * 2), str(HEAD): pytest.approx(0.8 / 3)}


def test_the_debrief_of_a_failure_tells_the_error_and_no_belief() -> None:
    text = shown(debrief_view(debrief(p=None, error=f"ValueError: {HOSTILE}")))
    assert "ERROR: ValueError: [31mred[bold]x[/bold]:boom: next" in text
    assert "prior" not in text


@pytest.mark.parametrize("color", [False, True])
def test_hostile_names_notes_and_errors_drive_no_terminal(color: bool) -> None:
    rows = shown(leaderboard_view(board(HOSTILE)), color)
    rounds = shown(debrief_view(debrief(auditor=HOSTILE, notes=HOSTILE, claims=[{HOSTILE: HOSTILE}])), color)
    crash = shown(debrief_view(debrief(p=None, error=HOSTILE)), color)
    for text in (rows, rounds, crash):
        assert "[bold]x[/bold]" in text
        assert "💥" not in text
        assert set(text).isdisjoint("\x07\u202e\ud800")
        assert color or "\x1b" not in text
        assert "\x1b[31mred" not in text


def test_tabbed_lines_have_a_cell_for_each_column() -> None:
    lines = [line.split("\t") for line in leaderboard_lines(board(HOSTILE))]
    starts = [i for i, line in enumerate(lines) if line[0] in ("rank", "group", "control")]
    blocks = [lines[a:b] for a, b in zip(starts, [*starts[1:], None], strict=True)]
    assert [block[0][0] for block in blocks] == ["rank", "group", "control"]
    for block in blocks:
        assert {len(line) for line in block} == {len(block[0])}
    ranks = [(line[0], line[2]) for line in blocks[0][1:]]
    assert ranks == [("1", "0.8400"), ("2", "-0.2500"), ("yardstick", "0.0000")]


def test_a_tabbed_debrief_is_one_line_a_round_and_one_a_component() -> None:
    lines = [line.split("\t") for line in debrief_lines(debrief(auditor="a\tb\nc"))]
    assert lines[0][:6] == ["round", "case-000", "a b c", "DONE", "0.8000", "edited (rome)"]
    assert [line[3] for line in lines[1:]] == [str(MLP), str(HEAD)]
    assert lines[1][-1] == "written"


def test_the_telling_rounds_are_the_leader_s_best_find_and_the_worst_mistake() -> None:
    rounds = {
        ("case-000", "good"): debrief(0, 0.9),
        ("case-002", "good"): debrief(2, 0.8),
        ("case-001", "good"): debrief(1, 0.6),
        ("case-001", "mute"): debrief(1, None),
    }
    best, worst = telling(board(), list(rounds.values()))
    assert (best.record.case_id, worst.record.case_id) == ("case-000", "case-001")
    assert telling(board(), []) == []


def test_a_component_s_name_is_shown_as_it_is_written() -> None:
    assert str(Component.parse("blocks.1.attn.1")) in shown(debrief_view(debrief(2)))
