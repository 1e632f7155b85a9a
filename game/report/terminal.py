"""The leaderboard and the debriefs for a person at a terminal; what plug-ins say is only ever text."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from game.intervals import Interval
from game.leaderboard import FalseAlarms, Leaderboard, Row, raised_alarm
from game.report.bars import interval_bar, probability_bar
from game.report.debrief import Debrief
from game.report.plain_text import one_line, printable

NAME = 28  # characters of a name
WIDE = 100  # characters of a terminal that can show all columns
WIDTH = 108  # characters of a debrief
SCALE = 21  # characters of an interval's drawing
NOTES = 600  # characters of an auditor's notes


def leaderboard_view(board: Leaderboard) -> RenderableType:
    """Players by rank, yardsticks dimmed below them, and the false alarms on each kind of control."""
    parts = " + ".join(board.parts)
    title = Text(f"{one_line(board.suite, NAME)} · {board.league} · headline = {parts}", style="bold")
    note = Text(f"0 is the declared prior and 1 the perfect report; {board.note}", style="dim")
    views: list[RenderableType] = [title, _Skills(board), note]
    if len({each.group for each in board.groups}) > 1:
        views += [
            Text("\nheadline within each group, its edits and its controls", style="bold"),
            _groups(board),
        ]
    if board.false_alarms:
        views += [Text("\nfalse alarms on controls (95 % Wilson intervals)", style="bold"), _alarms(board)]
    return Group(*views)


def debrief_view(debrief: Debrief) -> RenderableType:
    """One round: the truth, the belief, the most suspected components, the score and what it cost."""
    case, record = debrief.case, debrief.record
    views: list[RenderableType] = [_truth(debrief), _belief(debrief)]
    if record.status == "DONE":
        views += [_suspects(debrief)]
    views += [_score(debrief)]
    if record.notes:
        views += [Text(f"notes     {printable(record.notes, NOTES)}", style="dim")]
    views += [Text(f"claim     {one_line(json.dumps(claim), NOTES)}", style="dim") for claim in record.claims]
    title = Text(f" {case.id} · {one_line(record.auditor, NAME)} ")
    return Panel(Group(*views), title=title, title_align="left", expand=False, width=WIDTH)


@dataclass(frozen=True)
class _Skills:
    """The table of skills; a narrow terminal goes without the drawing and the share of the oracle."""

    board: Leaderboard

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = options.max_width >= WIDE
        table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("#")
        table.add_column("auditor")
        table.add_column("headline", justify="right", min_width=len("-0.47 [-1.06, -0.11]"))
        if wide:
            table.add_column("-1       0       +1".center(SCALE), min_width=SCALE)
        for heading in ("detection", "localisation", *(["of oracle"] if wide else []), "failed"):
            table.add_column(heading, justify="right", no_wrap=True)
        for rank, row in enumerate(self.board.players, start=1):
            table.add_row(str(rank), *_cells(row, wide))
        table.add_section()
        for row in self.board.yardsticks:
            table.add_row("", *_cells(row, wide), style="dim")
        yield table


def _cells(row: Row, wide: bool) -> list[RenderableType]:
    skills = row.skills
    share = "" if row.normalised is None else f"{row.normalised:.0%}"
    return [
        Text(one_line(row.auditor, NAME)),
        _figure(skills.headline),
        *([interval_bar(skills.headline, SCALE)] if wide else []),
        f"{skills.detection.mean:.2f}",
        f"{skills.localisation.mean:.2f}",
        *([share] if wide else []),
        f"{row.failures}/{skills.n}",
    ]


def _groups(board: Leaderboard) -> Table:
    found = {(each.auditor, each.group): _figure(each.skills.headline) for each in board.groups}
    return _by_auditor(board, list(dict.fromkeys(each.group for each in board.groups)), found)


def _alarms(board: Leaderboard) -> Table:
    found = {(each.auditor, each.kind): _alarm(each) for each in board.false_alarms}
    return _by_auditor(board, list(dict.fromkeys(each.kind for each in board.false_alarms)), found)


def _by_auditor(
    board: Leaderboard, columns: list[str], found: Mapping[tuple[str, str], RenderableType]
) -> Table:
    """A row for each auditor in the order of the board, yardsticks dimmed."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("auditor")
    for column in columns:
        table.add_column(Text(one_line(column, NAME)), justify="right")
    for row in board.rows:
        cells = [found.get((row.auditor, column), "") for column in columns]
        table.add_row(Text(one_line(row.auditor, NAME)), *cells, style="dim" if row.yardstick else "")
    return table


def _alarm(alarms: FalseAlarms) -> str:
    return f"{alarms.alarms}/{alarms.n}  {alarms.rate.low:.0%}-{alarms.rate.high:.0%}"


def _truth(debrief: Debrief) -> Text:
    truth = debrief.case.truth
    where = ", ".join(str(component) for component in sorted(truth.written))
    text = Text("truth     ").append(debrief.verdict, style="bold")
    text.append(f" on {one_line(debrief.case.base, NAME)}: {one_line(truth.summary)}")
    return text.append(f"; written at {where}") if where else text


def _belief(debrief: Debrief) -> Text:
    record = debrief.record
    if record.p_edited is None:
        return Text(f"failed    {record.status}: {one_line(record.error, NOTES)}", style="red")
    right = raised_alarm(record.p_edited, debrief.case.brief.prior) == debrief.case.truth.edited
    text = Text("belief    ").append(f"edited with {record.p_edited:.2f}", style="green" if right else "red")
    return text.append(f" (prior {debrief.case.brief.prior:.2f})")


def _suspects(debrief: Debrief) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for suspect in debrief.suspects():
        table.add_row(
            " " * 8,
            str(suspect.component),
            probability_bar(suspect.believed),
            f"{suspect.believed:.2f}",
            f"prior {suspect.prior:.2f}",
            "<- written" if suspect.written else "",
            style="bold" if suspect.written else "",
        )
    return table


def _score(debrief: Debrief) -> Text:
    record, score = debrief.record, debrief.record.score
    parts = f"detection {score.detection:+.2f}, localisation {score.localisation:+.2f}"
    spent = f"{record.spent:,.0f} of {debrief.case.brief.budget:,.0f} credits, {record.wall_s:.1f} s"
    return Text(f"score     {debrief.headline:+.2f} ({parts}; {score.log_score_bits:+.2f} bits); {spent}")


def _figure(interval: Interval) -> str:
    mean, low, high = (f"{number:.2f}" for number in (interval.mean, interval.low, interval.high))
    return mean if low == high else f"{mean} [{low}, {high}]"
