"""Intervals over seeds and images, McNemar's test, mean ranks, plans and one more run, against independent ways."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from jkbench.statistics import (
    critical_difference,
    detectable_gap,
    interquartile_mean,
    mcnemar,
    mean_interval,
    mean_ranks,
    prediction_intervals,
    probability_of_improvement,
    seeds_to_settle,
    two_way_interval,
)


def test_the_two_way_variance_equals_the_analysis_of_variance_by_loops():
    rng = np.random.default_rng(0)
    x = (rng.random((4, 30)) < 0.7).astype(float) - (rng.random((4, 30)) < 0.6)
    n, m = x.shape
    grand = x.mean()
    rest = sum((x[s, i] - x[s].mean() - x[:, i].mean() + grand) ** 2 for s in range(n) for i in range(m))
    error = rest / ((n - 1) * (m - 1)) / (n * m)
    a, b = np.var(x.mean(axis=1), ddof=1) / n, max(np.var(x.mean(axis=0), ddof=1) / m - error, 0)
    degrees = (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (m - 1))
    t, z = stats.t.ppf(0.975, n - 1), stats.t.ppf(0.975, m - 1)
    quantile = (stats.t.ppf(0.975, degrees) + (t * a + z * b) / (a + b)) / 2
    found = two_way_interval(x)
    assert found.mean == pytest.approx(grand)
    assert found.over_both == pytest.approx(quantile * math.sqrt(a + b), rel=1e-5)
    assert found.over_seeds == pytest.approx(mean_interval(x.mean(axis=1)).half_width, rel=1e-5)
    assert (found.seeds, found.images) == (n, m)


def test_seeds_that_agree_leave_the_images_alone():
    image = np.random.default_rng(1).choice([-1.0, 0.0, 1.0], 500)
    found = two_way_interval(np.tile(image, (5, 1)))
    assert found.over_seeds == pytest.approx(0.0, abs=1e-9)
    assert found.over_both == pytest.approx(mean_interval(image).half_width, rel=1e-3)


def test_a_table_without_variance_one_seed_and_no_table():
    assert two_way_interval(np.zeros((3, 40))).over_both == 0.0
    one = two_way_interval(np.ones((1, 40)))
    assert one.over_seeds is None
    assert one.over_both is None
    with pytest.raises(ValueError, match="two images"):
        two_way_interval(np.ones(40))


def test_mcnemar_of_one_seed_is_the_binomial_test():
    first, second = np.zeros(20, dtype=bool), np.zeros(20, dtype=bool)
    first[:9], second[9:11] = True, True
    found = mcnemar(first, second)
    assert (found.first_only, found.second_only) == (9, 2)
    assert found.p == pytest.approx(stats.binomtest(9, 11).pvalue)
    assert mcnemar(first, first).p == 1.0
    with pytest.raises(ValueError, match="shape"):
        mcnemar(first, second[:5])


def test_mcnemar_counts_an_image_once_however_often_it_was_predicted():
    rng = np.random.default_rng(2)
    first, second = rng.random(400) < 0.8, rng.random(400) < 0.7
    one = mcnemar(first, second).p
    ten = mcnemar(np.tile(first, (10, 1)), np.tile(second, (10, 1)))
    assert ten.first_only == 10 * mcnemar(first, second).first_only
    assert ten.p == pytest.approx(one, rel=0.3)  # ten copies of one network say no more than one
    flips = np.array([mcnemar(*(rng.random((2, 3, 300)) < 0.7)).p for _ in range(600)])
    assert np.mean(flips < 0.05) == pytest.approx(0.05, abs=0.03)


def test_mean_ranks_are_averages_over_seeds_of_scipys_ranks():
    x = np.random.default_rng(3).normal(np.arange(4)[:, None, None], 1.0, (4, 3, 5))
    by_hand = np.mean([[stats.rankdata(-x[:, c, s]) for c in range(3)] for s in range(5)], axis=(0, 1))
    found = mean_ranks(x)
    np.testing.assert_allclose([row.mean for row in found], by_hand)
    assert sum(row.mean for row in found) == pytest.approx(4 * 5 / 2)
    always_first = np.stack([np.full((3, 5), 99.0), *x[1:]])
    assert mean_ranks(always_first)[0].half_width > 0  # five seeds do not make it certain
    with pytest.raises(ValueError, match="complete"):
        mean_ranks(np.full((2, 2, 2), np.nan))


def test_critical_difference_equals_demsars_example():
    # Demšar 2006, §3.2.2: 4 rows, 14 data sets, q = 2.569: CD = 2.569 sqrt(4·5 / (6·14)) = 1.25
    scores = np.random.default_rng(4).normal([[3.0], [2.0], [1.0], [0.0]], 0.5, (4, 14))
    found = critical_difference(scores)
    assert found.difference == pytest.approx(1.25, abs=0.005)
    assert found.p == pytest.approx(stats.friedmanchisquare(*scores).pvalue)
    assert found.mean_ranks.tolist() == sorted(found.mean_ranks)
    assert found.cliques == [(0, 1), (1, 2), (2, 3)]
    assert critical_difference(np.ones((3, 5))).cliques == [(0, 1, 2)]
    assert critical_difference(np.ones((3, 5))).p == 1.0


def test_a_detectable_gap_of_two_rows_has_the_power_of_the_t_test():
    gap = detectable_gap(2.0, rows=2, seeds=6)
    t = stats.nct(5, gap / 2.0 * math.sqrt(6))
    assert t.sf(stats.t.isf(0.025, 5)) == pytest.approx(0.8, abs=1e-3)
    assert detectable_gap(2.0, 10, 6) > gap
    assert detectable_gap(0.0, 2, 6, resolution=0.01) >= 0.01


def test_seeds_to_settle_are_the_fewest_that_detect():
    for rows in (2, 9):
        n = seeds_to_settle(0.5, 1.0, rows)
        assert detectable_gap(1.0, rows, n) <= 0.5 < detectable_gap(1.0, rows, n - 1)
    assert seeds_to_settle(0.5, 1.0, 2) == 34  # G*Power: paired t, d = 0.5, two-sided 5 %, 80 %
    assert seeds_to_settle(1e-6, 1.0, 2) is None
    assert seeds_to_settle(0.01, 1.0, 2, resolution=0.01) is None
    assert detectable_gap(0.0, 2, seeds_to_settle(0.02, 0.0, 2, resolution=0.01), resolution=0.01) <= 0.02
    assert seeds_to_settle(0.02, 0.0, 2, resolution=0.01) < 10


def test_a_prediction_interval_of_one_row_is_the_textbooks():
    x = np.array([1.0, 2.0, 4.0, 7.0])
    found = prediction_intervals(x)[0]
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, 3) * x.std(ddof=1) * math.sqrt(1 + 1 / 4))
    rows = prediction_intervals([[1.0, 1.0, 1.0], [0.0, 3.0, 6.0], [2.0, np.nan, np.nan]])
    assert rows[0].half_width > 0  # no spread at three seeds is chance: the other rows' counts
    assert rows[1].half_width > rows[0].half_width
    assert rows[2].half_width is None
    with pytest.raises(ValueError, match="no values"):
        prediction_intervals([[np.nan, np.nan]])


def test_improvement_and_middle_by_hand_with_families_weighing_the_same():
    rng = np.random.default_rng(5)
    one, many = np.array([[1.0, -1.0, 2.0, 0.0, 3.0]]), -np.ones((4, 6))
    found = probability_of_improvement([one, many], rng)
    assert found.value == pytest.approx((3.5 / 5 + 0) / 2)
    assert found.low <= found.value <= found.high
    assert probability_of_improvement([one[:, :3]], rng).low is None
    scores = np.arange(16.0).reshape(2, 8)
    assert interquartile_mean([scores], rng).value == pytest.approx(np.mean(np.arange(4.0, 12.0)))
    with pytest.raises(ValueError, match="complete"):
        interquartile_mean([np.full((1, 5), np.nan)], rng)
