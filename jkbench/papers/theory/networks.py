"""Small networks on 8×8 digits, in float64, whose Hessians can be written out: random and trained, smooth and
piecewise linear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from jkbench.models.network import seeded

Kind = Literal["smooth", "piecewise linear"]
SIDE, PIXELS, CLASSES = 8, 64, 10


@dataclass(frozen=True)
class Digits:
    """Digits as vectors N×64, standardised, and labels N: half of them to train on, half not."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


def digits() -> Digits:
    """scikit-learn's digits, in their stored order: even places train, odd ones test."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = torch.from_numpy(np.asarray(bunch.data, dtype=np.float64))
    x = (x - x.mean()) / x.std()
    y = torch.from_numpy(np.asarray(bunch.target, dtype=np.int64))
    return Digits(x[::2], y[::2], x[1::2], y[1::2])


def network(kind: Kind, seed: int) -> nn.Module:
    """A network from 64 pixels to 10 logits, its weights from ``seed``: SiLU, or ReLU after a convolution and
    max-pooling."""
    with seeded("theory", kind, seed):
        if kind == "smooth":
            layers = [nn.Linear(PIXELS, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, CLASSES)]
        else:
            layers = [
                nn.Unflatten(-1, (1, SIDE, SIDE)), nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                nn.Flatten(-3), nn.Linear(128, CLASSES),
            ]  # fmt: skip
        return nn.Sequential(*layers).double()


def train(trained: nn.Module, x: Tensor, y: Tensor | None, teacher: nn.Module | None, steps: int) -> nn.Module:
    """The network after full-batch Adam on cross-entropy (with labels) plus squared error to a teacher's logits."""
    optimiser = torch.optim.Adam(trained.parameters(), lr=3e-3)
    for _ in range(steps):
        logits = trained(x)
        loss = torch.zeros((), dtype=x.dtype) if y is None else functional.cross_entropy(logits, y)
        if teacher is not None:
            loss = loss + (logits - teacher(x).detach()).square().sum(1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return trained.eval()


def pair(kind: Kind, trained: bool, steps: int, data: Digits) -> tuple[nn.Module, nn.Module]:
    """A teacher and a student: as they were drawn, or trained (the student on 100 images, by cross-entropy and the
    teacher's logits)."""
    teacher, student = network(kind, 0), network(kind, 1)
    if trained:
        train(teacher, data.train, data.train_labels, None, steps)
        train(student, data.train[:100], data.train_labels[:100], teacher, steps // 2)
    return teacher, student
