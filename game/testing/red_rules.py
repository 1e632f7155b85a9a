"""The contract of a red strategy, which plans in this process, on a small model that knows its facts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edits.apply import apply
from edits.base import EditError, EditSpec
from edits.briefing import RedStrategy, Target, Trial, TrialsSpentError
from edits.moments import Base
from game.deadline import OutOfTimeError, interrupted_after
from game.hearing import no_report_within, place_of
from game.loader import load_strategy, settings_of
from game.red.strategies import planned
from game.testing.any_rules import SETTINGS, TEXT, seeded
from game.testing.contract import Rule
from game.testing.source import Source

TARGETS = 4
TRIALS = 3


@dataclass
class Briefed:
    """A briefing whose panel sees nothing but the edit's norm."""

    base: Base
    target: Target
    id: str = "case-000"
    seed: int = 7
    trials_left: int = TRIALS
    answers: dict[str, float] = field(default_factory=dict)

    def trial(self, spec: EditSpec) -> Trial:
        """The norm of what the edit writes, in place of a skill.

        Raises:
            TrialsSpentError: None is left.
        """
        if self.trials_left < 1:
            raise TrialsSpentError(f"{self.id}: every trial that was granted is spent")
        self.trials_left -= 1
        return Trial({"norms": apply(self.base, spec).record.measured["rel_norm"]}, 1)


@dataclass(frozen=True)
class RedSubject:
    """A red strategy that could be loaded.

    Attributes:
        reference: As it was loaded.
        given: Settings that it was loaded with.
        name: In tables.
        strategy: Itself.
        source: What its text says.
        base: The model on which it plans.
        deadline: Seconds for each plan.
    """

    reference: str
    given: Mapping[str, Any]
    name: str
    strategy: RedStrategy
    source: Source
    base: Base
    deadline: float

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Its settings where those are given.

        Raises:
            LoadError: They do not fit.
        """
        return settings_of(load_strategy(self.reference, {**self.given, **given})[1])

    @property
    def briefings(self) -> list[Briefed]:
        """Facts that the model knows, each to become another one."""
        facts, objects = self.base.known_facts[5::20][:TARGETS], self.base.facts.object_tokens.shape[1]
        targets = [Target(fact.subject, fact.relation, (fact.object + 1) % objects) for fact in facts]
        return [Briefed(self.base, target) for target in targets]

    def plan(self, briefing: Briefed, stray_seed: int = 0) -> EditSpec:
        """Its plan, with the global generators started from a number.

        Raises:
            EditError: It failed, was too slow, or planned something else than an edit of its target.
        """
        own = replace(briefing, answers={})
        try:
            with interrupted_after(self.deadline), seeded(stray_seed):
                return planned(self.name, self.strategy, own)
        except OutOfTimeError as late:
            place = place_of(late, self.strategy)
            raise EditError(f"{no_report_within(self.deadline)}{place}".replace("report", "plan")) from None


def _of_its_target(subject: RedSubject) -> Iterator[str]:
    for briefing in subject.briefings[:2]:
        try:
            subject.plan(briefing)
        except EditError as error:
            yield str(error)


def _without_trials(subject: RedSubject) -> Iterator[str]:
    try:
        subject.plan(replace(subject.briefings[0], trials_left=0))
    except EditError as error:
        yield f"no trial granted: {error}"


def _same_plan(subject: RedSubject) -> Iterator[str]:
    first, other = subject.briefings[:2]
    before = subject.plan(first)
    subject.plan(other)
    if subject.plan(first) != before:
        yield "two plans of the same briefing differ"


def _no_stray_seed(subject: RedSubject) -> Iterator[str]:
    briefing = subject.briefings[0]
    if subject.plan(briefing, stray_seed=1) != subject.plan(briefing, stray_seed=2):
        yield (
            "its plan depends on a global generator (torch, numpy or random); "
            "wanted one of its own, made from briefing.seed"
        )


def _works(subject: RedSubject) -> Iterator[str]:
    """An edit of some target passes its gates."""
    failed = []
    for briefing in subject.briefings:
        try:
            gates = apply(subject.base, subject.plan(briefing)).record.gates
        except EditError as error:
            failed.append(str(error))
            continue
        if all(gate.passed for gate in gates):
            return
        failed.append(", ".join(f"{gate.name} {gate.value:.3f}" for gate in gates if not gate.passed))
    yield f"none of {len(failed)} plans passes its gates on {subject.base.trained.name}: {failed[0]}"


RED_RULES: tuple[Rule[Any], ...] = (
    TEXT,
    SETTINGS,
    Rule(
        "it plans an edit of its target and of nothing else, within the deadline", _of_its_target, vital=True
    ),
    Rule("it makes do without trials", _without_trials),
    Rule("the same briefing gives the same plan", _same_plan),
    Rule("nothing depends on a global generator", _no_stray_seed),
    Rule("the edit of some target passes its gates", _works),
)
