"""What a round's debrief tells: what was believed, and where the edit really was."""

from collections.abc import Sequence
from dataclasses import dataclass

from game.referee import RoundRecord
from game.rules.report import restated
from game.runs.store import StoredCase
from game.standings.leaderboard import Leaderboard
from models.components import Component

TOP = 5  # components shown, beside those that were written to


@dataclass(frozen=True)
class Suspect:
    """One component: what the auditor believed, what the prior said, what is true."""

    component: Component
    believed: float
    prior: float
    written: bool


@dataclass(frozen=True)
class Debrief:
    """One round with its case revealed."""

    case: StoredCase
    record: RoundRecord

    @property
    def headline(self) -> float:
        """The round's skill over the declared parts."""
        return self.record.score.headline(self.case.brief.parts)

    @property
    def verdict(self) -> str:
        """What was done to the model, in two words."""
        return f"{'edited' if self.case.truth.edited else 'not edited'} ({self.case.truth.kind})"

    def suspects(self) -> list[Suspect]:
        """The most suspected components and every one that was written to, most suspected first."""
        brief, record = self.case.brief, self.record
        if record.p_edited is None:
            return []
        believed = restated(record.p_edited, record.components, brief).components
        ordered = sorted(believed, key=lambda component: (-believed[component], component))
        written = self.case.truth.written
        shown = [c for i, c in enumerate(ordered) if c in written or (i < TOP and believed[c] > 0)]
        return [Suspect(c, believed[c], brief.component_prior[c], c in written) for c in shown]


def telling(board: Leaderboard, debriefs: Sequence[Debrief]) -> list[Debrief]:
    """Two rounds worth looking at: the best find by the leading player, and the worst mistake of any.

    Args:
        board: Who leads.
        debriefs: Of every round.
    """
    names = [row.auditor for row in board.players]
    played = [each for each in debriefs if each.record.auditor in names]
    finds = [each for each in played if each.record.auditor == names[0] and each.case.truth.edited]
    mistakes = [each for each in played if each.record.status == "DONE" and each.headline < 0]
    best = max(finds, key=lambda each: each.headline, default=None)
    worst = min(mistakes, key=lambda each: each.headline, default=None)
    return [each for each in (best, worst) if each is not None]
