"""From readings to an auditor's fit: a belief for every league, and for a task where that predicts better."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_auc_score

from game.auditing.belief import Belief, Fit
from game.dealing.suite import Suite
from game.fitting.choice import (
    LEAST_BASES,
    Calibration,
    Candidate,
    Pool,
    Tested,
    candidates,
    cross_calibrated,
    folds_of,
    simplest,
)
from game.fitting.logit import Array, Scales, Table, said
from game.fitting.readings import Reading, as_dealt
from game.standings.readouts import calibration

ENOUGH = 24  # cases with evidence, from which a belief of their own is tried


@dataclass(frozen=True)
class Fitted:
    """A belief with what it is worth, on cases whose base checkpoint it was not fitted to.

    Attributes:
        name: `whitebox`, or `whitebox/facts`.
        cases: Practice cases with evidence.
        belief: None if it predicts no better than the prior.
        fitted_to: How many cases its weights were fitted to; those of other leagues may be among them.
        strength: Of the penalty on its weights.
        loss: Mean nats of surprise at label and place, and
        prior_loss: the same of the declared prior.
        auroc: P(an edit is thought likelier edited than a control).
        error: Expected calibration error of P(edited).
        hit: Share of edits whose likeliest component was written to, and
        prior_hit: the same of the declared prior.
    """

    name: str
    cases: int
    belief: Belief | None
    fitted_to: int
    strength: float
    loss: float
    prior_loss: float
    auroc: float
    error: float
    hit: float
    prior_hit: float


def fit_of(name: str, suite: Suite, readings: Sequence[Reading]) -> tuple[Fit, tuple[Fitted, ...]]:
    """The fit of an auditor's readings, and what each belief is worth."""
    rows = tuple(_fits(as_dealt(readings)))
    beliefs = {row.name: row.belief for row in rows if row.belief is not None}
    return Fit(name, suite.name, suite.digest, len(readings), beliefs), rows


def _fits(readings: Sequence[Reading]) -> Iterator[Fitted]:
    seen = [each for each in readings if not each.evidence.empty]
    everything = Pool(seen)
    for league in dict.fromkeys(each.league for each in seen):
        of_league = [each for each in seen if each.league == league]
        if not enough(of_league):
            continue
        pools = [everything, Pool(of_league)]
        whole = Try.of(of_league, pools)
        yield whole.fitted(league)
        for task, count in Counter(each.task for each in of_league).items():
            rows = [row for row, each in enumerate(of_league) if each.task == task]
            own = [of_league[row] for row in rows]
            if count < len(of_league) and enough(own):
                of_task = Try.of(own, [*pools, Pool(own)])
                if of_task.loss.mean() < whole.loss[rows].mean():
                    yield of_task.fitted(f"{league}/{task}")


def enough(readings: Sequence[Reading]) -> bool:
    """Whether a belief may be fitted to them alone."""
    return len(readings) >= ENOUGH and len({each.base for each in readings}) >= LEAST_BASES


@dataclass(frozen=True)
class Try:
    """The weights chosen for some cases, calibrated, and how they fare on these cases unseen.

    Attributes:
        own: The cases, and
        table: the same as arrays.
        chosen: The weights.
        p: P(edited) by weights and a calibration that did not see the case, `[case]`.
        loss: Nats of surprise at label and place, likewise.
    """

    own: Sequence[Reading]
    table: Table
    chosen: Candidate
    p: Array
    loss: Array

    @classmethod
    def of(cls, own: Sequence[Reading], pools: Sequence[Pool]) -> "Try":
        """The simplest of what predicts best, of all pools and penalties."""
        chosen, table = simplest(candidates(own, pools)), Table.of(own, Scales({}, {}))
        p = cross_calibrated(chosen.tested.raw, table.odds, table.edited, folds_of(own))
        label = -np.log(np.where(table.edited > 0, p, 1 - p))
        return cls(own, table, chosen, p, label + chosen.tested.where)

    def fitted(self, name: str) -> Fitted:
        """The belief, unless the prior predicts as well, with its figures."""
        table, chosen = self.table, self.chosen
        prior = Tested.of(table, said(table, np.zeros(1)))
        sharpness, shift = Calibration.of(chosen.tested.raw, table.odds, table.edited)
        better = self.loss.mean() < prior.loss.mean()
        found = calibration(self.p, table.edited)
        assert found is not None
        edited = table.edited > 0
        return Fitted(
            name=name,
            cases=len(self.own),
            belief=chosen.pool.belief(chosen.strength, sharpness, shift) if better else None,
            fitted_to=len(chosen.pool.readings),
            strength=chosen.strength,
            loss=float(self.loss.mean()),
            prior_loss=float(prior.loss.mean()),
            auroc=float(roc_auc_score(edited, self.p)) if 0 < edited.sum() < len(edited) else 0.5,
            error=found.error,
            hit=float(chosen.tested.hit[edited].mean()) if edited.any() else 0.0,
            prior_hit=float(prior.hit[edited].mean()) if edited.any() else 0.0,
        )
