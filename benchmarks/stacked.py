"""Would several seeds as one program pay on this CPU? ``python benchmarks/stacked.py``.

Seeds are groups of channels: one grouped convolution for all, so that batch norm keeps a seed's statistics apart, and
one optimiser step. Printed: milliseconds of a cross-entropy step a seed, one seed at a time and five as one program, in
turns. The stacked step's gradients are compared with each seed's own first.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from jkbench.engine import environment

SEEDS = 5
STUDENTS = {"digits": ((16, 32, 32), 1, 8, 10, 25), "cifar": ((64, 128, 512), 3, 32, 100, 64)}


def body(widths: tuple[int, ...], channels: int, groups: int) -> nn.Sequential:
    """A VGG of one block a stage, ``groups`` times beside itself."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [
            nn.Conv2d(channels * groups, width * groups, 3, padding=1, bias=False, groups=groups),
            nn.BatchNorm2d(width * groups), nn.ReLU(), nn.MaxPool2d(2),
        ]  # fmt: skip
        channels = width
    return nn.Sequential(*layers[:-1]).to(memory_format=torch.channels_last)


def loss(network: nn.Module, heads: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of all seeds: images B×(S·C)×H×W, labels S×B, heads S×width×k; the sum of the seeds' means."""
    seeds = len(heads)
    features = network(x).mean((2, 3)).unflatten(1, (seeds, -1)).transpose(0, 1)
    return functional.cross_entropy((features @ heads).flatten(0, 1), y.flatten()) * seeds


def stepper(network: nn.Module, heads: Tensor, x: Tensor, y: Tensor) -> Callable[[], None]:
    """One optimiser step."""
    weights = [*network.parameters(), heads]
    optimiser = torch.optim.Adam(weights, 1e-3, fused=True)

    def step() -> None:
        optimiser.zero_grad()
        loss(network, heads, x, y).backward()
        optimiser.step()

    return step


def main() -> None:
    """Print milliseconds a step and seed."""
    torch.set_num_threads(1)
    environment.prepare()
    for name, (widths, channels, size, classes, batch) in STUDENTS.items():
        torch.manual_seed(0)
        alone = [body(widths, channels, 1) for _ in range(SEEDS)]
        together = body(widths, channels, SEEDS)
        for stacked, *single in zip(together.parameters(), *(one.parameters() for one in alone), strict=True):
            stacked.data.copy_(torch.cat([weight.data for weight in single]))
        x = torch.randn(batch, SEEDS * channels, size, size).contiguous(memory_format=torch.channels_last)
        y = torch.randint(0, classes, (SEEDS, batch))
        heads = torch.randn(SEEDS, widths[-1], classes).mul_(0.1).requires_grad_()
        own = [heads.detach()[at : at + 1].clone().requires_grad_() for at in range(SEEDS)]
        parts = [part.contiguous(memory_format=torch.channels_last) for part in x.chunk(SEEDS, 1)]
        loss(together, heads, x, y).backward()
        for at, one in enumerate(alone):
            loss(one, own[at], parts[at], y[at : at + 1]).backward()
        for stacked, *single in zip(together.parameters(), *(one.parameters() for one in alone), strict=True):
            torch.testing.assert_close(stacked.grad, torch.cat([w.grad for w in single]), rtol=1e-3, atol=1e-5)
        singles = [stepper(one, own[at], parts[at], y[at : at + 1]) for at, one in enumerate(alone)]
        stacked_step = stepper(together, heads, x, y)
        times: dict[str, list[float]] = {"alone": [], "stacked": []}
        for _ in range(60 if name == "digits" else 8):
            began = time.perf_counter()
            for step in singles:
                step()
            middle = time.perf_counter()
            stacked_step()
            times["alone"].append((middle - began) / SEEDS)
            times["stacked"].append((time.perf_counter() - middle) / SEEDS)
        one, many = (1000 * statistics.median(values[2:]) for values in times.values())
        print(f"{name:<8} {one:8.2f} ms a step alone, {many:8.2f} ms of five as one program: {one / many:.2f} ×")


if __name__ == "__main__":
    main()
