"""Two kernels of torch on CPU, and what stands in their place: ``python benchmarks/kernels.py``."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from jkbench.engine import environment


def milliseconds(run: Callable[[], object]) -> float:
    """Median of fifteen runs after three."""
    times = []
    for _ in range(18):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times[3:])


def two_means(x: Tensor) -> Tensor:
    """Mean, then the mean of squared differences."""
    return (x - x.mean((0, 2, 3), keepdim=True)).square_().mean((0, 2, 3), keepdim=True)


def main() -> None:
    """Print both comparisons."""
    torch.set_num_threads(1)
    environment.prepare()
    x = torch.randn(64, 64, 32, 32).contiguous(memory_format=torch.channels_last)
    slow = milliseconds(lambda: torch.var_mean(x, [0, 2, 3], correction=0))
    fast = milliseconds(lambda: two_means(x))
    print(f"statistics of 64×64×32×32: var_mean {slow:.1f} ms, two means {fast:.1f} ms: {slow / fast:.1f} ×")
    features = torch.randn(64, 512, 8, 8).contiguous(memory_format=torch.channels_last).requires_grad_()
    pooled = functional.max_pool2d(features, 2)

    def back(head: Callable[[Tensor], Tensor]) -> Callable[[], object]:
        embedding = head(pooled)
        gradient = torch.ones_like(embedding)
        return lambda: torch.autograd.grad(embedding, features, gradient, retain_graph=True)

    slow = milliseconds(back(lambda maps: maps.mean((2, 3))))
    fast = milliseconds(back(lambda maps: functional.adaptive_avg_pool2d(maps, 1).flatten(1)))
    print(f"back through head and pooling: mean {slow:.1f} ms, adaptive_avg_pool2d {fast:.1f} ms: {slow / fast:.1f} ×")


if __name__ == "__main__":
    main()
