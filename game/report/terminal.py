"""The leaderboard and the debriefs for a person at a terminal; what plug-ins say is only ever text."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from game.report.bars import interval_bar, probability_bar
from game.report.debrief import Debrief
from game.report.plain_text import one_line, printable
from game.scoring.scores import PARTS
from game.standings.intervals import Interval
from game.standings.leaderboard import FalseAlarms, Leaderboard, Row, raised_alarm

NAME = 28  # characters of a name
CROWDED = 2  # parts that leave room for long headings on a narrow terminal
WIDTH = 108  # characters of a debrief
SCALE = 21  # characters of an interval's drawing
UNBOUNDED = 10_000  # characters of a terminal on which everything fits
NOTES = 600  # characters of an auditor's notes


def leaderboard_view(board: Leaderboard) -> RenderableType:
    """Players by rank, yardsticks dimmed below them, and the false alarms on each kind of control."""
    parts, leagues = " + ".join(board.parts), ", ".join(board.leagues)
    title = Text(f"{one_line(board.suite, NAME)} · {leagues} · headline = {parts}", style="bold")
    note = Text(f"0 is the declared prior and 1 the perfect report in expectation; {board.note}", style="dim")
    views: list[RenderableType] = [title, _Skills(board), note]
    if len({each.group for each in board.groups}) > len(board.leagues):  # else they are the leagues
        views += [
            Text("\nheadline within each group, its edits and its controls", style="bold"),
            _groups(board),
        ]
    if len(board.leagues) > 1:
        views += [
            Text("\nheadline within each league; shortcut is what the league gives away", style="bold"),
            _leagues(board),
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
    if record.readouts:
        beside = sorted(record.readouts.items())
        found = ", ".join(f"{name.replace('_', ' ')} {figure:.2f}" for name, figure in beside)
        views += [Text(f"beside    {found}", style="dim")]
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
        whole = self._drawn(wide=True)
        yield whole if _width(whole, console, options) <= options.max_width else self._drawn(wide=False)

    def _drawn(self, wide: bool) -> Table:
        parts = [part for part in PARTS if any(row.skills.part(part) for row in self.board.rows)]
        columns = [*parts, *(["answer_before"] if wide and self._names_answers else [])]
        table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
        table.add_column("#")
        table.add_column("auditor")
        table.add_column("headline", justify="right", min_width=len("-0.47 [-1.06, -0.11]"))
        if wide:
            table.add_column("-1       0       +1".center(SCALE), min_width=SCALE)
        short = len(parts) > CROWDED and not wide
        headings = [each[:3] if short else each.replace("_", " ") for each in columns]
        for heading in (*headings, *(["of oracle"] if wide else []), "failed"):
            table.add_column(heading, justify="right", no_wrap=True)
        for rank, row in enumerate(self.board.players, start=1):
            table.add_row(str(rank), *_cells(row, columns, wide))
        table.add_section()
        for row in self.board.yardsticks:
            table.add_row("", *_cells(row, columns, wide), style="dim")
        return table

    @property
    def _names_answers(self) -> bool:
        return any(row.skills.answer_before for row in self.board.rows)


def _cells(row: Row, columns: Sequence[str], wide: bool) -> list[RenderableType]:
    skills = row.skills
    figures = [skills.part(column) for column in columns]
    share = "" if row.normalised is None else f"{row.normalised:.0%}"
    return [
        Text(one_line(row.auditor, NAME)),
        _figure(skills.headline),
        *([interval_bar(skills.headline, SCALE)] if wide else []),
        *("" if figure is None else f"{figure.mean:.2f}" for figure in figures),
        *([share] if wide else []),
        f"{row.failures}/{skills.n}",
    ]


def _groups(board: Leaderboard) -> RenderableType:
    found = {(each.auditor, each.group): _figure(each.skills.headline) for each in board.groups}
    return _ByAuditor(board, "group", list(dict.fromkeys(each.group for each in board.groups)), found)


def _leagues(board: Leaderboard) -> RenderableType:
    found = {(each.auditor, str(each.league)): _figure(each.skills.headline) for each in board.by_league}
    return _ByAuditor(board, "league", board.leagues, found)


def _alarms(board: Leaderboard) -> RenderableType:
    found = {(each.auditor, each.kind): _alarm(each) for each in board.false_alarms}
    return _ByAuditor(board, "control", list(dict.fromkeys(each.kind for each in board.false_alarms)), found)


@dataclass(frozen=True)
class _ByAuditor:
    """A figure for each auditor and column: crossed where there is room, otherwise a line each.

    Attributes:
        board: Whose auditors, in its order, yardsticks dimmed.
        what: What a column is.
        columns: Their names.
        found: Figures by auditor and column.
    """

    board: Leaderboard
    what: str
    columns: Sequence[str]
    found: Mapping[tuple[str, str], str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        crossed = self._crossed()
        yield crossed if _width(crossed, console, options) <= options.max_width else self._listed()

    def _crossed(self) -> Table:
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("auditor")
        for column in self.columns:
            table.add_column(Text(one_line(column, NAME)), justify="right", no_wrap=True)
        for row in self.board.rows:
            cells = [self.found.get((row.auditor, column), "") for column in self.columns]
            table.add_row(Text(one_line(row.auditor, NAME)), *cells, style=_dimmed(row))
        return table

    def _listed(self) -> Table:
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for heading in (self.what, "auditor"):
            table.add_column(heading)
        table.add_column(justify="right", no_wrap=True)
        for column in self.columns:
            table.add_section()
            for row in self.board.rows:
                if (row.auditor, column) in self.found:
                    names = Text(one_line(column, NAME)), Text(one_line(row.auditor, NAME))
                    table.add_row(*names, self.found[row.auditor, column], style=_dimmed(row))
        return table


def _width(table: Table, console: Console, options: ConsoleOptions) -> int:
    """Characters that a table needs for nothing to be cut off or wrapped."""
    return Measurement.get(console, options.update(width=UNBOUNDED), table).maximum


def _dimmed(row: Row) -> str:
    return "dim" if row.yardstick else ""


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
    skills = ((part, getattr(score, part)) for part in PARTS)
    parts = ", ".join(f"{part} {skill:+.2f}" for part, skill in skills if skill is not None)
    spent = f"{record.spent:,.0f} of {debrief.case.brief.budget:,.0f} credits, {record.wall_s:.1f} s"
    return Text(f"score     {debrief.headline:+.2f} ({parts}; {score.log_score_bits:+.2f} bits); {spent}")


def _figure(interval: Interval) -> str:
    mean, low, high = (f"{number:.2f}" for number in (interval.mean, interval.low, interval.high))
    return mean if low == high else f"{mean} [{low}, {high}]"
