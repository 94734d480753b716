"""The transfer bound: a large source set, a small target set, and how far the one lies from the other.

With rho(x) = loss(T(x), S(x)) K-Lipschitz, E_{x∈D_l} rho ≤ max_{x∈D_s} rho + K·H(D_l, D_s) (Proposition 3), H the
one-sided Hausdorff distance. Source: Srinivas & Fleuret 2018, section 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

PART = 1024
"""Points of either set whose distances are taken at once: at most 4 MiB of them, whatever the sets hold."""

OnPart = Callable[[int, int], None]
"""Is told after each block of distances: blocks that are done, and all."""


class Points(Protocol):
    """n points of D values, read by slices: a tensor n×D, or what reads a part of them when it is asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Tensor: ...


def _blocks(
    a: Points, b: Points, size: int, told: OnPart | None, half: bool = False
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Distances block by block: places in a, places in b, distances. ``half``: each pair of one set's parts once."""
    starts = [
        (i, j) for j in range(0, len(b), size) for i in range(0, len(a), size) if not half or i <= j
    ]  # by parts of b, so that each is read once
    right, held = None, -1
    for done, (i, j) in enumerate(starts, start=1):
        if right is None or held != j:
            right, held = b[j : j + size], j
        # not by way of a matrix product: a point's distance to itself is zero
        found = torch.cdist(a[i : i + size], right, compute_mode="donot_use_mm_for_euclid_dist")
        yield slice(i, i + size), slice(j, j + size), found
        if told is not None:
            told(done, len(starts))


def nearest(source: Points, target: Points, size: int = PART, told: OnPart | None = None) -> Tensor:
    """The distance of each source point to the nearest target point: n×D, m×D → n.

    No more than ``size`` points of either set, and their distances, are in memory at once.
    """
    found = torch.full((len(source),), torch.inf)
    for rows, _, distances in _blocks(source, target, size, told):
        found = found.to(distances)
        found[rows] = torch.minimum(found[rows], distances.min(1).values)
    return found


def hausdorff(source: Points, target: Points, size: int = PART, told: OnPart | None = None) -> float:
    """H(A, B) = sup_{a∈A} inf_{b∈B} ‖a − b‖, one-sided: n×D, m×D → distance."""
    return float(nearest(source, target, size, told).max())


def lipschitz(values: Tensor, points: Points, size: int = PART, told: OnPart | None = None) -> float:
    """The largest slope |rho(a) − rho(b)| / ‖a − b‖ over all pairs: values n, points n×D. A lower estimate of K: of
    these points alone, and points that coincide are left out."""
    blocks = _blocks(points, points, size, told, half=True)
    return max((_steepest(values[rows], values[columns], found) for rows, columns, found in blocks), default=0.0)


def lipschitz_between(
    values: Tensor, points: Points, other_values: Tensor, others: Points, size: int = PART, told: OnPart | None = None
) -> float:
    """As `lipschitz`, over the pairs of a point of one set (n) and a point of the other (m)."""
    blocks = _blocks(points, others, size, told)
    return max((_steepest(values[rows], other_values[columns], found) for rows, columns, found in blocks), default=0.0)


def _steepest(a: Tensor, b: Tensor, distances: Tensor) -> float:
    differences = (a[:, None] - b[None]).abs()
    apart = distances > 0
    return float((differences[apart] / distances[apart]).max()) if apart.any() else 0.0
