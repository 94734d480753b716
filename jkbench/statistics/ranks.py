"""Ranks over many columns: mean ranks with intervals, and which mean ranks differ."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from jkbench.statistics.groups import Floats, shrunk_degrees, shrunk_variance
from jkbench.statistics.intervals import Interval


def mean_ranks(scores: ArrayLike, level: float = 0.95) -> list[Interval]:
    """Each row's mean rank over columns in one seed's table, averaged over seeds, with an interval over seeds.

    scores: (rows, columns, seeds), higher is better, no value missing; ranks start at 1, equal scores share theirs.
    Columns of one seed may depend on each other in any way (regimes of one data set). The variance over seeds is drawn
    towards the rows' mean variance, so that a row which has the same rank at three seeds is not certain of it; an
    interval ends at the first and the last rank. One seed has no interval. Raises ValueError where a score is missing.
    """
    x = np.asarray(scores, dtype=float)
    if x.ndim != 3 or not x.size or not np.isfinite(x).all():
        raise ValueError("ranks need a complete table: rows x columns x seeds")
    rows, _, seeds = x.shape
    ranks = stats.rankdata(-x, axis=0).mean(axis=1)
    means = ranks.mean(axis=1)
    if seeds < 2 or rows < 2:
        return [Interval(float(mean), None, seeds) for mean in means]
    own = ranks.var(axis=1, ddof=1)
    error = np.sqrt(shrunk_variance(own, own.mean(), seeds) / seeds)
    half = stats.t.ppf((1 + level) / 2, shrunk_degrees(rows, seeds)) * error
    return [Interval(float(mean), float(width), seeds) for mean, width in zip(means, half, strict=True)]


@dataclass(frozen=True)
class CriticalDifference:
    """The data of a critical-difference diagram."""

    mean_ranks: Floats
    """(rows,), over tasks."""
    difference: float
    """Two mean ranks that differ by less cannot be told apart."""
    p: float
    """Friedman's: that all rows are equal."""
    cliques: list[tuple[int, ...]]
    """Largest sets of rows, by index and best first, whose mean ranks cannot be told apart: the diagram's bars."""


def critical_difference(scores: ArrayLike, level: float = 0.05) -> CriticalDifference:
    """Friedman's test and Nemenyi's critical difference of rows over independent tasks.

    scores: (rows, tasks), higher is better, no value missing, at least three rows and two tasks. Regimes of one data
    set are not independent tasks: average their ranks or scores first. Raises ValueError on any other table.
    Source: Demšar, *Statistical comparisons of classifiers over multiple data sets*, JMLR 2006, §3.2.2.
    """
    x = np.asarray(scores, dtype=float)
    if x.ndim != 2 or x.shape[0] < 3 or x.shape[1] < 2 or not np.isfinite(x).all():
        raise ValueError("a critical difference needs three rows and two tasks, none of them missing")
    rows, tasks = x.shape
    ranks = stats.rankdata(-x, axis=0).mean(axis=1)
    quantile = float(stats.studentized_range.isf(level, rows, np.inf))
    difference = quantile / math.sqrt(2) * math.sqrt(rows * (rows + 1) / (6 * tasks))
    p = float(stats.friedmanchisquare(*x).pvalue) if np.ptp(x, axis=0).any() else 1.0
    order = np.argsort(ranks, kind="stable")
    cliques: list[tuple[int, ...]] = []
    last = -1
    for start in range(rows):
        end = max(i for i in range(start, rows) if ranks[order[i]] - ranks[order[start]] < difference)
        if end > max(last, start):
            cliques.append(tuple(int(i) for i in order[start : end + 1]))
            last = end
    return CriticalDifference(ranks, difference, p, cliques)
