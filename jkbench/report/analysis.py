"""The tests of one page: tie groups, gains over the baseline, what the table can resolve."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from statistics import median

import numpy as np

from jkbench.report.grid import Cell, Column, Grid
from jkbench.statistics import Interval, detectable_difference, max_statistic_test, mean_interval, tie_group
from jkbench.tasks.shots import Shots

LEVEL = 0.05
POWER = 0.8


@dataclass(frozen=True)
class Gain:
    """A row's paired difference from the baseline (metric's unit), and its p adjusted for the page's family."""

    interval: Interval
    p: float | None


@dataclass(frozen=True)
class Gains:
    """All gains of a page; ``smallest_p`` is what its number of seeds can reach at best, None without a test."""

    cells: dict[tuple[str, Column], Gain]
    smallest_p: float | None
    seeds: int
    tests: int
    exact: bool


def ties(grid: Grid, column: Column) -> frozenset[str]:
    """The ranked rows that cannot be told from the best in this column."""
    inside = tie_group(grid.matrix(grid.ranked, column), LEVEL)
    return frozenset(label for label, tied in zip(grid.ranked, inside, strict=True) if tied)


def twins(grid: Grid) -> list[tuple[str, ...]]:
    """Groups of rows with the very same metrics in the very same trials, more than one: one computation, two names."""
    groups: dict[str, list[str]] = {}
    for label in grid.labels:
        done = [r for shots in grid.shots for r in grid.records(label, shots) if r.status == "ok"]
        if len(done) > 1:
            told = [(str(r.shots), r.seed, sorted(r.metrics.items())) for r in done]
            groups.setdefault(repr(sorted(told)), []).append(label)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def gains(grid: Grid, baseline: str) -> Gains:
    """Paired differences from the baseline over common seeds; references have no p, they are outside the family."""
    cells: dict[tuple[str, Column], Gain] = {}
    family: list[tuple[str, Column]] = []
    rows = []
    for label in grid.labels:
        for column in grid.columns:
            both = grid.matrix([label, baseline], column)
            difference = both[0] - both[1]
            there = difference[~np.isnan(difference)]
            if label == baseline or not there.size:
                continue
            cells[label, column] = Gain(mean_interval(there), None)
            if there.size >= 2 and label in grid.ranked:
                family.append((label, column))
                rows.append(difference)
    if not family:
        return Gains(cells, None, 0, 0, True)
    result = max_statistic_test(np.array(rows), np.random.default_rng(0))
    for key, p in zip(family, result.p, strict=True):
        cells[key] = Gain(cells[key].interval, float(p))
    return Gains(cells, result.smallest_p, result.n, len(family), result.exact)


def resolution(grid: Grid, column: Column) -> tuple[float | None, int]:
    """The smallest difference (metric's unit) that tie groups find with 80 % power, and their comparisons.

    The standard deviation is pooled over all pairs of ranked rows; Bonferroni over the comparisons with the best,
    which is Holm's first step.
    """
    matrix = grid.matrix(grid.ranked, column)
    matrix = matrix[~np.isnan(matrix).all(axis=1)] if matrix.size else matrix
    comparisons = max(len(matrix) - 1, 1)
    pairs = [matrix[a] - matrix[b] for a, b in combinations(range(len(matrix)), 2)]
    if not pairs:
        return None, comparisons
    return detectable_difference(np.array(pairs), POWER, LEVEL, comparisons), comparisons


def usual_n(cells: list[Cell]) -> int | None:
    """The number of seeds that most filled cells have, the larger of two as common; None without any."""
    counts = Counter(len(cell.values) for cell in cells if cell.values)
    return max(counts, key=lambda n: (counts[n], n), default=None)


@dataclass(frozen=True)
class Price:
    """What a trial of a row costs: medians over the finished trials of one regime."""

    step_ms: float
    ratio: float | None
    seconds: float
    peak_memory_mb: float
    trainable_parameters: int
    alone: bool
    machines: frozenset[tuple[str, int]]


def price(grid: Grid, label: str, shots: Shots, baseline: str | None = None) -> Price | None:
    """The medians of a row in a regime; the ratio of steps only where the baseline ran on the same kind of device."""
    done = [r for r in grid.records(label, shots) if r.status == "ok" and r.cost is not None]
    costs = [record.cost for record in done if record.cost is not None]
    if not costs:
        return None
    machines = frozenset((r.environment.device, r.environment.threads) for r in done if r.environment)
    step = median(cost.step_ms for cost in costs)
    other = price(grid, baseline, shots) if baseline is not None else None
    comparable = other is not None and other.step_ms > 0 and other.machines == machines
    return Price(
        step_ms=step,
        ratio=step / other.step_ms if comparable and other is not None else None,
        seconds=median(cost.seconds for cost in costs),
        peak_memory_mb=median(cost.peak_memory_mb for cost in costs),
        trainable_parameters=int(median(cost.trainable_parameters for cost in costs)),
        alone=all(cost.alone for cost in costs),
        machines=machines,
    )


def priced_regime(grid: Grid) -> Shots | None:
    """The regime whose costs are shown: the largest of those in which the most rows have a finished trial."""
    counts = [(sum(price(grid, label, shots) is not None for label in grid.labels), shots) for shots in grid.shots]
    most = max((count for count, _ in counts), default=0)
    return next((shots for count, shots in reversed(counts) if count == most), None) if most else None
