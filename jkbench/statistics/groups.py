"""Which rows cannot be told from the best, where the best is chosen from the same data.

The rule was chosen by simulation: ``benchmarks/statistics.py``, `docs/statistics.md`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

PRIOR = 4
"""Degrees of freedom that the mean variance of all pairs counts for, beside the seeds - 1 of a pair's own."""
_EQUAL = 1e-9  # relative: sums in another order differ in the last bits

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Group:
    """The result of `leading_group`: masks over the rows, and the seeds on which they were compared."""

    tied: Bools
    """Rows that cannot be told from the best, the best included: bold."""
    short: Bools
    """Rows that lack a seed of the panel: neither best nor bold, and no other row's result depends on them."""
    behind: Bools
    """Rows that can be told from the best; a short row is compared with it on the seeds that both have."""
    seeds: Bools
    """Seeds of the panel, (seeds,)."""


def panel(matrix: ArrayLike) -> tuple[Bools, Bools]:
    """The rows and seeds that are compared: a complete block of the matrix with the most degrees of freedom.

    matrix: (rows, seeds), NaN where a seed is missing; returns masks (rows,) and (seeds,). Seeds are taken from the
    most common to the rarest, each time with the rows that have all of them; the block with the largest
    (rows - 1)(seeds - 1) wins, the one of more seeds where two are equal. A row outside it is short.
    """
    there = ~np.isnan(np.asarray(matrix, dtype=float))
    counts = there.sum(axis=0)
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    seeds = np.zeros(there.shape[1], dtype=bool)
    if not order.size:
        return there.any(axis=1), seeds
    full = np.logical_and.accumulate(there[:, order], axis=1)  # of the first seeds, how many a row has without a gap
    degrees = (full.sum(axis=0) - 1) * np.arange(len(order))
    most = np.flatnonzero(degrees == degrees.max())[-1]
    seeds[order[: most + 1]] = True
    return full[:, most], seeds


def shrunk_variance(own: ArrayLike, pooled: ArrayLike, seeds: int, resolution: float = 0.0) -> Floats:
    """Variances drawn towards their common mean: (4 · pooled + (seeds - 1) · own) / (seeds + 3), 4 being `PRIOR`.

    own, pooled: variances of differences, any shapes that broadcast; seeds: values behind each own variance;
    resolution: the step of the metric (one test image over their number), whose rounding alone gives a difference of
    two means a variance of resolution²/6: never less is returned.
    Source: Smyth, *Linear models and empirical Bayes methods*, 2004, eq. (1), with a fixed prior.
    """
    shrunk = (PRIOR * np.asarray(pooled) + (seeds - 1) * np.asarray(own)) / (PRIOR + seeds - 1)
    return np.maximum(shrunk, resolution**2 / 6)


def shrunk_degrees(rows: int, seeds: int, most: float = 8 / 3) -> float:
    """Degrees of freedom of a shrunk variance among ``rows`` rows: fewer than it counts, since spreads are unequal.

    seeds + 3, but at most rows / 2 and at most ``most`` times a pair's own seeds - 1; both limits were set by the
    simulation, and bind with few rows and few seeds. Two rows have seeds - 1: the plain paired t-test.
    """
    return min(seeds - 1 + PRIOR, (seeds - 1) * min(rows / 2, most))


@lru_cache(maxsize=4096)
def critical_ratio(rows: int, seeds: int, level: float = 0.05) -> float:
    """The gap to the best, in standard errors of a paired difference, beyond which a row is told from it.

    The studentized range of ``rows`` rows over √2; for two rows Student's two-sided t.
    Source: Tukey, *The problem of multiple comparisons*, 1953; scipy's `studentized_range`.
    """
    return float(stats.studentized_range.isf(level, rows, shrunk_degrees(rows, seeds))) / math.sqrt(2)


