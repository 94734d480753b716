"""Which methods cannot be told from the best."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down adjusted p-values, valid under any dependence.

    p: (tests,), in 0..1; returns (tests,) in the same order.
    Source: Holm, *A simple sequentially rejective multiple test procedure*, Scand. J. Statist. 1979.
    """
    values = np.asarray(p, dtype=float)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def tie_group(matrix: ArrayLike, level: float = 0.05) -> NDArray[np.bool_]:
    """The rows that cannot be told from the best one, which is the row of the highest mean (itself included).

    matrix: (rows, seeds), higher is better, NaN where a seed is missing; returns (rows,), False for rows without any
    value. Each other row is compared with the best by a two-sided paired t-test over the seeds that both have, Holm
    over the others; it leaves the group when its adjusted p is below ``level`` and it is the worse one on those seeds.
    Rows of one mean (but for rounding) are best together: another leaves when it can be told from each of them.
    Rows that share fewer than two seeds with the best stay: nothing can be resolved (they still count as comparisons).
    The t-test, not exact sign flips, since those cannot fall below 5 % with fewer than 6 seeds (2/2^5 = 0.0625), nor
    below Holm's steps with many more: everything would be tied at the 3 to 5 seeds that this field can pay for.
    Source: Student 1908; Holm 1979.
    """
    x = np.asarray(matrix, dtype=float)
    present = ~np.isnan(x).all(axis=1) if x.size else np.zeros(len(x), dtype=bool)
    if not present.any():
        return present
    means = np.full(len(x), -np.inf)
    means[present] = np.nanmean(x[present], axis=1)
    best = np.flatnonzero(np.isclose(means, means.max(), rtol=1e-9, atol=0))
    group: NDArray[np.bool_] = np.any([_tied_with(x, present, int(row), level) for row in best], axis=0)
    return group


def _tied_with(x: NDArray[np.float64], present: NDArray[np.bool_], best: int, level: float) -> NDArray[np.bool_]:
    others = [i for i in np.flatnonzero(present) if i != best]
    tests = [_paired(x[best] - x[i]) for i in others]
    adjusted = holm([p for p, _ in tests])
    group = present.copy()
    for i, p, (_, ahead) in zip(others, adjusted, tests, strict=True):
        group[i] = not (p < level and ahead)
    return group


def _paired(difference: NDArray[np.float64]) -> tuple[float, bool]:
    """p of the two-sided paired t-test over the seeds that are there, and whether the mean is above zero."""
    d = difference[~np.isnan(difference)]
    if d.size < 2:
        return 1.0, False
    mean, error = float(d.mean()), float(d.std(ddof=1)) / np.sqrt(d.size)
    if error <= 1e-12 * abs(mean):  # every seed differs by the same amount, or not at all
        return (0.0 if mean else 1.0), mean > 0
    return float(2 * stats.t.sf(abs(mean) / error, d.size - 1)), mean > 0
