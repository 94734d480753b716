"""The paper's Figure 1: a function of one variable, a few samples of it, and three students."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from jkbench.models.network import seeded
from jkbench.report.figures import COLOURS

SAMPLES = (-2.6, -1.5, -0.4, 0.9, 2.2)
SIGMA = 0.25
"""Deviation of the noise of the noise-augmented student; its square weighs the Jacobian term (Proposition 1)."""

WAYS = (("values", False, False), ("values, noisy inputs", True, False), ("values and Jacobians", False, True))
"""Name, whether the inputs are noisy, whether derivatives are matched."""


@dataclass(frozen=True)
class ToyStudent:
    """One way of learning from the samples: its curve over the grid, and its root mean square error there."""

    name: str
    curve: Tensor
    error: float


def teacher(x: Tensor) -> Tensor:
    """The function to learn."""
    return torch.sin(2 * x) + 0.3 * x


def slope(x: Tensor) -> Tensor:
    """Its derivative."""
    return 2 * torch.cos(2 * x) + 0.3


def grid() -> Tensor:
    """Where curves are drawn, and errors measured: between the outermost samples."""
    return torch.linspace(SAMPLES[0], SAMPLES[-1], 401, dtype=torch.float64)


def students(steps: int = 3000) -> list[ToyStudent]:
    """Three students of one start: values alone, values at noisy points, values and derivatives."""
    x = torch.tensor(SAMPLES, dtype=torch.float64)
    noise = torch.Generator().manual_seed(0)
    found = []
    for name, noisy, jacobians in WAYS:
        with seeded("figure"):
            net = nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1)).double()
        optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = 2e-3 if step < 0.8 * steps else 2e-4
            points = x
            if noisy:
                points = x + SIGMA * torch.randn(len(x), generator=noise, dtype=x.dtype)
            points = points.clone().requires_grad_()
            value = net(points[:, None])[:, 0]
            loss = (value - teacher(points.detach())).square().mean()
            if jacobians:
                (mine,) = torch.autograd.grad(value.sum(), points, create_graph=True)
                loss = loss + SIGMA**2 * (mine - slope(points.detach())).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            curve = net(grid()[:, None])[:, 0]
        found.append(ToyStudent(name, curve, float((curve - teacher(grid())).square().mean().sqrt())))
    return found


def draw(found: list[ToyStudent]) -> Figure:
    """One panel a student."""
    figure = Figure(figsize=(9.6, 3.0), layout="constrained")
    x = torch.tensor(SAMPLES, dtype=torch.float64)
    panels = figure.subplots(1, len(found), sharey=True)
    for axes, student in zip(panels, found, strict=True):
        axes.plot(grid(), teacher(grid()), color="0.55", linewidth=1.5, label="teacher")
        axes.plot(grid(), student.curve, color=COLOURS[0], linewidth=1.5, linestyle="--", label="student")
        axes.plot(x, teacher(x), "o", color="black", markersize=5, label="samples")
        axes.set_title(f"{student.name}\nroot mean square error {student.error:.2f}")
        axes.set_ylim(-2.4, 2.4)
        axes.set_xlabel("x")
    panels[0].legend(fontsize=8, loc="lower right")
    return figure
