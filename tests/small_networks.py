"""Tiny float64 networks for the tests of the mathematics, drawn from a generator and never from global state."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

N = TypeVar("N", bound=nn.Module)

IMAGE = (1, 4, 4)
PIXELS = 16
CLASSES = 3


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int, seed: int) -> Tensor:
    return torch.randn(count, *IMAGE, generator=generator(seed), dtype=torch.float64)


def draw(network: N, seed: int) -> N:
    """The network in float64, its parameters drawn anew from ``seed``."""
    stream = generator(seed)
    network = network.double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=stream, dtype=torch.float64) * 0.5)
    return network


def smooth(seed: int) -> nn.Sequential:
    """Twice differentiable everywhere: finite differences agree to many digits."""
    with torch.random.fork_rng(devices=[]):
        return draw(
            nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(32, CLASSES)),
            seed,
        )


def piecewise_linear(seed: int) -> nn.Sequential:
    """ReLU and max-pool: locally linear, as Propositions 1 and 2 want it."""
    with torch.random.fork_rng(devices=[]):
        return draw(
            nn.Sequential(
                nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, CLASSES)
            ),
            seed,
        )


def normed(seed: int) -> nn.Sequential:
    """A network with batch norm whose running statistics are not those of any batch, in train mode."""
    with torch.random.fork_rng(devices=[]):
        network = draw(
            nn.Sequential(
                nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(48, CLASSES)
            ),
            seed,
        )
    norm = network[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(torch.tensor([0.3, -0.2, 0.1]))
    norm.running_var.copy_(torch.tensor([2.0, 0.5, 1.5]))
    return network.train()


def affine(norm: nn.Module, z: Tensor, mean: Tensor, variance: Tensor, eps: float = 1e-5) -> Tensor:
    """A 2D batch norm of fixed statistics written out, free of torch's and jkbench's code."""
    weight, bias = norm.parameters()
    scale = weight / (variance + eps).sqrt()
    return (z - mean[:, None, None]) * scale[:, None, None] + bias[:, None, None]


def reference_jacobian(network: nn.Module, x: Tensor) -> Tensor:
    """Per-sample Jacobian B×k×D by torch.autograd.functional.jacobian, one image at a time."""
    each = [torch.autograd.functional.jacobian(lambda one: network(one[None])[0], image).flatten(1) for image in x]
    return torch.stack(each)


def difference_jacobian(network: nn.Module, x: Tensor, step: float = 1e-5) -> Tensor:
    """Per-sample Jacobian B×k×D by central differences, one pixel at a time."""
    columns = []
    with torch.no_grad():
        for pixel in range(x[0].numel()):
            nudge = torch.zeros_like(x).flatten(1)
            nudge[:, pixel] = step
            nudge = nudge.view_as(x)
            columns.append((network(x + nudge) - network(x - nudge)) / (2 * step))
    return torch.stack(columns, dim=2)
