"""The transfer bound: a large source set, a small target set, and how far the one lies from the other.

With rho(x) = loss(T(x), S(x)) K-Lipschitz, E_{x∈D_l} rho ≤ max_{x∈D_s} rho + K·H(D_l, D_s) (Proposition 3), H the
one-sided Hausdorff distance. Source: Srinivas & Fleuret 2018, section 5.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # not by way of a matrix product: a point's distance to itself is zero
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def nearest(source: Tensor, target: Tensor) -> Tensor:
    """The distance of each source point to the nearest target point: n×D, m×D → n."""
    return torch.cat([_distances(part, target).min(1).values for part in source.split(1024)])


def hausdorff(source: Tensor, target: Tensor) -> float:
    """H(A, B) = sup_{a∈A} inf_{b∈B} ‖a − b‖, one-sided: n×D, m×D → distance."""
    return float(nearest(source, target).max())


def lipschitz(values: Tensor, points: Tensor) -> float:
    """The largest slope |rho(a) − rho(b)| / ‖a − b‖ over all pairs: values n, points n×D. A lower estimate of K: of
    these points alone, and points that coincide are left out."""
    distances = _distances(points, points)
    differences = (values[:, None] - values[None]).abs()
    apart = distances > 0
    return float((differences[apart] / distances[apart]).max())


def bound(source_values: Tensor, target_values: Tensor, slope: float, distance: float) -> tuple[float, float]:
    """Both sides of Proposition 3: the mean of rho over the source, and max over the target + K·H."""
    return float(source_values.mean()), float(target_values.max()) + slope * distance
