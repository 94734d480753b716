"""Two rows, or one, over many tasks: the regimes of one data set are one family, families are independent.

A family is an array (…, regimes, seeds); its regimes share their seeds, so that seeds are drawn for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from jkbench.statistics.groups import Floats

DRAWS, BLOCK = 2000, 100
"""Resamples, and how many of them are made at a time."""
FEWEST = 5
"""Seeds below which a bootstrap has too few different resamples (4 seeds: 35)."""


@dataclass(frozen=True)
class Estimate:
    """A value with a bootstrap interval over seeds; no ``low`` and ``high`` below `FEWEST` seeds."""

    value: float
    low: float | None
    high: float | None


def probability_of_improvement(
    families: Sequence[ArrayLike], generator: np.random.Generator, level: float = 0.95
) -> Estimate:
    """The chance that one row beats another at one seed of one regime; equal scores count half.

    families: each (regimes, seeds), the paired difference first - second. The mean over a family's regimes, then over
    families. Source: Agarwal et al., *Deep RL at the edge of the statistical precipice*, 2021, §4.3, here paired.
    """
    won = [(np.sign(np.atleast_2d(np.asarray(family, dtype=float))) + 1) / 2 for family in families]
    found = _bootstrap(won, _mean, generator, level)
    if found.low is None or found.high is None:
        return found
    return Estimate(found.value, max(found.low, 0.0), min(found.high, 1.0))


def interquartile_mean(families: Sequence[ArrayLike], generator: np.random.Generator, level: float = 0.95) -> Estimate:
    """The mean of the middle half of all scores of a row: one task moves it less than the mean.

    families: each (regimes, seeds), scores of one unit.
    Source: Agarwal et al. 2021, §4.3; scipy's `trim_mean`.
    """
    scores = [np.atleast_2d(np.asarray(family, dtype=float)) for family in families]
    return _bootstrap(scores, _middle, generator, level)


def _mean(families: list[Floats]) -> Floats:
    return np.asarray(np.mean([family.mean(axis=(1, 2)) for family in families], axis=0))


def _middle(families: list[Floats]) -> Floats:
    scores = np.concatenate([family.reshape(len(family), -1) for family in families], axis=1)
    return np.asarray(stats.trim_mean(scores, 0.25, axis=1))


def _bootstrap(
    families: list[Floats], value: Callable[[list[Floats]], Floats], generator: np.random.Generator, level: float
) -> Estimate:
    """A percentile interval: seeds are drawn within each family, for all its regimes at once.

    A bootstrap of n values has (n - 1) / n of their variance, and takes it as known: the interval is widened by
    √(n / (n - 1)) and by t over z, t with the families' degrees of freedom. ``value``: of families (draws, regimes,
    seeds), (draws,).
    """
    if not families or any(not family.size or not np.isfinite(family).all() for family in families):
        raise ValueError("every family needs complete scores: regimes x seeds")
    whole = [family[None] for family in families]
    if min(family.shape[1] for family in families) < FEWEST:
        return Estimate(float(value(whole)[0]), None, None)
    draws = np.concatenate([value(_resampled(families, generator)) for _ in range(DRAWS // BLOCK)])
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    at, seeds = float(value(whole)[0]), min(family.shape[1] for family in families)
    t = stats.t.ppf((1 + level) / 2, sum(family.shape[1] - 1 for family in families))
    wider = float(t / stats.norm.ppf((1 + level) / 2)) * math.sqrt(seeds / (seeds - 1))
    return Estimate(at, at - wider * (at - float(low)), at + wider * (float(high) - at))


def _resampled(families: list[Floats], generator: np.random.Generator) -> list[Floats]:
    """`BLOCK` resamples: of each family (draws, regimes, seeds)."""
    picked = [[generator.integers(0, family.shape[1], family.shape[1]) for family in families] for _ in range(BLOCK)]
    return [np.moveaxis(x[:, np.array(of)], 1, 0) for x, of in zip(families, zip(*picked, strict=True), strict=True)]
