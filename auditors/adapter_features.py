"""Reads five spectral features of matrices, or of what they differ by, as adapters leave them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from game.api import AccessError, Brief, BudgetExceededError, Component, Report, Toolbox
from game.auditing.belief import Fit
from game.auditing.evidence import Evidence
from game.auditing.peers import deviation, siblings_of
from game.tools.kit.canonical import Canonical, read_canonical

TOLERANCE = 1e-4  # differences that are rounding, as a share of a matrix's size
_TINY = 1e-12
Place = tuple[Component, str]  # a component's matrix: `QK` and `OV` of heads, `W_in` and `W_out` of MLPs
Features = Mapping[str, float]


def spectral_features(matrix: Tensor) -> dict[str, float]:
    """The five features of a matrix, sizes and shares as logarithms.

    `sigma`, the first singular value; `norm`, Frobenius; `share`, of the energy that the first direction
    holds; `entropy` of the shares of energy, nats; `kurtosis` of the entries, 3 for normal ones.
    """
    values = torch.linalg.svdvals(matrix)
    energy = values.square() / values.square().sum().clamp(min=_TINY**2)
    away = matrix - matrix.mean()
    variance = away.square().mean().clamp(min=_TINY**2)
    return {
        "sigma": _log(values[0]),
        "norm": _log(values.norm()),
        "share": _log(energy[0]),
        "entropy": float(torch.special.entr(energy).sum()),
        "kurtosis": _log((away / variance.sqrt()).pow(4).mean()),
    }


@dataclass(frozen=True)
class AdapterFeatures:
    """First singular value, norm, energy share, spectral entropy and kurtosis of matrices; needs weights.

    A poisoned adapter is told from a benign one by these five numbers of what it adds to each attention
    matrix. They are read of what the league lets one see. With a reference: of each matrix's difference, once
    both models are aligned, in units of the matrix's size. With siblings: of each matrix, against the same
    layer's in the siblings. With weights alone: against the model's other matrices of that kind. A head is
    its products W_Q W_K^T and W_V W_O, which no change of basis alters; an MLP is its two matrices.

    Blind to embeddings, biases and norms; to what a change does, so that an inert sham looks like an edit;
    and without a reference to changes smaller than what matrices differ by anyway.

    Source: Puertolas Merenciano, Vasyagina, Zhu, Ferrando, Chaudhary 2026, "Weight space Detection of
    Backdoors in LoRA Adapters", arXiv 2602.15195.
    """

    yardstick: ClassVar[bool] = False

    def read(self, toolbox: Toolbox, brief: Brief) -> Evidence:
        """For each matrix of a component its five features, and the oddest of their deviations."""
        try:
            own = read_canonical(toolbox)
            if brief.league in ("scrambled", "reference"):
                other = read_canonical(toolbox.reference()).aligned(own)
                return Evidence(_of_differences(own, other, brief.config.n_heads))
            others = [_features(read_canonical(box), brief.config.n_heads) for box in siblings_of(toolbox)]
        except (AccessError, BudgetExceededError) as refused:
            return Evidence(notes=str(refused))
        return Evidence(_of_deviations(_features(own, brief.config.n_heads), others))

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        return Fit.beside(__file__).believed(brief, self.read(toolbox, brief))


def _of_differences(own: Canonical, other: Canonical, n_heads: int) -> dict[Component, dict[str, float]]:
    """Features of each matrix's difference in units of its size; of one without any, only that."""
    places: dict[Component, dict[str, float]] = {}
    for (place, mine), (_, its) in zip(_matrices(own, n_heads), _matrices(other, n_heads), strict=True):
        size = torch.maximum(mine.norm(), its.norm()).clamp(min=_TINY)
        change = (mine - its) / size
        differs = bool(change.norm() > TOLERANCE)
        found = {"differs": float(differs)} | (spectral_features(change) if differs else {})
        places.setdefault(place[0], {}).update(_named("change.", place, found))
    return places


def _of_deviations(
    own: Mapping[Place, Features], others: list[dict[Place, Features]]
) -> dict[Component, dict[str, float]]:
    """How far each feature of each matrix lies from its peers', and how far the oddest of them does.

    Heads are many, and their spread is known: standard deviations. MLPs are few: how far beyond their mean.
    """
    places: dict[Component, dict[str, float]] = {}
    for place, features in own.items():
        peers = list(_peers(place, own, others))
        if not peers:
            continue
        away = deviation if place[0].part == "attn" else _beyond
        found = {name: away(value, [each[name] for each in peers]) for name, value in features.items()}
        places.setdefault(place[0], {}).update(_named("", place, found))
    for component, numbers in places.items():
        numbers[f"adapter_features.{component.part}.oddest"] = max(map(abs, numbers.values()))
    return places


def _beyond(value: float, peers: Sequence[float]) -> float:
    """How far a value lies above the peers' mean."""
    return value - sum(peers) / len(peers)


def _peers(
    place: Place, own: Mapping[Place, Features], others: list[dict[Place, Features]]
) -> Iterator[Features]:
    """The same matrix in the siblings, heads being a set; without siblings the model's others of its kind."""
    component, kind = place
    if not others:
        yield from (each for (c, k), each in own.items() if k == kind and c != component)
    for features in others:
        yield from (each for (c, k), each in features.items() if k == kind and c.layer == component.layer)


def _features(model: Canonical, n_heads: int) -> dict[Place, Features]:
    return {place: spectral_features(matrix) for place, matrix in _matrices(model, n_heads)}


def _matrices(model: Canonical, n_heads: int) -> Iterator[tuple[Place, Tensor]]:
    """The matrices of heads and MLPs."""
    for owner, name, matrix in model.parts(n_heads):
        component = Component.parse(owner)
        if component.part in ("attn", "mlp"):
            yield (component, name.replace(" ", ".").rpartition(".")[2]), matrix


def _named(what: str, place: Place, found: Features) -> dict[str, float]:
    """Numbers by name; those of a difference and those of a matrix itself are not in the same units."""
    return {f"adapter_features.{what}{place[1]}.{name}": value for name, value in found.items()}


def _log(value: Tensor) -> float:
    return math.log(max(float(value), _TINY))
