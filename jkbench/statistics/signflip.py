"""Exact paired tests: under the null hypothesis a seed's difference is as likely to be +d as −d."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

EXACT_UP_TO = 16  # seeds; 2^16 sign patterns, half of them computed
DRAWS = 9999
_BLOCK = 4096  # sign patterns at a time, to bound memory
_EQUAL = 1e-9  # two statistics this close, relatively, are one: sums in another order differ in the last bits

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MaxStatistic:
    """The result of `max_statistic_test`: p-values (rows,) adjusted for the whole family, and the rows' t."""

    p: Floats
    t: Floats
    smallest_p: float
    n: int
    exact: bool


def max_statistic_test(
    differences: ArrayLike, generator: np.random.Generator | None = None, draws: int = DRAWS
) -> MaxStatistic:
    """Sign-flip tests of many rows at once, adjusted by the distribution of their largest |t| (single step).

    differences: (rows, seeds), each row paired differences of one method in one regime, any unit (t has none), NaN
    where a seed is missing. A flip changes the sign of a seed in *all* rows, so what rows share at a seed (images,
    initial weights, another regime of the same data) is kept: if differences are symmetric around zero, the family-wise
    error is at most the level, however dependent the rows are; under strong skew it is not (`docs/statistics.md`).
    p of a row = share of flips whose largest |t| over all rows reaches the row's own |t|.
    Rows without two seeds, or with no difference at all, have t = 0 and p = 1; equal differences have t = ±inf. Up to
    `EXACT_UP_TO` seeds all 2^n flips are counted and p is exact; it cannot be smaller than 2/2^n (n = 5: 0.0625, n = 6:
    0.03125), since a flip of all signs is as extreme. Beyond, ``draws`` random flips and the identity are counted:
    p = (1 + hits)/(1 + draws). Seeds that no row has are dropped.
    Raises ValueError on no row, on no seed, on an infinite difference, and without a generator where one is needed.
    Source: Fisher, *The Design of Experiments*, 1935, §21; Phipson & Smyth 2010 for counting the identity;
    Westfall & Young, *Resampling-Based Multiple Testing*, 1993, §2.3; Nichols & Holmes 2002.
    """
    x = np.asarray(differences, dtype=float)
    if x.ndim != 2 or np.isinf(x).any():
        raise ValueError("differences must be finite (or NaN for missing), rows x seeds")
    x = x[:, ~np.isnan(x).all(axis=0)]
    if x.size == 0:
        raise ValueError("no differences to test")
    n = x.shape[1]
    exact = n <= EXACT_UP_TO
    if not exact and generator is None:
        raise ValueError(f"more than {EXACT_UP_TO} seeds need a random generator")
    counts = (~np.isnan(x)).sum(axis=1)
    filled = np.nan_to_num(x)
    observed = _t(filled.sum(axis=1)[None, :], (filled**2).sum(axis=1), counts)[0]
    hits, total = np.zeros(len(x)), 0
    for signs in _exact_signs(n) if exact else _random_signs(n, draws, generator):
        largest = np.abs(_t(signs @ filled.T, (filled**2).sum(axis=1), counts)).max(axis=1)
        hits += (largest[:, None] >= np.abs(observed) * (1 - _EQUAL)).sum(axis=0)
        total += len(signs)
    p = np.where(counts >= 2, hits / total, 1.0)
    return MaxStatistic(p, observed, max(2.0 / 2.0**n, 1.0 / total), n, exact)


def _t(sums: Floats, squares: Floats, counts: NDArray[np.int_]) -> Floats:
    """Student's t of rows from their sums (flips, rows), sums of squares (rows,) and numbers of values (rows,)."""
    scale = np.where(squares > 0, squares * counts, 1.0)
    share = np.clip(sums**2 / scale, 0.0, 1.0)  # of the squares that the mean explains: 1 when all are equal
    share = np.where(counts >= 2, share, 0.0)
    rest = np.where(share > 1 - 1e-12, 0.0, 1 - share)
    with np.errstate(divide="ignore"):
        size = np.sqrt(np.maximum(counts - 1, 0) * share / rest)
    return np.copysign(size, sums)


def _exact_signs(n: int) -> Iterator[Floats]:
    """All sign patterns of n seeds whose last sign is +; their negatives give the same |t|."""
    total = 2 ** (n - 1)
    for start in range(0, total, _BLOCK):
        numbers = np.arange(start, min(start + _BLOCK, total))
        yield 1.0 - 2.0 * ((numbers[:, None] >> np.arange(n)) & 1).astype(np.float64)


def _random_signs(n: int, draws: int, generator: np.random.Generator | None) -> Iterator[Floats]:
    """The identity, then ``draws`` random sign patterns."""
    assert generator is not None
    yield np.ones((1, n))
    for start in range(0, draws, _BLOCK):
        size = min(_BLOCK, draws - start)
        yield 1.0 - 2.0 * generator.integers(0, 2, size=(size, n)).astype(np.float64)
