"""How near a report came to where an edit was written, finer than components, and to what it acts through.

These are readouts, never ranked: average precision over parameter entries and over neurons, overlap of
directions, rank correlation with the acts-through map. Only edited cases have them, and a figure that is
undefined, as where nothing was reported or everything was written to, is left out.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from game.api import Fine
from game.case import Case
from game.hearing import Said
from models.components import component_entries
from models.transformer import TransformerConfig

Place = TypeVar("Place", bound=Hashable)


def places_found(case: Case, said: Said) -> dict[str, float]:
    """The readouts of one report, by name."""
    if not case.truth.edited:
        return {}
    record, config = case.truth.record, case.brief.config
    found = {"acts_through": _acts_through(said, record.get("carriers", {}).get("repairs", {}))}
    if said.fine is not None:
        truth = record.get("fine", {})
        neurons = {(layer, neuron) for layer, neuron in truth.get("neurons", ())}
        written = record.get("written", ())
        found |= {
            "matrix_precision": average_precision(said.fine.matrices, written, _matrices(config)),
            "neuron_precision": average_precision(said.fine.neurons, neurons, _neurons(config)),
            "direction_overlap": _directions(said.fine, truth.get("directions", ())),
        }
    return {name: figure for name, figure in found.items() if figure is not None}


def average_precision(
    reported: Mapping[Place, float], written: Iterable[Place], places: Sequence[Place]
) -> float | None:
    """Average precision of a ranking of places; None where nothing is reported, or there is nothing to find.

    A place that is not reported ranks below all that are. Blind ranking gives about the share of places that
    were written to.

    Args:
        reported: How suspect each place is.
        written: Those that were written to.
        places: All there are.
    """
    truth = [place in frozenset(written) for place in places]
    if not reported or not any(truth) or all(truth):
        return None
    from sklearn.metrics import average_precision_score

    ranks = {value: rank for rank, value in enumerate(sorted(set(reported.values())), start=1)}
    suspected = [ranks[reported[place]] if place in reported else 0 for place in places]
    return float(average_precision_score(truth, suspected))


def overlap(reported: Tensor, written: Tensor) -> float:
    """How far two sets of vectors span the same: 1 for the same span, 0 for orthogonal ones.

    The sum of squared cosines of the principal angles, over the larger of the two dimensions; so a vector,
    its opposite and its multiples count once, and naming more directions than were written is no gain. For
    one direction against one it is the squared cosine, and a blind guess in d dimensions gives 1 / d.

    Args:
        reported: `[k, d]`.
        written: `[m, d]`.
    """
    first, second = _basis(reported), _basis(written)
    return float((first @ second.T).square().sum()) / max(len(first), len(second))


def _basis(vectors: Tensor) -> Tensor:
    """Orthonormal vectors of the same span, `[rank, d]`."""
    unit = vectors.double() / vectors.double().norm(dim=-1, keepdim=True)
    _, sigma, right = torch.linalg.svd(unit, full_matrices=False)
    basis: Tensor = right[sigma > 1e-6 * sigma[0]]
    return basis


def _directions(fine: Fine, truth: Sequence[Mapping[str, object]]) -> float | None:
    """Mean overlap over the matrices with a direction; 0 for one that was passed over."""
    if not fine.directions or not truth:
        return None
    overlaps = []
    for each in truth:
        reported = fine.directions.get(str(each["tensor"]))
        written = torch.tensor([each["right"]], dtype=torch.float64)
        overlaps.append(0.0 if reported is None else overlap(reported, written))
    return sum(overlaps) / len(overlaps)


def _acts_through(said: Said, repairs: Mapping[str, float]) -> float | None:
    """Spearman's rank correlation of the reported probabilities with the acts-through map."""
    believed = {str(component): p for component, p in said.belief.components.items()}
    names = [name for name in repairs if name in believed]
    pair = [[table[name] for name in names] for table in (believed, repairs)]
    if any(len(set(each)) < 2 for each in pair):  # a rank correlation wants ranks
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(*pair).statistic)


def _matrices(config: TransformerConfig) -> list[str]:
    return [str(entries) for parts in component_entries(config).values() for entries in parts]


def _neurons(config: TransformerConfig) -> list[tuple[int, int]]:
    layers = [layer for layer, has_mlp in enumerate(config.mlp) if has_mlp]
    return [(layer, neuron) for layer in layers for neuron in range(config.d_mlp)]
