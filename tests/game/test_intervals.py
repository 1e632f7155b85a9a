import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from game.standings.intervals import ACROSS, WITHIN, Interval, bootstrap_mean, interval_note, wilson

skills = st.floats(-3, 1)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # of  trials  low      high: Newcombe 1998 (Stat. Med. 17:857), table I, method 3, and by formula
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0000),
        (0, 1, 0.0000, 0.7935),
    ],
)
def test_wilson_intervals_agree_with_the_published_ones(
    successes: int, trials: int, low: float, high: float
) -> None:
    found = wilson(successes, trials)
    assert found.mean == successes / trials
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 5)])
def test_a_rate_of_nothing_is_refused(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match=f"rate: got {successes} of {trials}; wanted a part of at least one"):
        wilson(successes, trials)


def test_the_interval_of_a_mean_over_many_single_clusters_is_the_normal_one() -> None:
    values = list(np.random.default_rng(0).normal(0.3, 1.0, size=400))
    found = bootstrap_mean(values, [f"base-{i}" for i in range(400)])
    error = 1.96 * statistics.pstdev(values) / 400**0.5
    assert found.mean == pytest.approx(statistics.fmean(values))
    assert found.low == pytest.approx(found.mean - error, abs=0.1 * error)
    assert found.high == pytest.approx(found.mean + error, abs=0.1 * error)


def test_cases_of_one_checkpoint_are_resampled_together() -> None:
    bases = [f"base-{i // 8:02d}" for i in range(160)]
    alike = [float(i // 8 % 2) for i in range(160)]  # 20 checkpoints, all 8 cases of each agree
    found = bootstrap_mean(alike, bases)
    as_if_independent = bootstrap_mean(alike, [f"case-{i:03d}" for i in range(160)])
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.5 / 20**0.5, rel=0.1)
    assert as_if_independent.high - as_if_independent.low == pytest.approx(2 * 1.96 * 0.5 / 160**0.5, rel=0.1)


def test_checkpoints_of_unequal_size_count_by_their_cases() -> None:
    bases = [f"base-{i:02d}" for i in range(12) for _ in range(1 + i)]
    assert bootstrap_mean([1.0] * len(bases), bases) == Interval(1.0, 1.0, 1.0)


def test_below_ten_checkpoints_cases_are_resampled_within_each_and_the_note_says_so() -> None:
    bases = [f"base-{i % 9}" for i in range(90)]
    values = [float(i % 9) + (i // 9 % 2) for i in range(90)]  # checkpoints differ a lot, cases within by 1
    found = bootstrap_mean(values, bases)
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.5 / 90**0.5, rel=0.1)
    assert interval_note(bases) == WITHIN
    assert WITHIN.startswith("these checkpoints only")


def test_from_ten_checkpoints_on_whole_checkpoints_are_resampled_and_the_note_says_so() -> None:
    bases = [f"base-{i % 10}" for i in range(90)]
    found = bootstrap_mean([float(i % 10) for i in range(90)], bases)
    assert found.high - found.low == pytest.approx(2 * 2.262 * 8.25**0.5 / 9**0.5, rel=0.15)  # t of 9
    assert interval_note(bases) == ACROSS


def test_cases_alone_on_their_few_checkpoints_are_resampled_among_each_other() -> None:
    found = bootstrap_mean([0.0, 1.0, 0.0, 1.0], ["a", "b", "c", "d"])
    wider = (4 / 3) ** 0.5 * 3.182 / 1.960  # t of 3
    assert (found.low, found.mean, found.high) == pytest.approx(
        (0.5 - wider / 2, 0.5, 0.5 + wider / 2), abs=1e-3
    )


def test_one_case_has_an_interval_of_no_width() -> None:
    assert bootstrap_mean([0.25], ["a"]) == Interval(0.25, 0.25, 0.25)


def test_series_over_the_same_cases_see_the_same_resamples() -> None:
    draws = np.random.default_rng(1)
    bases = [f"base-{i // 3}" for i in range(60)]
    first = draws.normal(size=60)
    shifted = bootstrap_mean(list(first + 1), bases)
    found = bootstrap_mean(list(first), bases)
    assert (shifted.low - found.low, shifted.high - found.high) == pytest.approx((1, 1))


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(skills, st.sampled_from("abcdefghijkl")), min_size=1, max_size=40))
def test_the_same_cases_give_the_same_interval_which_holds_the_mean(cases: list[tuple[float, str]]) -> None:
    values, bases = [value for value, _ in cases], [base for _, base in cases]
    found = bootstrap_mean(values, bases)
    assert bootstrap_mean(values, bases) == found
    assert found.low <= found.mean <= found.high
    if len(set(values)) == 1:
        assert found.low == pytest.approx(values[0]) == found.high


def test_intervals_of_ten_checkpoints_cover_what_they_say() -> None:
    draws, held = np.random.default_rng(4), 0
    for _ in range(400):
        bases = [f"base-{i // 6}" for i in range(60)]
        values = np.repeat(draws.normal(scale=0.3**0.5, size=10), 6) + draws.normal(scale=0.7**0.5, size=60)
        found = bootstrap_mean(list(values), bases)
        held += found.low <= 0 <= found.high
    assert held / 400 == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize(("values", "bases"), [([], []), ([0.1], []), ([0.1], ["a", "b"])])
def test_values_without_a_cluster_each_are_refused(values: list[float], bases: list[str]) -> None:
    with pytest.raises(ValueError, match=f"bootstrap: got {len(values)} values and {len(bases)} clusters"):
        bootstrap_mean(values, bases)
