"""The statistics against scipy, against enumeration by hand and against simulation."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jkbench.statistics import MaxStatistic, holm, max_statistic_test, mean_interval


def sign_flip_test(x, *more, **draws) -> MaxStatistic:
    """One row alone."""
    return max_statistic_test(np.array([x], dtype=float), *more, **draws)


values = st.lists(st.floats(-100, 100).map(lambda x: round(x, 3)), min_size=2, max_size=8)


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# intervals


@given(values)
def test_interval_equals_scipys_t_interval(x):
    found = mean_interval(x, 0.9)
    spread = np.std(x, ddof=1) / math.sqrt(len(x))
    assert found.mean == pytest.approx(np.mean(x))
    if spread > 1e-9:
        low, high = stats.t.interval(0.9, len(x) - 1, loc=np.mean(x), scale=spread)
        assert found.mean - found.half_width == pytest.approx(low)
        assert found.mean + found.half_width == pytest.approx(high)


def test_interval_by_hand_from_a_printed_t_table():
    found = mean_interval([1.0, 2.0, 3.0])  # sd 1, t(0.975, 2) = 4.303
    assert found.half_width == pytest.approx(4.303 / math.sqrt(3), rel=1e-4)
    assert (found.mean, found.n) == (2.0, 3)


def test_one_value_has_a_mean_and_no_interval():
    assert mean_interval([0.7]) == mean_interval(np.array([0.7]))
    assert mean_interval([0.7]).half_width is None


@pytest.mark.parametrize("bad", [[], [1.0, math.nan], [math.inf]])
def test_interval_refuses_what_has_no_mean(bad):
    with pytest.raises(ValueError):
        mean_interval(bad)


def test_interval_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        found = mean_interval(generator.normal(3, 2, 4))
        covered += abs(found.mean - 3) <= found.half_width
    assert covered / 2000 == pytest.approx(0.95, abs=0.015)


# sign flips


@settings(deadline=None)
@given(values)
def test_sign_flips_equal_scipys_permutation_test(x):
    x = [round(8 * value) / 8 for value in x]  # sums of eighths are exact: scipy sees every tie
    found = sign_flip_test(x)
    expected = stats.permutation_test(
        (np.array(x),), np.mean, permutation_type="samples", alternative="two-sided", n_resamples=np.inf
    ).pvalue
    # scipy doubles the smaller tail; with ties at the observed value that is more than |mean| counts, never less
    by_hand = np.mean(
        [abs(np.dot(s, x)) >= abs(sum(x)) - 1e-9 * np.abs(x).sum() for s in itertools.product((1, -1), repeat=len(x))]
    )
    assert found.p == pytest.approx(by_hand)
    assert found.p <= expected + 1e-12
    assert found.exact


def test_sign_flips_equal_scipy_exactly_where_the_flips_are_symmetric():
    x = np.array([0.4, 1.3, -0.2, 2.2, 0.9, 1.7, 0.3])
    expected = stats.permutation_test((x,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert sign_flip_test(x).p == pytest.approx(expected)


@pytest.mark.parametrize(("n", "smallest"), [(1, 1.0), (5, 0.0625), (6, 0.03125), (16, 2 / 2**16)])
def test_the_smallest_attainable_p_is_attained(n, smallest):
    found = sign_flip_test(np.arange(1, n + 1))
    assert found.p == found.smallest_p == smallest


def test_no_difference_at_all_has_p_one():
    assert sign_flip_test([0.0, 0.0, 0.0]).p == 1.0


def test_many_seeds_are_sampled_from_the_given_generator_and_count_the_identity():
    x = np.random.default_rng(1).normal(0.4, 1, 20)
    found = sign_flip_test(x, np.random.default_rng(2), draws=20_000)
    again = sign_flip_test(x, np.random.default_rng(2), draws=20_000)
    assert found.p == again.p
    assert not found.exact
    assert found.p == pytest.approx(stats.ttest_1samp(x, 0).pvalue, abs=0.02)
    assert sign_flip_test(np.ones(30), np.random.default_rng(0), draws=99).p == 0.01
    assert sign_flip_test(np.ones(30), np.random.default_rng(0), draws=99).smallest_p == 0.01
    with pytest.raises(ValueError, match="generator"):
        sign_flip_test(x)


@pytest.mark.parametrize("bad", [[], [math.inf]])
def test_sign_flips_refuse_what_is_not_finite(bad):
    with pytest.raises(ValueError):
        sign_flip_test(bad)


# the maximum statistic


def _largest_t_by_hand(rows: np.ndarray) -> np.ndarray:
    """Westfall and Young's single step by plain enumeration with scipy's t."""

    def t(x: np.ndarray) -> np.ndarray:
        return np.array([abs(stats.ttest_1samp(row[~np.isnan(row)], 0).statistic) for row in x])

    observed = t(rows)
    largest = [t(rows * np.array(s)).max() for s in itertools.product((1, -1), repeat=rows.shape[1])]
    return np.array([np.mean(np.array(largest) >= o * (1 - 1e-9)) for o in observed])


def test_max_statistic_equals_enumeration_by_hand():
    rows = np.random.default_rng(5).normal([[0.2], [1.5], [0.0], [0.8]], 1.0, (4, 6))
    found = max_statistic_test(rows)
    np.testing.assert_allclose(found.p, _largest_t_by_hand(rows))
    np.testing.assert_allclose(found.t, stats.ttest_1samp(rows, 0, axis=1).statistic)


def test_max_statistic_with_missing_seeds_equals_enumeration_by_hand():
    rows = np.random.default_rng(6).normal(0.7, 1.0, (3, 6))
    rows[0, 2] = rows[2, 5] = rows[2, 0] = np.nan
    np.testing.assert_allclose(max_statistic_test(rows).p, _largest_t_by_hand(rows))


def test_one_row_is_the_plain_test_and_more_rows_only_raise_p():
    rows = np.random.default_rng(7).normal(0.5, 1.0, (5, 6))
    together = max_statistic_test(rows).p
    for row, p in zip(rows, together, strict=True):
        assert sign_flip_test(row).p[0] <= p


def test_a_row_given_twice_costs_nothing():
    row = np.random.default_rng(8).normal(0.9, 1.0, (1, 6))
    assert max_statistic_test(np.repeat(row, 9, axis=0)).p[0] == max_statistic_test(row).p[0]


def test_rows_without_variance_or_seeds_give_neither_warnings_nor_nan():
    nothing, constant, tiny = [0.0] * 6, [0.3] * 6, [1e-9] * 6
    one_seed, no_seed, plain = [0.1] + [np.nan] * 5, [np.nan] * 6, [0.1, 0.2, 0.3, 0.1, 0.2, 0.35]
    found = max_statistic_test([nothing, one_seed, no_seed, constant, tiny, plain])
    assert found.p[:3].tolist() == [1.0, 1.0, 1.0]
    assert found.p[3:5].tolist() == [2 / 2**6, 2 / 2**6]
    assert found.smallest_p <= found.p[5] <= 1
    assert np.isposinf(found.t[3:5]).all()
    assert found.t[:3].tolist() == [0, 0, 0]


def test_family_wise_error_is_kept_under_dependence():
    generator = np.random.default_rng(9)
    hits = 0
    for _ in range(400):
        rows = generator.normal(size=(1, 6)) + 0.5 * generator.normal(size=(8, 6))
        hits += max_statistic_test(rows).p.min() < 0.05
    assert hits / 400 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


@pytest.mark.parametrize("bad", [np.empty((0, 5)), np.empty((2, 0)), np.ones(5), np.full((2, 3), np.inf)])
def test_max_statistic_refuses_what_is_no_table(bad):
    with pytest.raises(ValueError):
        max_statistic_test(bad)


# tie groups


def test_holm_by_hand():
    # sorted: 0.005·4, 0.01·3, 0.03·2, 0.04·1 → 0.02, 0.03, 0.06, max(0.06, 0.04)
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert holm([]).shape == (0,)
    assert holm([0.9, 0.8]).max() <= 1
