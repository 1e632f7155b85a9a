"""P-values of the right size, and a likelihood ratio that is one."""

import math

import pytest
import torch

from game.tools.kit.evidence import least_of, likelihood_ratio, unlike_peers
from models.seeds import named_generator


def test_the_mean_likelihood_ratio_of_nothing_is_one() -> None:
    grid = torch.linspace(math.log(1e-6), 0, 200_001, dtype=torch.float64)  # of ln p
    ratios = torch.tensor([likelihood_ratio(math.exp(x)) for x in grid.tolist()], dtype=torch.float64)
    below = 1e-6 * (likelihood_ratio(1e-6))  # smaller p-values count as 1e-6
    mean = float(torch.trapezoid(ratios * grid.exp(), grid)) + below
    lost = 1 / math.log(1e6)  # of the mixture's mass lies below 1e-6
    assert mean == pytest.approx(1 - lost + below, abs=2e-3)
    assert mean < 1


# p        the ratio
RATIOS = [
    (1.0,   0.5),
    (0.5,   0.639),
    (0.1,   1.262),
    (0.01,  4.453),
    (0.001, 20.79),
]  # fmt: skip


@pytest.mark.parametrize(("p", "ratio"), RATIOS)
def test_ratios_are_those_of_the_formula(p: float, ratio: float) -> None:
    assert likelihood_ratio(p) == pytest.approx(ratio, abs=0.005 * ratio)
    if p < 1 / math.e:
        assert likelihood_ratio(p) < 1 / (-math.e * p * math.log(p))


def test_ratios_fall_and_never_leave_their_bounds() -> None:
    found = [likelihood_ratio(p) for p in (0.0, 1e-9, 1e-6, 1e-3, 0.3, 0.9, 0.999999, 1 - 1e-9, 1.0)]
    assert found == sorted(found, reverse=True)
    assert (found[0], found[-1]) == (likelihood_ratio(1e-6), 0.5)


def test_one_more_of_the_same_kind_has_uniform_p_values() -> None:
    draws = torch.randn(4000, 5, dtype=torch.float64, generator=named_generator("peers"))
    found = [unlike_peers(row[0], row[1:]) for row in draws.tolist()]
    for level in (0.05, 0.5):
        share = sum(p < level for p in found) / len(found)
        assert share == pytest.approx(level, abs=4 * math.sqrt(level * (1 - level) / len(found)))


def test_the_least_of_many_is_no_surprise() -> None:
    assert least_of(0.01, 1) == pytest.approx(0.01)
    assert least_of(0.01, 100) == pytest.approx(1 - 0.99**100)
    assert least_of(0.0, 10) == 0
    assert least_of(1.0, 10) == pytest.approx(1.0)


def test_peers_that_are_all_alike_settle_it() -> None:
    assert unlike_peers(1.0, [1.0, 1.0, 1.0]) == 1.0
    assert unlike_peers(1.5, [1.0, 1.0, 1.0]) == 0.0
    assert unlike_peers(1.0 + 1e-9, [1.0, 1.0 + 1e-12, 1.0]) == 1.0  # rounding