def mean_pair_variance(x: Floats) -> Floats:
    """The mean over all pairs of rows of the variance of their difference: (…, rows, seeds) to (…,).

    Twice the mean square of what rows and seeds leave of a two-way table, which is the same number.
    """
    rows, seeds = x.shape[-2:]
    rest = x - x.mean(axis=-1, keepdims=True)
    rest = rest - rest.mean(axis=-2, keepdims=True)
    return np.asarray(2 * (rest**2).sum(axis=(-2, -1)) / ((rows - 1) * (seeds - 1)))


def trailing(x: Floats, best: ArrayLike, level: float = 0.05, resolution: float = 0.0) -> Bools:
    """Rows that are told from the row ``best``: (…, rows, seeds) and (…,) to (…, rows). No value is missing.

    A row trails where its mean gap exceeds `critical_ratio` standard errors, and one step of the metric.
    """
    rows, seeds = x.shape[-2:]
    gaps = np.take_along_axis(x, np.asarray(best)[..., None, None], axis=-2) - x
    gap, own = gaps.mean(axis=-1), gaps.var(axis=-1, ddof=1)
    variance = shrunk_variance(own, mean_pair_variance(x)[..., None], seeds, resolution)
    return _beyond(gap, critical_ratio(rows, seeds, level) * np.sqrt(variance / seeds), resolution)


def _beyond(gap: Floats, threshold: Floats, resolution: float) -> Bools:
    return np.asarray(gap > np.maximum(threshold, resolution) * (1 + _EQUAL))


def leading_group(matrix: ArrayLike, resolution: float = 0.0, level: float = 0.05) -> Group:
    """The rows that cannot be told from the best one.

    matrix: (rows, seeds), higher is better, NaN where a seed is missing; resolution: the step of the metric in its own
    unit, such as 1 / test images. Rows of the `panel` are compared on its seeds. The best has the highest mean; rows of
    one mean are best together, and another is behind when it trails each of them. Rows with the same values count as
    one comparison. With one seed nothing is told apart. Returns masks over the rows.
    Source: the studentized range (Tukey 1953) on shrunk paired variances; simulated in `docs/statistics.md`.
    """
    x = np.asarray(matrix, dtype=float)
    if not x.size or np.isnan(x).all():
        nobody = np.zeros(len(x), dtype=bool)
        return Group(nobody, nobody, nobody, np.zeros(x.shape[-1] if x.ndim == 2 else 0, dtype=bool))
    inside, seeds = panel(x)
    block, place = np.unique(x[np.ix_(inside, seeds)], axis=0, return_inverse=True)
    means = block.mean(axis=1)
    leaders = np.flatnonzero(np.isclose(means, means.max(), rtol=_EQUAL, atol=0))
    told = np.zeros(len(block), dtype=bool)
    if len(block) > 1 and seeds.sum() > 1:
        told = np.all([trailing(block, leader, level, resolution) for leader in leaders], axis=0)
    behind = np.zeros(len(x), dtype=bool)
    behind[inside] = told[place.reshape(-1)]
    short = ~inside & ~np.isnan(x).all(axis=1)
    pooled = float(mean_pair_variance(block)) if len(block) > 1 and seeds.sum() > 1 else None
    for row in np.flatnonzero(short):
        rival = [block[leader] - x[row, seeds] for leader in leaders]
        behind[row] = all(_short_trails(gaps, pooled, len(block) + 1, level, resolution) for gaps in rival)
    return Group(inside & ~behind, short, behind, seeds)


def _short_trails(gaps: Floats, pooled: float | None, rows: int, level: float, resolution: float) -> bool:
    """Whether a short row is told from the best on the seeds that it has; it adds itself to the comparisons."""
    gaps = gaps[~np.isnan(gaps)]
    if len(gaps) < 2:
        return False
    own = gaps.var(ddof=1)
    variance = shrunk_variance(own, own if pooled is None else pooled, len(gaps), resolution)
    threshold = critical_ratio(rows, len(gaps), level) * np.sqrt(variance / len(gaps))
    return bool(_beyond(gaps.mean(), threshold, resolution))
