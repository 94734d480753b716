"""How far a mean over seeds can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


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
        raise ValueError(f"{hits} of {n} at level {level} is not a rate")
    tail = (1 - level) / 2
    low = stats.beta.ppf(tail, hits, n - hits + 1) if hits else 0.0
    high = stats.beta.isf(tail, hits + 1, n - hits) if hits < n else 1.0
    return float(low), float(high)
