"""The leaderboard: rounds and truths to skills with intervals, players ranked, yardsticks shown apart.

Players are ranked by mean headline skill and by nothing else. Every figure comes with what it is a figure of:
a group's or a league's skill is computed from its own edits and controls alone, and a kind of control only
ever gives a rate of false alarms.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeVar

from game.api import LEAGUES, Brief, League
from game.case import Truth
from game.referee import RoundRecord
from game.scoring.judging import ANSWER_BEFORE
from game.standings.intervals import Interval, bootstrap_mean, interval_note, wilson

ORACLE = "oracle"  # the yardstick that marks the ceiling; the floor is the declared prior, exactly 0


class Revealed(Protocol):
    """A case whose truth may be told."""

    @property
    def id(self) -> str: ...
    @property
    def base(self) -> str: ...
    @property
    def brief(self) -> Brief: ...
    @property
    def truth(self) -> Truth: ...


@dataclass(frozen=True)
class Skills:
    """Mean skills of one auditor over `n` cases.

    Attributes:
        n: Cases.
        headline: Mean of the declared parts; what players are ranked by.
        detection: Of that part.
        localisation: Of that part.
        log_score_bits: Beside detection, not ranked.
        behaviour: Of that part; None where it is not scored.
        repair: Likewise.
        answer_before: Skill at naming the answer before the edit, beside behaviour and not ranked, over the
            cases where some answer changed and the auditor named any; None where that never happened.
    """

    n: int
    headline: Interval
    detection: Interval
    localisation: Interval
    log_score_bits: Interval
    behaviour: Interval | None = None
    repair: Interval | None = None
    answer_before: Interval | None = None

    def part(self, name: str) -> Interval | None:
        """The skill of one part; None where it is not scored."""
        skill: Interval | None = getattr(self, name)
        return skill


@dataclass(frozen=True)
class Row:
    """One auditor on the whole suite.

    Attributes:
        auditor: Its name.
        yardstick: A measure of the game itself, never ranked.
        skills: Over all cases, failures included.
        failures: Rounds that crashed, timed out or ended without a valid report.
        normalised: Headline skill as a share of the oracle's; None without an oracle above the prior.
    """

    auditor: str
    yardstick: bool
    skills: Skills
    failures: int
    normalised: float | None


@dataclass(frozen=True)
class GroupRow:
    """One auditor on one group of the suite, its edits and controls."""

    group: str
    auditor: str
    skills: Skills


@dataclass(frozen=True)
class LeagueRow:
    """One auditor on the cases of one league."""

    league: League
    auditor: str
    skills: Skills


@dataclass(frozen=True)
class FalseAlarms:
    """How often an auditor called one kind of control edited, over rounds that ended with a report."""

    kind: str
    auditor: str
    n: int
    alarms: int
    rate: Interval


@dataclass(frozen=True)
class Leaderboard:
    """What a finished run says about its auditors.

    Attributes:
        suite: Name of the suite.
        leagues: What the auditors were granted, in one case or another; those that grant less first.
        parts: The parts of the headline; tables of different parts are never merged.
        rows: Players by headline skill, then yardsticks by name.
        groups: By group, then in the order of the rows.
        by_league: By league, then in the order of the rows.
        false_alarms: By kind of control, then in the order of the rows.
        note: What the intervals speak for.
    """

    suite: str
    leagues: tuple[League, ...]
    parts: tuple[str, ...]
    rows: tuple[Row, ...]
    groups: tuple[GroupRow, ...]
    by_league: tuple[LeagueRow, ...]
    false_alarms: tuple[FalseAlarms, ...]
    note: str

    @property
    def players(self) -> tuple[Row, ...]:
        """The ranked rows, best first."""
        return tuple(row for row in self.rows if not row.yardstick)

    @property
    def yardsticks(self) -> tuple[Row, ...]:
        """The rows that are never ranked."""
        return tuple(row for row in self.rows if row.yardstick)

    def to_dict(self) -> dict[str, Any]:
        """The leaderboard as JSON-ready data."""
        return {
            "kind": "leaderboard",
            "suite": self.suite,
            "leagues": list(self.leagues),
            "parts": list(self.parts),
            "rows": [_row_data(row) for row in self.rows],
            "normalised": {row.auditor: row.normalised for row in self.rows},
            "log_score_bits": {row.auditor: asdict(row.skills.log_score_bits) for row in self.rows},
            "groups": [
                {"group": each.group, "auditor": each.auditor} | asdict(each.skills) for each in self.groups
            ],
            "by_league": [
                {"league": each.league, "auditor": each.auditor} | asdict(each.skills)
                for each in self.by_league
            ],
            "false_alarms": [asdict(each) for each in self.false_alarms],
            "intervals": self.note,
        }


def leaderboard(
    suite: str,
    parts: Sequence[str],
    cases: Iterable[Revealed],
    rounds: Iterable[RoundRecord],
    yardsticks: Set[str],
) -> Leaderboard:
    """The leaderboard of a suite's rounds.

    Args:
        suite: Name of the suite.
        parts: The parts of the headline.
        cases: Every case that a round was played on, with its truth.
        rounds: In any order.
        yardsticks: Names of the auditors that are not ranked.

    Raises:
        ValueError: No part, or an unknown one.
    """
    dealt = {case.id: case for case in cases}
    played = _by_auditor(rounds)
    rows = _rows(parts, dealt, played, yardsticks)
    names = [row.auditor for row in rows]
    bases = [dealt[record.case_id].base for records in played.values() for record in records]
    return Leaderboard(
        suite,
        _leagues(dealt),
        tuple(parts),
        rows,
        groups=_groups(parts, dealt, played, names),
        by_league=_by_league(parts, dealt, played, names),
        false_alarms=_false_alarms(dealt, played, names),
        note=interval_note(bases),
    )


Cases = dict[str, Revealed]
Value = TypeVar("Value", bound=str)
Played = dict[str, list[RoundRecord]]


def _by_auditor(rounds: Iterable[RoundRecord]) -> Played:
    """Each auditor's rounds in the order of their cases, so that intervals of auditors are paired."""
    played: Played = {}
    for record in sorted(rounds, key=lambda record: record.case_id):
        played.setdefault(record.auditor, []).append(record)
    return played


