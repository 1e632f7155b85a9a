"""What cells come to: how well a tool tells edits from controls, and how often it names the place."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from benchmarks.figures import Figure, Missing
from benchmarks.matrix.records import Cell
from game.standings.intervals import LEVEL, RESAMPLES, wilson
from models.seeds import named_seed

FIRST = 3  # places that a tool may name where an edit is spread over several
_EDGE = 1e-9  # at 0 and 1 themselves the standard error is 0
_Z = float(norm.ppf((1 + LEVEL) / 2))


@dataclass(frozen=True)
class Outcome:
    """One tool on one kind.

    Attributes:
        tool, kind: Which.
        pairs: How many it was run on.
        auroc: P(the statistic is larger on an edit than on a control), ties half.
        hit: Share of edits whose place is named, its chance level as the peer.
        idle: The same share on the controls, where there is nothing to be named.
        seconds: CPU seconds a pair, mean.
        controls: How many pairs have which kind of control.
    """

    tool: str
    kind: str
    pairs: int
    auroc: Figure | Missing
    hit: Figure | Missing
    idle: Figure | Missing
    seconds: float
    controls: Mapping[str, int]

    @property
    def blind(self) -> bool:
        """Whether the interval of the AUROC contains one half."""
        return isinstance(self.auroc, Figure) and self.auroc.low <= 0.5 <= self.auroc.high


def outcome(tool: str, kind: str, cells: Sequence[Cell]) -> Outcome:
    """The figures of one tool on one kind, from its cells on all models."""
    told = [cell for cell in cells if cell.edit is not None]
    if not told:
        why = Missing(cells[0].missing if cells else "no edit of the kind passed its gates")
        return Outcome(tool, kind, 0, why, why, why, 0.0, {})
    seconds = sum(cell.cpu_s for cell in told) / len(told)
    controls = Counter(cell.control for cell in told)
    hit = hits(told, [cell.ranks for cell in told])
    idle = hits(told, [cell.sham_ranks for cell in told])
    return Outcome(tool, kind, len(told), auroc(told), hit, idle, seconds, controls)


def auroc(cells: Sequence[Cell]) -> Figure:
    """The area under the ROC curve, with the wider of two 95 % intervals.

    One resamples pairs within each model, so that it speaks for these models; it has no width where edits
    and controls lie apart altogether. The other is Newcombe's, which has.

    Source: Newcombe 2006, Stat. Med. 25:559, method 5.
    """
    edit, sham = (np.array([getattr(cell, side) for cell in cells]) for side in ("edit", "sham"))
    beats = (edit[:, None] > sham) + 0.5 * (edit[:, None] == sham)  # [edit, control]
    value = float(beats.mean())
    counts = _resampled([cell.seed for cell in cells])  # [resample, pair]
    found = ((counts @ beats) * counts).sum(1) / len(cells) ** 2
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    least, most = newcombe(value, len(cells), len(cells))
    return Figure(value, f"of {len(cells)} pairs", min(float(low), least), max(float(high), most))


def newcombe(value: float, edits: int, controls: int) -> tuple[float, float]:
    """The 95 % interval of an AUROC: where it lies as many standard errors away as the level says."""
    middle = (edits + controls) / 2 - 1

    def excess(theta: float) -> float:
        spread = 1 + middle * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        error = np.sqrt(theta * (1 - theta) * spread / (edits * controls))
        return float(abs(value - theta) - _Z * error)

    low = 0.0 if value == 0 else brentq(excess, 0.0, min(value, 1 - _EDGE))
    high = 1.0 if value == 1 else brentq(excess, max(value, _EDGE), 1.0)
    return float(low), float(high)


def _resampled(seeds: Sequence[int]) -> Any:
    """How often each pair is in each resample; as many of every model as there are, `[resample, pair]`."""
    generator = np.random.default_rng(named_seed("matrix"))
    counts = np.zeros((RESAMPLES, len(seeds)))
    for seed in sorted(set(seeds)):
        (members,) = np.nonzero(np.array(seeds) == seed)
        counts[:, members] = generator.multinomial(
            len(members), np.full(len(members), 1 / len(members)), size=RESAMPLES
        )
    return counts


def hits(cells: Sequence[Cell], ranks: Sequence[Sequence[int]]) -> Figure | Missing:
    """How often the true place is named, with a Wilson interval and what random rankings would name.

    Args:
        cells: Of one tool and kind.
        ranks: For each cell the ranks of the true places, on the edit or on the control.
    """
    if not any(cell.ranks for cell in cells):
        return Missing("it ranks no such part" if any(cell.places for cell in cells) else "it names no place")
    named = [
        min(found, default=cell.places + 1) <= _first(cell) for cell, found in zip(cells, ranks, strict=True)
    ]
    rate = wilson(sum(named), len(named))
    chance = sum(map(_chance, cells)) / len(cells)
    return Figure(rate.mean, f"of {len(cells)} edits", rate.low, rate.high, chance)


def _first(cell: Cell) -> int:
    return 1 if cell.written == 1 else FIRST


def _chance(cell: Cell) -> float:
    """P(a random ranking of the tool's places has one of the true ones among the first)."""
    first, right = min(_first(cell), cell.places), len(cell.ranks)
    return 1 - comb(cell.places - right, first) / comb(cell.places, first) if cell.places else 0.0


def rows(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, Figure | Missing]]:
    """The figures by key."""
    for each in outcomes:
        yield f"auroc.{each.tool}.{each.kind}", each.auroc
        yield f"hit.{each.tool}.{each.kind}", each.hit
