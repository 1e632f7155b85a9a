"""Asks first who is worth most for a credit, and stops when sure."""

from dataclasses import dataclass, field
from typing import ClassVar

from auditors import ensemble
from auditors.ensemble import MEMBERS
from game.api import Brief, Challenge, Judgement, Report, Toolbox
from game.auditing.evidence import Evidence
from game.auditing.suspects import Suspects
from game.auditing.team import TeamFit, asked_one, doubt
from game.auditing.undoing import undone


@dataclass(frozen=True)
class Sequential:
    """Spends credits where practice says that they tell most, as long as there is something to tell.

    In practice each member took away a share of the surprise that was left before it: `1 - after / before` of
    its step. That share of the doubt in the belief so far is what it may be expected to tell now. Members are
    asked in the order of the steps, in which the next told most for a credit after those before; who cannot
    be paid is left out, and so is who has no belief without them. When all that are left together would tell
    less than `enough`, nobody is asked. Members, prices and beliefs are those of `ensemble`, and so is its
    fit.

    Attributes:
        enough: Expected gain of all that could still be asked, nats, below which to stop.
        memory: Between `audit` and `judge`.
    """

    yardstick: ClassVar[bool] = False
    enough: float = 0.01
    memory: list[Suspects] = field(default_factory=list, init=False, repr=False, compare=False)

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        fit = TeamFit.beside(ensemble.__file__)
        evidence, asked = Evidence(), set[str]()
        report = fit.believed_of(brief, evidence, asked)
        while True:
            payable = [step for step in fit.steps_of(brief) if step.price <= toolbox.budget.remaining]
            heard = fit.heard(brief, asked | {step.member for step in payable})
            gains = {
                step.member: max(0.0, 1 - step.after / step.before) * doubt(report, brief)
                for step in payable
                if step.member in heard - asked
            }
            if not gains or sum(gains.values()) < self.enough:
                break
            name = next(iter(gains))
            evidence = evidence.joined(asked_one(name, MEMBERS[name](), toolbox, brief))
            asked.add(name)
            report = fit.believed_of(brief, evidence, asked)
        report, self.memory[:] = undone(toolbox, brief, report)
        return report

    def judge(self, challenge: Challenge) -> Judgement:
        """The set whose prompts hang on the likeliest component."""
        return self.memory[0].judged(challenge)
