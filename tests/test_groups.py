"""Tie groups: who is told from the best, on which seeds, and that a short row changes nothing for the others."""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from jkbench.statistics import leading_group, panel
from jkbench.statistics.groups import critical_ratio, mean_pair_variance

NAN = np.nan


@lru_cache
def quantile(rows: int, degrees: float) -> float:
    return stats.studentized_range.ppf(0.95, rows, degrees)


def by_hand(x: np.ndarray) -> set[int]:
    """The rule of docs/statistics.md, written with loops over pairs and scipy's quantile alone."""
    rows, seeds = x.shape
    best = int(x.mean(axis=1).argmax())
    pooled = np.mean([np.var(x[a] - x[b], ddof=1) for a, b in combinations(range(rows), 2)])
    degrees = min(seeds + 3, (seeds - 1) * min(rows / 2, 8 / 3))
    q = quantile(rows, degrees)
    tied = set()
    for row in range(rows):
        gaps = x[best] - x[row]
        variance = (4 * pooled + (seeds - 1) * np.var(gaps, ddof=1)) / (seeds + 3)
        if gaps.mean() <= q / np.sqrt(2) * np.sqrt(variance / seeds):
            tied.add(row)
    return tied


@pytest.mark.parametrize(("rows", "seeds"), [(2, 4), (3, 3), (6, 3), (7, 5), (5, 12)])
def test_the_group_equals_the_rule_written_by_hand(rows, seeds):
    rng = np.random.default_rng(rows)
    sizes = set()
    for _ in range(20):
        x = rng.normal(np.linspace(0, 4, rows)[:, None], rng.uniform(0.3, 2, (rows, 1)), (rows, seeds))
        expected = by_hand(x)
        found = leading_group(x)
        assert set(np.flatnonzero(found.tied)) == expected
        assert (found.tied ^ found.behind).all()
        sizes.add(len(expected))
    assert len(sizes) > 1


def test_two_rows_are_students_paired_t_test():
    rng = np.random.default_rng(10)
    seen = set()
    for _ in range(100):
        rows = rng.normal([[0.0], [1.3]], 1.0, (2, 6))
        expected = stats.ttest_rel(rows[0], rows[1]).pvalue >= 0.05
        assert leading_group(rows).tied.all() == expected
        seen.add(expected)
    assert seen == {True, False}


def test_the_mean_variance_of_all_pairs_equals_a_loop_over_pairs():
    x = np.random.default_rng(0).normal(size=(6, 4))
    loop = np.mean([np.var(x[a] - x[b], ddof=1) for a, b in combinations(range(6), 2)])
    assert mean_pair_variance(x) == pytest.approx(loop)


def test_nothing_is_told_apart_by_less_than_one_test_image():
    image = 1 / 340
    row = np.array([0.5, 0.6, 0.7])
    assert leading_group([row, row - image], resolution=image).tied.all()
    assert leading_group([row, row - 30 * image], resolution=image).tied.tolist() == [True, False]
    many = np.linspace(0.5, 0.7, 20)  # twenty seeds would resolve it, one image still does not
    assert leading_group([many, many - image], resolution=image).tied.all()
    assert leading_group([many, many - 1.5 * image], resolution=image).tied.tolist() == [True, False]


def test_a_short_row_changes_nothing_for_the_others_and_is_not_bold():
    rng = np.random.default_rng(1)
    full = rng.normal(np.linspace(0, 3, 9)[:, None], 1.0, (9, 10))
    before = leading_group(full)
    for values in ([99.0, 5.0], [50.69, -64.33], [3.0, 3.1]):
        short = np.full((1, 10), NAN)
        short[0, :2] = values
        after = leading_group(np.vstack([full, short]))
        assert after.tied[:9].tolist() == before.tied.tolist()
        assert after.behind[:9].tolist() == before.behind.tolist()
        assert after.short.tolist() == [False] * 9 + [True]
        assert not after.tied[9]


def test_a_short_row_far_behind_on_shared_seeds_is_told_so():
    rng = np.random.default_rng(2)
    full = rng.normal(0.0, 1.0, (5, 8))
    short = np.full((1, 8), NAN)
    short[0, :3] = full[:, :3].min(axis=0) - 40
    assert leading_group(np.vstack([full, short])).behind.tolist() == [False] * 5 + [True]


def test_the_few_gaps_of_a_short_row_are_shrunk_towards_the_variance_of_the_other_pairs():
    """Gaps of two seeds that agree by chance tell nothing where all other pairs vary."""
    noise = np.random.default_rng(3).normal(0.0, 4.0, (5, 8))
    ahead = np.array([[30.0], [0.0], [0.0], [0.0], [0.0]])
    for full, told in ((ahead + noise, False), (ahead + noise / 1000, True)):
        short = np.full((1, 8), NAN)
        short[0, :2] = full[0, :2] - 3
        assert leading_group(np.vstack([full, short])).behind[5] == told


def test_a_row_given_twice_is_one_comparison():
    rng = np.random.default_rng(3)
    differ = 0
    for _ in range(60):
        x = rng.normal([[2.0], [0.0], [0.4]], 1.0, (3, 6))
        twice = leading_group(np.vstack([x, x[1], x[1], x[1]])).tied
        assert twice.tolist() == [*leading_group(x).tied, *[twice[1]] * 3]
        differ += not twice.all()
    assert 0 < differ < 60


def test_the_panel_is_the_largest_complete_block():
    there = np.ones((5, 6))
    there[4, 2:] = NAN  # a short row
    rows, seeds = panel(there)
    assert rows.tolist() == [True] * 4 + [False]
    assert seeds.all()
    longer = np.hstack([there[:4], np.full((4, 6), NAN)])
    longer[0] = 1.0  # one row with twice the seeds does not make the others short
    rows, seeds = panel(longer)
    assert rows.all()
    assert seeds.sum() == 6
    scattered = np.ones((3, 10))
    scattered[[0, 1, 2], [0, 1, 2]] = NAN  # each row lost another seed: the seven they share
    rows, seeds = panel(scattered)
    assert rows.all()
    assert seeds.tolist() == [False] * 3 + [True] * 7


def test_one_seed_tells_nothing_apart_and_no_value_is_no_member():
    found = leading_group([[0.9], [0.1], [NAN]])
    assert found.tied.tolist() == [True, True, False]
    assert not found.short.any()
    assert leading_group(np.empty((0, 0))).tied.shape == (0,)
    assert not leading_group(np.full((2, 3), NAN)).tied.any()


def test_rows_of_one_mean_are_best_together_whatever_their_last_bits_are():
    steady, rough, worse = [0.8] * 4, [0.9, 0.7, 0.9, 0.7], [0.5, 0.5, 0.52, 0.51]
    results = [
        leading_group([np.add(steady, nudge), rough, worse, worse]).tied.tolist() for nudge in (-1e-16, 0.0, 1e-16)
    ]
    assert results[0] == results[1] == results[2]
    assert results[0][:2] == [True, True]


def test_more_rows_and_fewer_seeds_ask_for_a_wider_gap():
    assert critical_ratio(2, 10) == pytest.approx(stats.t.isf(0.025, 9))
    assert critical_ratio(2, 5) < critical_ratio(10, 5) < critical_ratio(36, 5)
    assert critical_ratio(10, 20) < critical_ratio(10, 5) < critical_ratio(10, 3)
