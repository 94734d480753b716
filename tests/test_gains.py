"""Gains over a baseline: adjusted p-values that no short row can change."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from jkbench.statistics import gain_test, holm, max_statistic_test

NAN = np.nan


def page(seeds: int, gain: float = 2.0, rows: int = 6, seed: int = 0) -> tuple[np.ndarray, list[int]]:
    """Differences of ``rows`` rows in two regimes, half of them with a gain."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2 * rows, seeds))
    x[::2] += gain
    return x, [0] * rows + [1] * rows


def test_many_seeds_are_the_maximum_statistic():
    x, columns = page(8)
    found = gain_test(x, columns)
    np.testing.assert_array_equal(found.p, max_statistic_test(x).p)
    assert found.flipped.all()
    assert 0 < (found.p < 0.05).sum() < len(x)


def test_few_seeds_are_a_shrunken_t_with_holm_written_by_hand():
    x, columns = page(4, gain=4.0)
    p = []
    for row, column in zip(x, columns, strict=True):
        block = x[[c == column for c in columns]]
        pooled = np.mean([np.var(other, ddof=1) for other in block])
        variance = (4 * pooled + 3 * np.var(row, ddof=1)) / 7
        degrees = min(4 + 3, 3 * min((len(block) + 1) / 2, 1.8))
        p.append(2 * stats.t.sf(abs(row.mean()) / np.sqrt(variance / 4), degrees))
    found = gain_test(x, columns)
    np.testing.assert_allclose(found.p, holm(p))
    assert not found.flipped.any()
    assert (found.p < 0.05).any()


def test_sign_flips_of_five_seeds_could_find_nothing():
    x, columns = page(5, gain=9.0)
    assert max_statistic_test(x).p.min() > 0.05
    assert (gain_test(x, columns).p[::2] < 0.05).all()


@pytest.mark.parametrize("values", [[1.0, 1.01], [50.69, -64.33], [0.5, 0.5]])
def test_a_row_of_two_seeds_changes_no_other_rows_p(values):
    x, columns = page(10)
    short = np.full((1, 10), NAN)
    short[0, :2] = values
    before, after = gain_test(x, columns), gain_test(np.vstack([x, short]), [*columns, 0])
    np.testing.assert_array_equal(after.p[:-1], before.p)
    assert (before.p < 0.05).any()
    assert after.short.tolist() == [False] * len(x) + [True]
    assert not after.flipped[-1]
    # the defect: the old family of all rows loses every gain to the short row's t of one degree of freedom
    if values == [1.0, 1.01]:
        assert (max_statistic_test(np.vstack([x, short])).p[:-1] < 0.05).sum() < (before.p < 0.05).sum()


def test_a_short_row_of_enough_seeds_is_tested_beside_the_family():
    x, columns = page(10)
    short = np.full((1, 10), NAN)
    short[0, :7] = 5 + np.arange(7) / 10
    found = gain_test(np.vstack([x, short]), [*columns, 0])
    assert found.p[-1] == max_statistic_test(np.vstack([x[:, :7], short[:, :7]])).p[-1]
    assert found.p[-1] < 0.05


def test_a_row_with_one_seed_has_no_p():
    x, columns = page(6)
    one = np.full((1, 6), NAN)
    one[0, 3] = 2.0
    found = gain_test(np.vstack([x, one, np.full((1, 6), NAN)]), [*columns, 0, 1])
    assert np.isnan(found.p[-2:]).all()
    assert not np.isnan(found.p[:-2]).any()


def test_a_row_given_twice_costs_nothing():
    for seeds in (4, 7):
        x, columns = page(seeds, gain=3.0)
        twice = gain_test(np.vstack([x, x[:1], x[:1]]), [*columns, 0, 0])
        found = gain_test(x, columns)
        if seeds == 7:  # the variances of few seeds are pooled over rows, so a copy weighs there
            np.testing.assert_array_equal(twice.p[: len(x)], found.p)
        assert twice.p[-1] == twice.p[0]


def test_a_mean_below_one_test_image_is_no_gain():
    image = 1 / 340
    assert gain_test(np.full((1, 8), image), [0], resolution=image).p[0] == 1.0
    assert gain_test(np.full((1, 8), 2 * image), [0], resolution=image).p[0] < 0.05
    assert gain_test(np.full((1, 4), image), [0], resolution=image).p[0] == 1.0


def test_regimes_with_other_seeds_are_families_that_share_the_level():
    x, columns = page(10)
    x[len(x) // 2 :, 7:] = NAN  # the second regime ran seven seeds
    found = gain_test(x, columns)
    half = len(x) // 2
    np.testing.assert_allclose(found.p[:half], np.minimum(2 * max_statistic_test(x[:half]).p, 1))
    np.testing.assert_allclose(found.p[half:], np.minimum(2 * max_statistic_test(x[half:, :7]).p, 1))
    assert not found.short.any()


def test_a_regime_of_one_seed_or_none_costs_the_others_nothing():
    x, columns = page(8)
    empty = np.full((2, 8), NAN)
    empty[0, 0] = 1.0
    found = gain_test(np.vstack([x, empty]), [*columns, "one seed", "none"])
    np.testing.assert_array_equal(found.p[:-2], gain_test(x, columns).p)
    assert np.isnan(found.p[-2:]).all()
