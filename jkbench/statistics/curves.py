"""Learning curves read sideways: how many images a mean over seeds takes to reach a target."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS = 9999
FEWEST = 5
"""Seeds below which a bootstrap has too few different resamples for an interval (4 seeds: 35)."""
_BLOCK = 256  # draws at a time: they stay in the processor's cache
_EQUAL = 1e-12  # a mean this close below zero is zero: sums in another order differ in the last bits


@dataclass(frozen=True)
class Reached:
    """Where a curve first reaches its target, with an interval; infinity is "not within the curve".

    ``at`` equal to the first place means there or before it. No ``low`` and ``high`` below `FEWEST` seeds.
    """

    at: float
    low: float | None
    high: float | None
    n: int


def first_reached(places: ArrayLike, gaps: ArrayLike) -> NDArray[np.float64]:
    """The place at which each curve first is at zero or above, linear in log(place) between the given places.

    places: (points,), positive and increasing, such as images per class; gaps: (curves, points), value minus target,
    any unit; returns (curves,) in the unit of places: the first place where a curve starts at zero or above, infinity
    where it stays below. Raises ValueError on places that are not positive and increasing and on gaps that are not
    finite.
    """
    x, y = np.asarray(places, dtype=float), np.atleast_2d(np.asarray(gaps, dtype=float))
    if not x.size or x[0] <= 0 or (np.diff(x) <= 0).any() or y.shape[1] != x.size:
        raise ValueError("places must be positive and increasing, one for each point of a curve")
    if not np.isfinite(y).all():
        raise ValueError("a value is not finite")
    reached = y >= -_EQUAL
    after = reached.argmax(axis=1)
    before = np.maximum(after - 1, 0)
    rows = np.arange(len(y))
    below, above = np.minimum(y[rows, before], 0.0), np.maximum(y[rows, after], 0.0)
    rise = above - below
    share = np.where(rise > 0, -below / np.where(rise > 0, rise, 1.0), 1.0)  # of the way from before to after, in logs
    at = np.where(share == 1.0, x[after], x[before] * (x[after] / x[before]) ** share)
    return np.where(reached.any(axis=1), np.where(after == 0, x[0], at), np.inf)


def reach(
    places: ArrayLike, gaps: ArrayLike, generator: np.random.Generator, level: float = 0.95, draws: int = DRAWS
) -> Reached:
    """Where the mean curve over seeds first reaches its target, with a percentile bootstrap interval over seeds.

    places: (points,); gaps: (seeds, points), a seed's value minus its target's value, so that a seed is drawn with its
    target; otherwise as `first_reached`. An end of the interval is a value that was drawn, never one in between, since
    some draws may not reach the target at all. With few seeds such an interval is somewhat too narrow.
    Source: Efron & Tibshirani, *An Introduction to the Bootstrap*, 1993, ch. 13.
    """
    y = np.atleast_2d(np.asarray(gaps, dtype=float))
    n = len(y)
    at = float(first_reached(places, y.mean(axis=0))[0])
    if n < FEWEST:
        return Reached(at, None, None, n)
    means = []
    for start in range(0, draws, _BLOCK):
        picked = np.ascontiguousarray(generator.integers(0, n, size=(min(_BLOCK, draws - start), n)).T)
        means.append([point.take(picked).mean(axis=0) for point in y.T])
    drawn = np.sort(first_reached(places, np.concatenate(means, axis=1).T))
    tail = (1 - level) / 2 * (draws + 1)  # with 9,999 draws the 250th from either end
    return Reached(at, float(drawn[math.floor(tail) - 1]), float(drawn[draws - math.floor(tail)]), n)
