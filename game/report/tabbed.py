"""The same figures as lines of tab-separated columns, for a script or a plain terminal."""

from collections.abc import Iterator

from game.report.debrief import Debrief
from game.report.plain_text import one_line
from game.standings.intervals import Interval
from game.standings.leaderboard import Leaderboard, Skills

SKILLS = ("headline", "detection", "localisation", "behaviour", "repair", "answer_before")


def leaderboard_lines(board: Leaderboard) -> Iterator[str]:
    """A heading and a line for each auditor, then the same within each group and league, and false alarms."""
    figures = [f"{skill}{end}" for skill in SKILLS for end in ("", "_low", "_high")]
    yield "\t".join(["rank", "auditor", *figures, "failures", "rounds"])
    ranks = {row.auditor: str(rank) for rank, row in enumerate(board.players, start=1)}
    for row in board.rows:
        skills = row.skills
        cells = [cell for skill in SKILLS for cell in _ends(skills.part(skill))]
        rank = ranks.get(row.auditor, "yardstick")
        yield "\t".join([rank, one_line(row.auditor), *cells, str(row.failures), str(skills.n)])
    yield "\t".join(["group", "auditor", *figures, "rounds"])
    yield from (_line(group.group, group.auditor, group.skills) for group in board.groups)
    yield "\t".join(["league", "auditor", *figures, "rounds"])
    yield from (_line(league.league, league.auditor, league.skills) for league in board.by_league)
    yield "\t".join(["control", "auditor", "alarms", "rounds", "rate", "rate_low", "rate_high"])
    for each in board.false_alarms:
        cells = [
            one_line(each.kind),
            one_line(each.auditor),
            str(each.alarms),
            str(each.n),
            *_ends(each.rate),
        ]
        yield "\t".join(cells)


def debrief_lines(debrief: Debrief) -> Iterator[str]:
    """One line for the round and one for each suspected component."""
    case, record = debrief.case, debrief.record
    belief = "" if record.p_edited is None else f"{record.p_edited:.4f}"
    outcome = [record.status, belief, debrief.verdict, f"{debrief.headline:.4f}", f"{record.spent:.0f}"]
    yield "\t".join(["round", case.id, one_line(record.auditor), *outcome, one_line(record.error)])
    for suspect in debrief.suspects():
        figures = [f"{suspect.believed:.4f}", f"{suspect.prior:.4f}", "written" if suspect.written else ""]
        yield "\t".join(["component", case.id, one_line(record.auditor), str(suspect.component), *figures])


def _line(part: str, auditor: str, skills: Skills) -> str:
    """One auditor on a part of the cases."""
    cells = [cell for skill in SKILLS for cell in _ends(skills.part(skill))]
    return "\t".join([one_line(part), one_line(auditor), *cells, str(skills.n)])


def _ends(interval: Interval | None) -> list[str]:
    """Mean and ends; empty where there is no figure."""
    if interval is None:
        return [""] * 3
    return [f"{number:.4f}" for number in (interval.mean, interval.low, interval.high)]
