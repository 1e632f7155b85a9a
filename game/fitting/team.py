"""From what a team's members read to its fit: a belief for whoever was asked, and whom to ask first."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np

from game.auditing.evidence import Evidence
from game.auditing.team import Step, TeamFit, belief_name, read_by, signed
from game.dealing.suite import Suite
from game.fitting.choice import Pool, Tested
from game.fitting.fit import Fitted, Try, enough
from game.fitting.logit import Scales, Table, said
from game.fitting.readings import Reading, as_dealt
from game.loader import LoadedAuditor

STRENGTH = 0.1  # of the penalty while members are compared
LEAST_GAIN = 0.005  # nats that a member must take away to be asked at all

Members = frozenset[str]


def members_of(auditor: object) -> tuple[LoadedAuditor, ...]:
    """The members of a team, as auditors to be read; none if it is no team."""
    team = getattr(auditor, "team", None)
    members: Mapping[str, Any] = team() if callable(team) else {}
    return tuple(LoadedAuditor(name, each, False) for name, each in members.items())


def team_fit_of(
    name: str, suite: Suite, readings: Mapping[str, Sequence[Reading]]
) -> tuple[TeamFit, tuple[Fitted, ...]]:
    """The fit of a team, and what each of its beliefs is worth.

    For every league, and every task of it with cases enough: members are put in the order in which asking
    them pays, greedily, by the surprise that they take away for a credit on bases unseen. A belief is fitted
    for every beginning of that order, and of the order of their prices.

    Args:
        name: Of the team.
        suite: What it practised on.
        readings: Of every member, of the same cases.
    """
    practice = _Practice({member: as_dealt(each) for member, each in readings.items()})
    steps: dict[str, tuple[Step, ...]] = {}
    rows: list[Fitted] = []
    for league in practice.leagues:
        prices = practice.prices(league)
        for belief, own in practice.groups(league):
            steps[belief] = tuple(practice.steps(own, prices))
            rows += practice.beliefs(belief, own, _asked(steps[belief]))
    beliefs = {row.name: row.belief for row in rows if row.belief is not None}
    paying = {name: each for name, each in steps.items() if each}
    cases = len(practice.joined)
    return TeamFit(name, suite.name, suite.digest, cases, beliefs, paying), tuple(rows)


def _asked(steps: Sequence[Step]) -> tuple[Members, ...]:
    """The sets of members that have a belief: those who pay, in the order in which they do, and by price."""
    by_price = sorted(steps, key=lambda step: step.price)
    orders = ([step.member for step in order] for order in (steps, by_price))
    return tuple(dict.fromkeys(frozenset(order[: n + 1]) for order in orders for n in range(len(order))))


class _Practice:
    """What all members read of the same cases, and of it what some of them read."""

    def __init__(self, readings: Mapping[str, Sequence[Reading]]) -> None:
        self._readings = readings
        cases = zip(*readings.values(), strict=True)
        self.joined = [_joined(tuple(readings), each) for each in cases]
        self._some: dict[Members, list[Reading]] = {}
        self._pools: dict[tuple[Members, tuple[int, ...]], Pool] = {}

    @property
    def leagues(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(each.league for each in self.joined))

    def prices(self, league: str) -> dict[str, float]:
        """Mean credits of each member that reads anything in a league, where it does."""
        found = {}
        for name, readings in self._readings.items():
            spent = [each.spent for each in readings if each.league == league and not each.evidence.empty]
            if spent:
                found[name] = round(float(np.mean(spent)), 2)
        return found

    def groups(self, league: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """The league, and each of its tasks, with their cases, where these are enough."""
        own = tuple(row for row, each in enumerate(self.joined) if each.league == league)
        tasks = Counter(self.joined[row].task for row in own)
        of_tasks = {task: tuple(row for row in own if self.joined[row].task == task) for task in tasks}
        groups = {league: own} | {
            f"{league}/{task}": rows for task, rows in of_tasks.items() if len(tasks) > 1
        }
        for name, rows in groups.items():
            if enough([self.joined[row] for row in rows]):
                yield name, rows

    def steps(self, own: tuple[int, ...], prices: Mapping[str, float]) -> Iterator[Step]:
        """Who to ask, in order, as long as it pays."""
        asked, left = frozenset[str](), set(prices)
        before = self._prior_loss(own)
        while left:
            after = {name: self._loss(own, asked | {name}) for name in sorted(left)}
            left = {name for name in left if before - after[name] > LEAST_GAIN}
            if not left:
                return
            best = max(sorted(left), key=lambda name: (before - after[name]) / max(prices[name], 1.0))
            yield Step(best, prices[best], round(before, 4), round(after[best], 4))
            asked, before = asked | {best}, after[best]
            left.discard(best)

    def beliefs(self, name: str, own: tuple[int, ...], asked: Sequence[Members]) -> Iterator[Fitted]:
        """What is fitted for a group of cases, whoever was asked."""
        for members in asked:
            read = self._read_by(members)
            seen = tuple(row for row, each in enumerate(read) if not each.evidence.empty)
            mine = tuple(row for row in own if row in set(seen))
            if enough([read[row] for row in mine]):
                pools = [self._pool(members, rows) for rows in dict.fromkeys((seen, mine))]
                yield Try.of([read[row] for row in mine], pools).fitted(belief_name(name, members))

    def _loss(self, own: tuple[int, ...], members: Members) -> float:
        return float(self._pool(members, own).tested(STRENGTH).loss.mean())

    def _prior_loss(self, own: tuple[int, ...]) -> float:
        table = Table.of([self.joined[row] for row in own], Scales({}, {}))
        return float(Tested.of(table, said(table, np.zeros(1))).loss.mean())

    def _pool(self, members: Members, rows: tuple[int, ...]) -> Pool:
        if (members, rows) not in self._pools:
            read = self._read_by(members)
            self._pools[members, rows] = Pool([read[row] for row in rows])
        return self._pools[members, rows]

    def _read_by(self, members: Members) -> list[Reading]:
        if members not in self._some:
            self._some[members] = [
                replace(each, evidence=read_by(members, each.evidence)) for each in self.joined
            ]
        return self._some[members]


def _joined(names: Sequence[str], readings: Sequence[Reading]) -> Reading:
    """What all members read of a case."""
    signs = [signed(name, each.evidence) for name, each in zip(names, readings, strict=True)]
    evidence = reduce(Evidence.joined, signs, Evidence())
    return replace(readings[0], evidence=evidence, spent=sum(each.spent for each in readings))