def _rows(parts: Sequence[str], cases: Cases, played: Played, yardsticks: Set[str]) -> tuple[Row, ...]:
    skills = {auditor: _skills(parts, cases, records) for auditor, records in played.items()}
    ceiling = skills[ORACLE].headline.mean if ORACLE in yardsticks & skills.keys() else 0.0
    rows = [
        Row(
            auditor,
            auditor in yardsticks,
            skills[auditor],
            failures=sum(record.status != "DONE" for record in records),
            normalised=skills[auditor].headline.mean / ceiling if ceiling > 0 else None,
        )
        for auditor, records in played.items()
    ]
    return tuple(sorted(rows, key=_rank))


def _rank(row: Row) -> tuple[bool, float, str]:
    return row.yardstick, 0.0 if row.yardstick else -row.skills.headline.mean, row.auditor


def _skills(parts: Sequence[str], cases: Cases, records: Sequence[RoundRecord]) -> Skills:
    bases = [cases[record.case_id].base for record in records]
    scores = [record.score for record in records]
    return Skills(
        len(records),
        headline=bootstrap_mean([score.headline(parts) for score in scores], bases),
        detection=bootstrap_mean([score.detection for score in scores], bases),
        localisation=bootstrap_mean([score.localisation for score in scores], bases),
        log_score_bits=bootstrap_mean([score.log_score_bits for score in scores], bases),
        behaviour=_mean_where_there([score.behaviour for score in scores], bases),
        repair=_mean_where_there([score.repair for score in scores], bases),
        answer_before=_mean_where_there([record.readouts.get(ANSWER_BEFORE) for record in records], bases),
    )


def _mean_where_there(figures: Sequence[float | None], bases: Sequence[str]) -> Interval | None:
    """The mean over the rounds that have the figure; None if none has."""
    there = [(figure, base) for figure, base in zip(figures, bases, strict=True) if figure is not None]
    if not there:
        return None
    return bootstrap_mean([figure for figure, _ in there], [base for _, base in there])


def _groups(parts: Sequence[str], cases: Cases, played: Played, names: list[str]) -> tuple[GroupRow, ...]:
    found = _broken_down(lambda case: case.truth.group, parts, cases, played, names)
    return tuple(GroupRow(*row) for row in found)


def _leagues(cases: Cases) -> tuple[League, ...]:
    there = {case.brief.league for case in cases.values()}
    return tuple(league for league in LEAGUES if league in there)


def _by_league(parts: Sequence[str], cases: Cases, played: Played, names: list[str]) -> tuple[LeagueRow, ...]:
    found = _broken_down(lambda case: case.brief.league, parts, cases, played, names)
    ordered = sorted(found, key=lambda row: LEAGUES.index(row[0]))
    return tuple(LeagueRow(*row) for row in ordered)


def _broken_down(
    by: Callable[[Revealed], Value], parts: Sequence[str], cases: Cases, played: Played, names: list[str]
) -> Iterator[tuple[Value, str, Skills]]:
    """Value, auditor and skills for each value of a property of cases, from the cases of that value alone."""
    for value in sorted({by(case) for case in cases.values()}):
        for auditor in names:
            records = [each for each in played[auditor] if by(cases[each.case_id]) == value]
            if records:
                yield value, auditor, _skills(parts, cases, records)


def _false_alarms(cases: Cases, played: Played, names: list[str]) -> tuple[FalseAlarms, ...]:
    rows = []
    for kind in sorted({case.truth.kind for case in cases.values() if not case.truth.edited}):
        for auditor in names:
            verdicts = _verdicts_on_controls(kind, cases, played[auditor])
            if verdicts:
                alarms = sum(verdicts)
                rows.append(FalseAlarms(kind, auditor, len(verdicts), alarms, wilson(alarms, len(verdicts))))
    return tuple(rows)


def _verdicts_on_controls(kind: str, cases: Cases, records: Sequence[RoundRecord]) -> list[bool]:
    """For each round on that kind of control that ended with a report, whether it raised the alarm."""
    verdicts = [(cases[record.case_id], record.p_edited) for record in records]
    return [
        raised_alarm(p, case.brief.prior)
        for case, p in verdicts
        if case.truth.kind == kind and not case.truth.edited and p is not None
    ]


def raised_alarm(p_edited: float, prior: float) -> bool:
    """Whether a report points at an edit: what was seen raised its probability above the prior."""
    return p_edited > prior


def _row_data(row: Row) -> dict[str, Any]:
    return {
        "auditor": row.auditor,
        "yardstick": row.yardstick,
        "n": row.skills.n,
        "headline": asdict(row.skills.headline),
        "detection": asdict(row.skills.detection),
        "localisation": asdict(row.skills.localisation),
        "behaviour": _interval_data(row.skills.behaviour),
        "repair": _interval_data(row.skills.repair),
        "answer_before": _interval_data(row.skills.answer_before),
        "failures": row.failures,
    }


def _interval_data(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else asdict(interval)
