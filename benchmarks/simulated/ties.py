"""Rules for tie groups, the chosen one and those that were rejected, and how often each is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from jkbench.statistics import groups
from simulated.tables import Floats, equal_rows

Bools = NDArray[np.bool_]
Rule = Callable[[Floats], Bools]


def chosen(x: Floats) -> Bools:
    """`jkbench.statistics.leading_group`, on complete tables."""
    return groups.trailing(x, x.mean(axis=-1).argmax(axis=-1))


def _parts(x: Floats) -> tuple[Floats, Floats, Floats, NDArray[np.int_]]:
    """Gaps to the best and their own variances (draws, rows), the mean of all pairs' (draws, 1), the best (draws,)."""
    best = x.mean(axis=-1).argmax(axis=-1)
    gaps = np.take_along_axis(x, best[:, None, None], axis=1) - x
    return gaps.mean(axis=-1), gaps.var(axis=-1, ddof=1), groups.mean_pair_variance(x)[:, None], best


def shrunk_range(x: Floats) -> Bools:
    """The chosen rule with all degrees of freedom that the variances count: min(seeds + 3, (rows - 1)(seeds - 1))."""
    (rows, seeds), (gap, own, pooled, _) = x.shape[1:], _parts(x)
    degrees = min(seeds + 3, (rows - 1) * (seeds - 1))
    variance = groups.shrunk_variance(own, pooled, seeds)
    return np.asarray(gap > _studentized(rows, degrees) / math.sqrt(2) * np.sqrt(variance / seeds))


def pooled_tukey(x: Floats) -> Bools:
    """Tukey's range with one variance for all pairs."""
    (rows, seeds), (gap, _, pooled, _) = x.shape[1:], _parts(x)
    return np.asarray(gap > _studentized(rows, (rows - 1) * (seeds - 1)) / math.sqrt(2) * np.sqrt(pooled / seeds))


def pooled_dunnett(x: Floats) -> Bools:
    """Dunnett's test against the best, as if it had been named before, with one variance for all pairs."""
    (rows, seeds), (gap, _, pooled, _) = x.shape[1:], _parts(x)
    return np.asarray(gap > _dunnett(rows, (rows - 1) * (seeds - 1)) * np.sqrt(pooled / seeds))


def holm(prior: float) -> Rule:
    """Paired t-tests against the best with Holm; with a prior they are moderated."""

    def rule(x: Floats) -> Bools:
        (rows, seeds), (gap, own, pooled, best) = x.shape[1:], _parts(x)
        variance = (prior * pooled + (seeds - 1) * own) / (prior + seeds - 1)
        degrees = min(prior + seeds - 1, (rows - 1) * (seeds - 1)) if prior else seeds - 1
        drawn = np.arange(len(x))
        variance[drawn, best] = 1.0
        p = 2 * stats.t.sf(gap / np.sqrt(variance / seeds), degrees)
        p[drawn, best] = 2.0  # last in order
        order = p.argsort(axis=1)
        stepped = np.maximum.accumulate(np.take_along_axis(p, order, axis=1) * np.r_[rows - 1 : 0 : -1, 1], axis=1)
        adjusted = np.empty_like(p)
        np.put_along_axis(adjusted, order, stepped, axis=1)
        return np.asarray(adjusted < 0.05)

    return rule


@lru_cache
def _studentized(rows: int, degrees: float) -> float:
    return float(stats.studentized_range.isf(0.05, rows, degrees))


@lru_cache
def _dunnett(rows: int, degrees: int, draws: int = 100_000) -> float:
    """The 95 % quantile of the largest of rows - 1 dependent |t|, simulated."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(draws, rows))
    largest = np.abs(z[:, 1:] - z[:, :1]).max(axis=1) / math.sqrt(2)
    return float(np.quantile(largest / np.sqrt(rng.chisquare(degrees, draws) / degrees), 0.95))


RULES: dict[str, Rule] = {
    "chosen": chosen,
    "all degrees": shrunk_range,
    "t, Holm": holm(0),
    "moderated t, Holm": holm(4),
    "pooled Tukey": pooled_tukey,
    "pooled Dunnett": pooled_dunnett,
}


def lost_bold(rng: np.random.Generator, scenario: str, rows: int, seeds: int, draws: int) -> dict[str, float]:
    """The chance that some of equal rows is told from the best, by rule."""
    x = equal_rows(rng, scenario, rows, seeds, draws)
    return {name: float(rule(x).any(axis=1).mean()) for name, rule in RULES.items()}


def far_stays(rng: np.random.Generator, scenario: str, seeds: int, draws: int, rows: int = 10) -> dict[str, float]:
    """The share of rows 4 standard deviations below the best that stay bold: one row leads, the others are equal."""
    x = equal_rows(rng, scenario, rows, seeds, draws)
    drawn, first = np.arange(draws), rng.integers(0, rows, draws)
    x[drawn, first] += 4
    far = np.ones((draws, rows), dtype=bool)
    far[drawn, first] = False
    return {name: float(1 - rule(x)[far].mean()) for name, rule in RULES.items()}


def best_outside(rng: np.random.Generator, scenario: str, rows: int, seeds: int, draws: int) -> dict[str, float]:
    """The chance that the one truly best row is outside the group, the worst of leads of 0.25, 0.5 and 1 deviation."""
    worst = dict.fromkeys(RULES, 0.0)
    for lead in (0.25, 0.5, 1.0):
        x = equal_rows(rng, scenario, rows, seeds, draws)
        drawn, first = np.arange(draws), rng.integers(0, rows, draws)
        x[drawn, first] += lead
        worst = {name: max(worst[name], float(rule(x)[drawn, first].mean())) for name, rule in RULES.items()}
    return worst
