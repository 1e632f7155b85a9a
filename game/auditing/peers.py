"""How far a number lies from others of its kind, so that it means the same on every model."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from statistics import NormalDist
from typing import TypeVar

from game.api import AccessError, Toolbox
from game.tools.kit.evidence import unlike_peers

MOST = 6.0  # standard deviations beyond which no law is trusted
_LEAST_P = 2 * NormalDist().cdf(-MOST)
Place = TypeVar("Place")


def deviation(value: float, peers: Sequence[float]) -> float:
    """Standard deviations from the peers' mean, as rare for a normal law as this is among so few; signed.

    Args:
        value: What is judged.
        peers: Others of the same kind; fewer than two tell nothing, and the deviation is 0.
    """
    if len(peers) < 2:
        return 0.0
    p = max(unlike_peers(value, peers), _LEAST_P)
    away = -NormalDist().inv_cdf(p / 2)
    return away if value >= sum(peers) / len(peers) else -away


def excesses(values: Mapping[Place, float]) -> dict[Place, float]:
    """How far each lies above the mean of the others; 0 where there are none.

    For so few of a kind that their spread tells nothing, such as a model's two MLPs.
    """
    total, others = sum(values.values()), len(values) - 1
    return {place: value - (total - value) / others if others else 0.0 for place, value in values.items()}


def siblings_of(toolbox: Toolbox) -> Iterator[Toolbox]:
    """Every sibling that the case has; none where the league grants none."""
    for index in count():
        try:
            yield toolbox.sibling(index)
        except AccessError:
            return
