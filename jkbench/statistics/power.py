"""What a number of seeds can resolve, and how many a difference needs; what one more run would show."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from jkbench.statistics.groups import critical_ratio, shrunk_degrees, shrunk_variance
from jkbench.statistics.intervals import Interval

MOST_SEEDS = 10_000


def detectable_gap(deviation: float, rows: int, seeds: int, power: float = 0.8, resolution: float = 0.0) -> float:
    """The true gap to the best at which `leading_group` leaves a row out with this power.

    deviation: of paired differences, any unit, the result's; rows: compared, the best among them; seeds: of each,
    two or more; resolution: the step of the metric. The shrunken variance is taken as a scaled chi-square of its
    degrees of freedom, as all pairs had one deviation. Raises ValueError on fewer than two rows or seeds.
    Source: the noncentral t distribution; Cohen, *Statistical Power Analysis*, 1988, ch. 2.
    """
    if rows < 2 or seeds < 2 or not 0 < power < 1:
        raise ValueError("a gap needs two rows, two seeds and a power between 0 and 1")
    error = max(deviation, resolution / math.sqrt(6)) / math.sqrt(seeds)
    critical, degrees = critical_ratio(rows, seeds), shrunk_degrees(rows, seeds)
    high = 2 * critical + 4
    while stats.nct.sf(critical, degrees, high) < power:
        high *= 2
    shift = optimize.brentq(lambda effect: stats.nct.sf(critical, degrees, effect) - power, 0.0, high, xtol=1e-6)
    return max(float(shift) * error, resolution)


def seeds_to_settle(gap: float, deviation: float, rows: int, power: float = 0.8, resolution: float = 0.0) -> int | None:
    """The fewest seeds that tell a row from the best with this power, if the true gap is ``gap``.

    gap, deviation, resolution: in one unit, otherwise as `detectable_gap`. None where more than `MOST_SEEDS` would be
    needed, or the gap is not above the resolution.
    """
    least = detectable_gap(max(deviation, resolution / math.sqrt(6)), rows, MOST_SEEDS, power)
    if gap <= resolution or least > gap:
        return None
    seeds = max(2, math.floor(MOST_SEEDS * (least / gap) ** 2))  # few seeds need a wider gap than this says
    while detectable_gap(deviation, rows, seeds, power, resolution) > gap:
        seeds += 1
    return seeds


def prediction_intervals(matrix: ArrayLike, level: float = 0.95) -> list[Interval]:
    """Where one more run of each row would fall: mean ± t · s̃ · √(1 + 1/n), such as a published one.

    matrix: (rows, seeds), NaN where a seed is missing: the rows' values, or their gains where the published number is
    a gain. s̃² is drawn towards the mean variance of the rows. It assumes that the other run has our variance and is
    normal, and where it is a difference that it was paired as ours is. No half-width below two seeds. Raises ValueError
    on a row without any value. Source: `shrunk_variance`; Hahn & Meeker, *Statistical Intervals*, 1991, §4.7.
    """
    rows = [row[~np.isnan(row)] for row in np.atleast_2d(np.asarray(matrix, dtype=float))]
    if any(not row.size for row in rows):
        raise ValueError("no values to predict from")
    own = [float(row.var(ddof=1)) for row in rows if row.size > 1]
    found = []
    for row in rows:
        half = None
        if (n := row.size) > 1:
            variance = float(shrunk_variance(row.var(ddof=1), np.mean(own), n))
            quantile = float(stats.t.ppf((1 + level) / 2, shrunk_degrees(len(own) + 1, n)))
            half = quantile * math.sqrt(variance * (1 + 1 / n))
        found.append(Interval(float(row.mean()), half, n))
    return found
