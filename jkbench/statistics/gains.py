"""Which gains over a baseline are real, where rows may have few seeds, and not all of them the same."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from jkbench.statistics.groups import Bools, Floats, panel, shrunk_degrees, shrunk_variance
from jkbench.statistics.signflip import max_statistic_test

SIGN_FLIPS_FROM = 6
"""Seeds from which sign flips can fall below 5 %: 2/2^6 = 0.031, with 5 seeds 0.0625."""
_MOST = 1.8  # degrees of freedom of a shrunk t, in those of a row's own variance: set by the simulation


@dataclass(frozen=True)
class GainTest:
    """The result of `gain_test`, each (rows,): p adjusted for the page (NaN below two seeds), and how it was found."""

    p: Floats
    short: Bools
    """Rows that lack a seed of their column's panel: tested on those they have, beside the panel's rows."""
    flipped: Bools
    """Tested by exact sign flips; the others by a shrunken t, which assumes normal differences."""


def gain_test(
    differences: ArrayLike,
    columns: Sequence[Hashable],
    resolution: float = 0.0,
    generator: np.random.Generator | None = None,
) -> GainTest:
    """Two-sided tests of many paired differences from a baseline, adjusted for all of them.

    differences: (rows, seeds), NaN where a seed is missing; columns: (rows,), the regime of each row; resolution: the
    step of the metric, below which no mean is told from zero. Within a column the rows of its `panel` are complete.
    Columns of the same panel are one family: from 6 seeds sign flips with the maximum statistic (valid if differences
    are symmetric around zero under the null hypothesis), with fewer a shrunken t by column and Holm (valid if they are
    normal; their variances may differ moderately). Several families share the level by Bonferroni. A short row is
    tested on its own seeds, as one more row of its family, and no other row's p depends on it. Raises ValueError on
    more than 16 seeds without a generator.
    Source: `max_statistic_test`; Smyth 2004; simulated in `docs/statistics.md`.
    """
    x = np.asarray(differences, dtype=float)
    labels = np.array([list(dict.fromkeys(columns)).index(column) for column in columns], dtype=int)
    families: dict[bytes, list[int]] = {}
    short, masks = np.zeros(len(x), dtype=bool), {}
    for column in np.unique(labels):
        of_column = np.flatnonzero(labels == column)
        inside, seeds = panel(x[of_column])
        short[of_column] = ~inside
        masks[column] = seeds
        if seeds.sum() > 1:
            families.setdefault(seeds.tobytes(), []).extend(of_column[inside])
    p, flipped = np.full(len(x), np.nan), np.zeros(len(x), dtype=bool)
    for rows in families.values():
        seeds = masks[labels[rows[0]]]
        p[rows], flipped[rows] = _family(x[rows][:, seeds], labels[rows], generator)
        for row in np.flatnonzero(short & np.isin(labels, labels[rows])):
            own = seeds & ~np.isnan(x[row])
            together = [*rows, int(row)]
            found, flipped[row] = _family(x[together][:, own], labels[together], generator)
            p[row] = found[-1]
    with np.errstate(invalid="ignore"):
        p = np.minimum(p * len(families), 1.0)
    means = np.array([row[~np.isnan(row)].mean() if not np.isnan(row).all() else 0.0 for row in x])
    p[~np.isnan(p) & (np.abs(means) <= resolution * (1 + 1e-9))] = 1.0
    return GainTest(p, short, flipped)


def _family(x: Floats, columns: np.ndarray, generator: np.random.Generator | None) -> tuple[Floats, bool]:
    """Adjusted p of a complete block (rows, seeds), and whether signs were flipped."""
    seeds = x.shape[1]
    if seeds < 2:
        return np.full(len(x), np.nan), False
    if seeds >= SIGN_FLIPS_FROM:
        return max_statistic_test(x, generator).p, True
    p = np.empty(len(x))
    for column in np.unique(columns):
        p[columns == column] = shrunken_t(x[columns == column])
    _, first, place = np.unique(np.column_stack([columns, x]), axis=0, return_index=True, return_inverse=True)
    return holm(p[first])[place.reshape(-1)], False


def shrunken_t(x: Floats) -> Floats:
    """Two-sided p, not adjusted, of the mean of each row of differences: (…, rows, seeds) to (…, rows).

    The rows' variances are drawn towards their mean, since a variance of three seeds is mostly chance.
    """
    rows, seeds = x.shape[-2:]
    own = x.var(axis=-1, ddof=1)
    error = np.sqrt(shrunk_variance(own, own.mean(axis=-1, keepdims=True), seeds) / seeds)
    mean = np.abs(x.mean(axis=-1))
    certain = error <= 1e-12 * mean  # all differences of all rows are the same
    t = mean / np.where(error > 0, error, 1.0)
    p = 2 * stats.t.sf(t, shrunk_degrees(rows + 1, seeds, _MOST))
    return np.asarray(np.where(certain, np.where(mean > 0, 0.0, 1.0), p))


def holm(p: ArrayLike) -> Floats:
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
