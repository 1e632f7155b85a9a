"""What a belief would score, outcome by outcome, before anything is handed in."""

from dataclasses import dataclass

from game.api import Brief, Component, Report
from game.rules.report import complete
from game.scoring.scores import Belief, Declared, score

SHOWN = 6  # components beside *not edited*


@dataclass(frozen=True)
class Outlook:
    """One thing that may turn out to be true.

    Attributes:
        where: The component that alone was written to; None if the model was not edited.
        believed: P(this), as the belief has it; of a component, P(edited and it was written to).
        prior: The declared one.
        detection, localisation: What the belief would score then.
    """

    where: Component | None
    believed: float
    prior: float
    detection: float
    localisation: float


def outlooks(report: Report, brief: Brief) -> tuple[Outlook, ...]:
    """Not edited, then the likeliest components by belief and by prior, each as if it alone was written to.

    Raises:
        ReportError: The belief breaks a rule.
    """
    declared = Declared.of(brief)
    belief = complete(report, declared)
    by_belief = sorted(belief.components, key=lambda c: (-belief.components[c], -declared.components[c], c))
    shown = [c for c in by_belief if belief.components[c] > 0 or declared.components[c] > 0][:SHOWN]
    clean = _outlook(belief, declared, None)
    return (clean, *(_outlook(belief, declared, component) for component in shown))


def _outlook(belief: Belief, declared: Declared, where: Component | None) -> Outlook:
    written = frozenset({where} if where else ())
    found = score(belief, declared, where is not None, written)
    if where is None:
        return Outlook(None, 1 - belief.p_edited, 1 - declared.edited, found.detection, found.localisation)
    return Outlook(
        where, belief.components[where], declared.components[where], found.detection, found.localisation
    )
