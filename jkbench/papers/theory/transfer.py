"""Proposition 3 and its lemma on real images: both sides of the bound, and what noisy copies do to the distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jkbench.maths.bound import bound, hausdorff, lipschitz
from jkbench.papers.theory.networks import Digits, digits, pair


@dataclass(frozen=True)
class Bound:
    """The bound for one small target set inside a large source set, in one space."""

    space: str
    images: int
    distance: float
    distance_with_copies: float
    slope: float
    source_mean: float
    right_side: float

    @property
    def holds(self) -> bool:
        """E over the source ≤ max over the target + K·H."""
        return self.source_mean <= self.right_side

    @property
    def copies_tighten(self) -> bool:
        """The lemma: adding noisy copies of the target never takes it further from the source."""
        return self.distance_with_copies <= self.distance


def bounds(sizes: Sequence[int] = (10, 50, 200), steps: int = 400, data: Digits | None = None) -> list[Bound]:
    """In pixels and in the teacher's features, for target sets that are nested, the last of them the source.

    rho is the squared distance of logits of a trained pair; its slope K is the largest over all pairs of source points,
    so it belongs to these points.
    """
    data = data or digits()
    teacher, student = pair("smooth", True, steps, data)
    source = data.train
    with torch.no_grad():
        values = (teacher(source) - student(source)).square().sum(1)
        spaces = {"pixels": source, "teacher's features": _features(teacher, source)}
        stream = torch.Generator().manual_seed(0)
        found = []
        for space, points in spaces.items():
            slope = lipschitz(values, points)
            for size in (*sizes, len(source)):
                target = source[:size]
                noisy = target + 0.5 * torch.randn(target.shape, generator=stream, dtype=target.dtype)
                held = points[:size]
                with_copies = torch.cat([held, noisy if space == "pixels" else _features(teacher, noisy)])
                distance = hausdorff(points, held)
                left, right = bound(values, values[:size], slope, distance)
                found.append(Bound(space, size, distance, hausdorff(points, with_copies), slope, left, right))
    return found


def _features(network: nn.Module, x: Tensor) -> Tensor:
    """What goes into the last layer."""
    assert isinstance(network, nn.Sequential)
    return network[:-1](x)
