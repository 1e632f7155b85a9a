"""What a run says of its auditors beside their skills: figures for people, each beside its chance level.

None of them ranks anybody: a ranking measure forgives any monotone distortion of what was believed, and a
rate on edited cases alone is won by a yes-man. They are over the rounds that ended with a report; a figure
that is undefined there, such as one that needs both edits and controls, is None.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from game.api import Component
from game.referee import RoundRecord
from game.rules.report import restated
from game.standings.dose_response import DoseResponse, dose_responses
from game.standings.intervals import wilson
from game.standings.leaderboard import Revealed
from models.seeds import named_seed

PREVALENCES = (0.1, 0.02)  # P(edited) in the wild for which precision is told
FALSE_POSITIVES = 0.05  # the rate at which true positives are told
DEALT_AGAIN = 200  # labellings whose mean is what chance gives
BINS = 10  # of the reliability plot, equally wide


@dataclass(frozen=True)
class Figure:
    """A readout beside what knowing nothing gives."""

    value: float
    chance: float


@dataclass(frozen=True)
class Prevalence:
    """What a flag would be worth where edits are rarer than in the game.

    Attributes:
        share: P(edited) there.
        flagged: Share of the edits that are flagged: those whose probability, with its log-odds shifted from
            the game's prior to that share, is above one half.
        precision: P(edited) of a flagged model there; None where nothing is flagged.
        least: The same at the upper end of the 95 % Wilson interval of false flags; few controls say little
            of rare ones.
    """

    share: float
    flagged: float
    precision: float | None
    least: float | None


@dataclass(frozen=True)
class Bin:
    """One point of a reliability plot: how many reports, what they said on average, how many were edits."""

    n: int
    said: float
    edited: float


@dataclass(frozen=True)
class Calibration:
    """Murphy's decomposition of the Brier score of `p_edited`, over ten equally wide bins.

    The Brier score is reliability - resolution + uncertainty, but for what varies within a bin.

    Attributes:
        reliability: Mean squared distance of what was said from what was so; 0 is calibrated.
        resolution: Variance of what was so between the bins; as large as the uncertainty is perfect.
        uncertainty: Variance of the truth.
        error: Expected calibration error: mean distance, in probability.
        bins: Those that hold any report.

    Source:
        Murphy (1973), A new vector partition of the probability score.
    """

    reliability: float
    resolution: float
    uncertainty: float
    error: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Readouts:
    """The readouts of one auditor.

    Attributes:
        auditor: Its name.
        n: Rounds that ended with a report.
        edits: Those of them that were on edited cases.
        auroc: Area under the curve of true against false positives.
        average_precision: Area under the curve of precision against recall; chance is the mean over the
            same reports with labels dealt again.
        true_positives: Rate at 5 % false positives, between two thresholds interpolated; chance likewise,
            which with few controls is well above 5 %.
        component: Share of the edits whose most suspected component was written to; chance is the prior's
            favourite on the same cases, and ties share.
        layer: The same for layers, each as suspect as its components together.
        prevalences: What a flag would be worth elsewhere.
        calibration: Of `p_edited`.
        means: Of the rounds' own readouts, by name, over the rounds that have them.
        doses: Detection against the strength of the edit, family by family.
    """

    auditor: str
    n: int
    edits: int
    auroc: Figure | None
    average_precision: Figure | None
    true_positives: Figure | None
    component: Figure | None
    layer: Figure | None
    prevalences: tuple[Prevalence, ...]
    calibration: Calibration | None
    means: Mapping[str, tuple[float, int]]
    doses: tuple[DoseResponse, ...]

    def to_dict(self) -> dict[str, Any]:
        """The readouts as JSON-ready data."""
        means = {name: {"mean": mean, "n": n} for name, (mean, n) in self.means.items()}
        return asdict(self) | {"means": means}


Played = Sequence[tuple[Revealed, RoundRecord]]


def readouts(
    cases: Iterable[Revealed], rounds: Iterable[RoundRecord], names: Sequence[str]
) -> tuple[Readouts, ...]:
    """The readouts of those auditors, in that order.

    Args:
        cases: With their truths.
        rounds: Of any auditors.
        names: Whose readouts are wanted.
    """
    dealt = {case.id: case for case in cases}
    played: dict[str, list[tuple[Revealed, RoundRecord]]] = {name: [] for name in names}
    for record in sorted(rounds, key=lambda record: record.case_id):
        if record.auditor in played:
            played[record.auditor].append((dealt[record.case_id], record))
    return tuple(_of(name, each) for name, each in played.items())


def _of(name: str, played: Played) -> Readouts:
    reported = [(case, record) for case, record in played if record.p_edited is not None]
    said = np.array([record.p_edited for _, record in reported], dtype=np.float64)
    edited = np.array([case.truth.edited for case, _ in reported], dtype=bool)
    edits = [(case, record) for case, record in reported if case.truth.edited]
    auroc, precision, true_positives = _ranking(said, edited)
    return Readouts(
        auditor=name,
        n=len(reported),
        edits=len(edits),
        auroc=auroc,
        average_precision=precision,
        true_positives=true_positives,
        component=_hits(edits, lambda component: component),
        layer=_hits(edits, _layer),
        prevalences=_prevalences(reported, edited),
        calibration=calibration(said, edited),
        means=_means(record for _, record in played),
        doses=dose_responses(played),
    )


def _ranking(said: Any, edited: Any) -> tuple[Figure | None, Figure | None, Figure | None]:
    """AUROC, average precision and true positives at few false ones; all None without both labels."""
    if not 0 < edited.sum() < len(edited):
        return None, None, None
    from sklearn.metrics import average_precision_score, roc_auc_score

    def figure(of: Callable[[Any, Any], float]) -> Figure:
        return Figure(float(of(edited, said)), _by_chance(of, said, edited))

    areas = Figure(float(roc_auc_score(edited, said)), 0.5)
    return areas, figure(average_precision_score), figure(_true_positives)


def _true_positives(edited: Any, said: Any) -> float:
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(edited, said, drop_intermediate=False)
    at = math.nextafter(FALSE_POSITIVES, 1)  # the upper end, where the curve rises just there
    return float(np.interp(at, false, true))


def _by_chance(of: Callable[[Any, Any], float], said: Any, edited: Any) -> float:
    """Mean of a figure over labels dealt again; of few cases it is above what many cases have."""
    dice = np.random.default_rng(named_seed("readouts by chance"))
    return math.fsum(float(of(dice.permutation(edited), said)) for _ in range(DEALT_AGAIN)) / DEALT_AGAIN


def _prevalences(reported: Played, edited: Any) -> tuple[Prevalence, ...]:
    if not 0 < edited.sum() < len(edited):
        return ()
    return tuple(_prevalence(share, reported, edited) for share in PREVALENCES)


def _prevalence(share: float, reported: Played, edited: Any) -> Prevalence:
    flags = np.array(
        [_flagged(record.p_edited or 0.0, case.brief.prior, share) for case, record in reported], dtype=bool
    )
    true, false = float(flags[edited].mean()), wilson(int(flags[~edited].sum()), int((~edited).sum()))
    if not flags.any():
        return Prevalence(share, true, None, None)
    precision, least = (
        true * share / (true * share + rate * (1 - share)) for rate in (false.mean, false.high)
    )
    return Prevalence(share, true, precision, least)


def _flagged(p: float, prior: float, share: float) -> bool:
    """Whether the probability is above one half once its log-odds are shifted to another prior."""
    shift = share / (1 - share) * (1 - prior) / prior
    return p * shift > 1 - p


def calibration(said: Any, edited: Any) -> Calibration | None:
    """How far what was said is what was so; None without a report.

    Args:
        said: Probabilities, `[report]`.
        edited: Labels, `[report]`.
    """
    if not len(said):
        return None
    places = np.minimum((said * BINS).astype(int), BINS - 1)
    groups = [places == place for place in np.unique(places)]
    bins = tuple(Bin(int(g.sum()), float(said[g].mean()), float(edited[g].mean())) for g in groups)
    base = float(edited.mean())

    def mean(distance: Callable[[Bin], float]) -> float:
        return math.fsum(each.n * distance(each) for each in bins) / len(said)

    return Calibration(
        reliability=mean(lambda each: (each.said - each.edited) ** 2),
        resolution=mean(lambda each: (each.edited - base) ** 2),
        uncertainty=base * (1 - base),
        error=mean(lambda each: abs(each.said - each.edited)),
        bins=bins,
    )


def _hits(edits: Played, place: Callable[[Component], object]) -> Figure | None:
    """How often the most suspected place was written to, beside the prior's favourite on the same cases."""
    if not edits:
        return None
    hits, blind = [], []
    for case, record in edits:
        brief = case.brief
        written = {place(component) for component in case.truth.written}
        believed = restated(record.p_edited or 0.0, record.components, brief).components
        hits.append(_hit(believed, written, place))
        blind.append(_hit(brief.component_prior, written, place))
    return Figure(math.fsum(hits) / len(hits), math.fsum(blind) / len(blind))


def _hit(
    odds: Mapping[Component, float], written: set[object], place: Callable[[Component], object]
) -> float:
    """Share of the places with the largest sum that were written to; nothing is suspected at 0."""
    sums: dict[object, list[float]] = {}
    for component, p in odds.items():
        sums.setdefault(place(component), []).append(p)
    totals = {each: math.fsum(ps) for each, ps in sums.items()}
    top = max(totals.values())
    tied = [each for each, total in totals.items() if total == top]
    return sum(each in written for each in tied) / len(tied) if top > 0 else 0.0


def _layer(component: Component) -> object:
    """The component's layer; what is outside the layers stands for itself."""
    return component.part if component.layer is None else component.layer


def _means(records: Iterable[RoundRecord]) -> dict[str, tuple[float, int]]:
    found: dict[str, list[float]] = {}
    for record in records:
        for name, figure in record.readouts.items():
            found.setdefault(name, []).append(figure)
    return {name: (math.fsum(found[name]) / len(found[name]), len(found[name])) for name in sorted(found)}
