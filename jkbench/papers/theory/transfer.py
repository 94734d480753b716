"""Proposition 3 and its lemma on real images: both sides of the bound, and what noisy copies do to the distance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jkbench.maths.bound import hausdorff, lipschitz
from jkbench.papers.theory.measured import Side
from jkbench.papers.theory.networks import Digits, digits, pair


def bounds(
    sizes: Sequence[int] = (10, 50, 200), steps: int = 400, data: Digits | None = None
) -> list[tuple[int, Side]]:
    """In pixels and in the teacher's features, for nested target sets of so many images, the last the source.

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
                side = Side(
                    space, hausdorff(points, held), hausdorff(points, with_copies), slope, float(values.mean()),
                    float(values.max()), float(values[:size].max()),
                )  # fmt: skip
                found.append((size, side))
    return found


def _features(network: nn.Module, x: Tensor) -> Tensor:
    """What goes into the last layer."""
    assert isinstance(network, nn.Sequential)
    return network[:-1](x)
