"""The figures of auditors' rounds, by key."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure, Missing
from benchmarks.players.rounds import Played
from game.api import LEAGUES
from game.referee import RoundRecord
from game.runs.store import StoredCase
from game.standings.intervals import Interval, bootstrap_mean, wilson
from game.standings.leaderboard import raised_alarm
from game.standings.readouts import readouts

CLAIMS = Path(__file__).parent.parent / "claims"
Row = tuple[str, Figure | Missing]
Of = Callable[[RoundRecord], float]


def rows(played: Played, parts: Sequence[str]) -> Iterator[Row]:
    """Skills, calibration and false alarms of one auditor."""
    name = played.auditor

    def headline(record: RoundRecord) -> float:
        return record.score.headline(parts)

    by_league = split(played, lambda case: case.brief.league)
    for league in filter(by_league.__contains__, LEAGUES):
        own = by_league[league]
        yield f"headline.{name}.{league}", figure(mean(own, headline))
        detection = mean(own, lambda record: record.score.detection)
        for end, value in (("low", detection.low), ("high", detection.high)):
            yield f"detection_{end}.{name}.{league}", Figure(value, "skill", value, value)
        if league == "whitebox":
            for family, of_family in split(own, lambda case: case.brief.task.name).items():
                yield f"headline.{name}.{league}.{family}", figure(mean(of_family, headline))
    yield f"calibration.{name}", calibration_error(played)
    for kind in sorted({case.truth.kind for case in played.cases.values() if not case.truth.edited}):
        yield f"false_alarm.{name}.{kind}", false_alarms(played, kind)


def by_group(played: Played, parts: Sequence[str]) -> dict[str, Figure]:
    """Mean headline skill by group of the suite."""
    found = split(played, lambda case: case.truth.group)
    return {
        group: figure(mean(each, lambda record: record.score.headline(parts)))
        for group, each in found.items()
    }


def budget_area(curve: Mapping[float, Figure]) -> Figure:
    """Mean headline skill over the logarithm of the budget, by the trapezoid rule; ends likewise.

    Of one budget alone it is the skill there.
    """
    budgets = sorted(curve)
    if len(budgets) == 1:
        return curve[budgets[0]]
    at = np.log(budgets)

    def area(values: Sequence[float]) -> float:
        return float(np.trapezoid(values, at) / (at[-1] - at[0]))

    ends = [area([getattr(curve[budget], end) for budget in budgets]) for end in ("value", "low", "high")]
    return Figure(ends[0], "skill", ends[1], ends[2])


def claims(names: Sequence[str] = ()) -> dict[str, Figure | Missing]:
    """What `benchmarks/claims` measures of papers, by `claim.<paper>.<what>`, the paper's figure as peer."""
    found: dict[str, Figure | Missing] = {}
    for file in sorted(CLAIMS.glob("*.py")):
        if not file.stem.startswith("_") and (not names or file.stem in names):
            found |= import_module(f"benchmarks.claims.{file.stem}").measured()
    return found


def split(played: Played, by: Callable[[StoredCase], str]) -> dict[str, Played]:
    """The rounds on the cases of each value of a property, values in order."""
    values = sorted({by(case) for case in played.cases.values()})
    return {
        value: only(played, {each for each, case in played.cases.items() if by(case) == value})
        for value in values
    }


def only(played: Played, case_ids: Collection[str]) -> Played:
    """The rounds on those cases."""
    cases = {case_id: case for case_id, case in played.cases.items() if case_id in case_ids}
    rounds = tuple(record for record in played.rounds if record.case_id in cases)
    return Played(played.auditor, played.budget, cases, rounds)


def mean(played: Played, value: Of) -> Interval:
    """Mean over rounds, with an interval that resamples base checkpoints."""
    records = sorted(played.rounds, key=lambda record: record.case_id)
    bases = [played.cases[record.case_id].base for record in records]
    return bootstrap_mean([value(record) for record in records], bases)


def figure(interval: Interval) -> Figure:
    """A skill."""
    return Figure(interval.mean, "skill", interval.low, interval.high)


def calibration_error(played: Played) -> Figure | Missing:
    """Expected calibration error of P(edited), over the leagues in which it said anything but the prior.

    The prior is calibrated: leagues where nothing can be seen would hide what is wrong where it can.
    """
    looked = {
        played.cases[record.case_id].brief.league
        for record in played.rounds
        if record.p_edited not in (None, played.cases[record.case_id].brief.prior)
    }
    ids = {case_id for case_id, case in played.cases.items() if case.brief.league in looked}
    judged = only(played, ids or played.cases)
    found = readouts(judged.cases.values(), judged.rounds, [judged.auditor])[0].calibration
    if found is None:
        return Missing("no round ended with a report")
    return Figure(found.error, "probability", found.error, found.error)


def false_alarms(played: Played, kind: str) -> Figure | Missing:
    """Share of one kind of control that was called edited."""
    cases = played.cases
    said = [
        raised_alarm(record.p_edited, cases[record.case_id].brief.prior)
        for record in played.rounds
        if record.p_edited is not None
        and cases[record.case_id].truth.kind == kind
        and not cases[record.case_id].truth.edited
    ]
    if not said:
        return Missing("no such control was reported on")
    rate = wilson(sum(said), len(said))
    return Figure(rate.mean, f"of {len(said)}", rate.low, rate.high)
