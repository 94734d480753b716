"""How far a mean over seeds can be trusted, and how small a difference a table can still find."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval ``mean ± half_width``; no half-width below two values."""

    mean: float
    half_width: float | None
    n: int

    def scaled(self, by: float) -> Interval:
        """The interval of the values times a positive number."""
        return Interval(by * self.mean, None if self.half_width is None else by * self.half_width, self.n)


def mean_interval(values: Sequence[float] | ArrayLike, level: float = 0.95) -> Interval:
    """Student's t-interval of the mean of independent values, such as one per seed.

    values: (n,), any unit; the result has the same unit. One value has a mean and no half-width.
    Raises ValueError on no value, on values that are not finite, and on a level outside (0, 1).
    Source: Student, *The probable error of a mean*, Biometrika 1908.
    """
    x = np.asarray(values, dtype=float).reshape(-1)
    if x.size == 0:
        raise ValueError("no values to average")
    if not np.isfinite(x).all():
        raise ValueError("a value is not finite")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    if x.size == 1:
        return Interval(float(x[0]), None, 1)
    quantile = stats.t.ppf((1 + level) / 2, x.size - 1)
    return Interval(float(x.mean()), float(quantile * x.std(ddof=1) / math.sqrt(x.size)), int(x.size))


def share_interval(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The exact interval of a rate, in 0..1, after ``hits`` of ``n`` independent trials.

    It covers the rate with at least ``level``, whatever the rate. Raises ValueError unless 0 ≤ hits ≤ n, n ≥ 1.
    Source: Clopper & Pearson, *The use of confidence or fiducial limits*, Biometrika 1934.
    """
    if not (0 <= hits <= n and n >= 1 and 0 < level < 1):
        raise ValueError(f"{hits} of {n} at level {level} is no rate")
    tail = (1 - level) / 2
    low = stats.beta.ppf(tail, hits, n - hits + 1) if hits else 0.0
    high = stats.beta.isf(tail, hits + 1, n - hits) if hits < n else 1.0
    return float(low), float(high)


def power_of_paired_t(effect: float, n: int, level: float = 0.05) -> float:
    """The chance that a two-sided paired t-test on ``n`` pairs rejects at ``level``.

    effect: true mean difference over the standard deviation of the differences (no unit).
    Source: the noncentral t distribution; Cohen, *Statistical Power Analysis*, 1988, ch. 2.
    """
    critical = stats.t.isf(level / 2, n - 1)
    shift = abs(effect) * math.sqrt(n)
    # the wrong tail is NaN in scipy where it is smaller than about 1e-16
    wrong_side = np.nan_to_num(stats.nct.cdf(-critical, n - 1, shift))
    return float(stats.nct.sf(critical, n - 1, shift) + wrong_side)


def detectable_difference(
    differences: ArrayLike, power: float = 0.8, level: float = 0.05, comparisons: int = 1
) -> float | None:
    """The smallest true paired difference that a two-sided paired t-test finds with this power.

    differences: (seeds,) or (rows, seeds), NaN where a seed is missing; the result has their unit. The standard
    deviation is pooled over the rows (weighted by degrees of freedom), n is the rows' most common number of seeds
    (the smaller one where two are as common), the level is Bonferroni's, ``level / comparisons``.
    None where no row has two seeds. The deviation is estimated from the very same data, so this is a description of
    the table's resolution, not a promise about a new one.
    Raises ValueError on power or level outside (0, 1) and on comparisons below 1.
    Source: noncentral t, as `power_of_paired_t`.
    """
    if not (0 < power < 1 and 0 < level < 1 and comparisons >= 1):
        raise ValueError("power and level must lie between 0 and 1, comparisons be at least 1")
    rows = np.atleast_2d(np.asarray(differences, dtype=float))
    rows = rows[np.isfinite(rows).sum(axis=1) >= 2]
    if not rows.size:
        return None
    counts = np.isfinite(rows).sum(axis=1)
    deviation = math.sqrt(float(np.average(np.nanvar(rows, axis=1, ddof=1), weights=counts - 1)))
    if deviation <= 1e-12 * float(np.nanmax(np.abs(rows))):
        return 0.0
    n = int(np.bincount(counts).argmax())
    alpha = level / comparisons
    if alpha >= power:  # a test this lax rejects often enough without any difference
        return 0.0
    high = 1.0
    while power_of_paired_t(high, n, alpha) < power:
        high *= 2
    effect = optimize.brentq(lambda d: power_of_paired_t(d, n, alpha) - power, 0.0, high, xtol=1e-10)
    return float(effect) * deviation
