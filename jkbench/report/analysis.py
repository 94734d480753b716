"""The tests of one page: tie groups, gains over the baseline, what the table can resolve."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
from numpy.typing import NDArray

from jkbench.records.predicted import right
from jkbench.records.schema import Record
from jkbench.report.grid import Cell, Column, Grid
from jkbench.statistics import (
    Interval,
    detectable_gap,
    gain_test,
    leading_group,
    mean_interval,
    mean_pair_variance,
    panel,
    two_way_interval,
)
from jkbench.tasks.shots import Shots

Bools = NDArray[np.bool_]
LEVEL = 0.05
POWER = 0.8


@dataclass(frozen=True)
class Gain:
    """A row's paired difference from the baseline (metric's unit), and its p adjusted for the page's family."""

    interval: Interval
    both: Interval | None = None
    """Over seeds and test images; None where a trial's predictions are not known."""
    p: float | None = None
    assumes_normal: bool = False
    """Tested by a shrunken t; else by sign flips."""
    short: bool = False
    """The row lacks seeds: tested beside the others' family, which it does not change."""


@dataclass(frozen=True)
class Ties:
    """What is said of a column's rows: ``tied`` with the best (bold), told from it, or short of seeds (neither)."""

    tied: frozenset[str]
    behind: frozenset[str]
    short: frozenset[str]


def ties(grid: Grid, column: Column) -> Ties:
    """The rows of each kind against the best of that kind."""
    found: dict[str, set[str]] = {"tied": set(), "behind": set(), "short": set()}
    for rows in grid.rows:
        if rows.kind.ranked:
            group = leading_group(grid.matrix(rows.labels, column), step(grid, column), LEVEL)
            for name, labels in found.items():
                labels.update(np.array(rows.labels)[getattr(group, name)].tolist())
    return Ties(**{name: frozenset(labels) for name, labels in found.items()})


def step(grid: Grid, column: Column) -> float:
    """The least by which two accuracies of a column differ: one scored image; 0 where no record says how many."""
    images = grid.scored_images.get(column.shots)
    return 1 / images if images and column.metric.startswith("accuracy") else 0.0


def twins(grid: Grid) -> list[tuple[str, ...]]:
    """Groups of rows with the very same metrics in the very same trials, more than one: one computation, two names."""
    groups: dict[object, list[str]] = {}
    for label in grid.labels:
        done = [r for shots in grid.shots for r in grid.records(label, shots) if r.status == "ok"]
        if len(done) > 1:
            results = frozenset((r.shots, r.seed, frozenset(r.metrics.items())) for r in done)
            groups.setdefault(results, []).append(label)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def gains(grid: Grid, baseline: str) -> dict[tuple[str, Column], Gain]:
    """Paired differences from the baseline of each kind of rows over common seeds; references have no p."""
    cells: dict[tuple[str, Column], Gain] = {}
    for rows in grid.rows:
        family: dict[tuple[str, Column], NDArray[np.float64]] = {}
        base = grid.baseline(rows.kind, baseline)
        of_base = {shots: masks(grid, base or "", shots) for shots in grid.shots}
        for label in rows.labels if base is not None else ():
            for column in grid.columns:
                both = grid.matrix([label, base or ""], column)
                difference = both[0] - both[1]
                there = difference[~np.isnan(difference)]
                if label != base and there.size:
                    cells[label, column] = Gain(
                        mean_interval(there), over_images(grid, label, of_base[column.shots], column)
                    )
                    family[label, column] = difference
        if not rows.kind.ranked or not family:
            continue
        columns = [column for _, column in family]
        least = min(step(grid, column) for column in columns)
        test = gain_test(np.array(list(family.values())), columns, least, np.random.default_rng(0))
        for key, p, short, flipped in zip(family, test.p, test.short, test.flipped, strict=True):
            if not np.isnan(p):
                cells[key] = replace(cells[key], p=float(p), assumes_normal=not flipped, short=bool(short))
    return cells


Masks = dict[int, Bools | None]
"""Which images the trial of each seed has right; None where its predictions are not known."""


def masks(grid: Grid, label: str, shots: Shots) -> Masks:
    """Of the finished trials of a row in a regime."""
    return {r.seed: right(r) for r in grid.records(label, shots) if r.status == "ok"}


def paired_right(first: Masks, second: Masks) -> tuple[Bools, Bools] | None:
    """What two rows have right, (seeds, images) each, at the seeds that both finished; None where one is not known."""
    seeds = sorted(first.keys() & second.keys())
    a, b = ([mask for seed in seeds if (mask := of_row[seed]) is not None] for of_row in (first, second))
    return (np.array(a), np.array(b)) if seeds and len(a) == len(b) == len(seeds) else None


def over_images(grid: Grid, label: str, baseline: Masks, column: Column) -> Interval | None:
    """The gain's interval over seeds and test images; None for metrics that predictions do not tell."""
    if column.metric != "accuracy":
        return None
    both = paired_right(masks(grid, label, column.shots), baseline)
    if both is None:
        return None
    found = two_way_interval(both[0].astype(np.int8) - both[1])
    return Interval(found.mean, found.over_both, found.seeds)


@dataclass(frozen=True)
class Spread:
    """The standard deviation of paired differences over all pairs of ``rows``, for the ``seeds`` that they share."""

    deviation: float
    rows: int
    seeds: int

    def detectable(self, step: float) -> float:
        """The gap to the best (metric's unit) at which a row leaves the group with 80 % power."""
        return detectable_gap(self.deviation, self.rows, self.seeds, POWER, step)


def spread(grid: Grid, column: Column) -> Spread | None:
    """Of the first kind of rows; None where nothing can be tested."""
    matrix = grid.matrix(grid.rows[0].labels, column) if grid.rows and grid.rows[0].kind.ranked else np.empty((0, 0))
    if not matrix.size:
        return None
    rows, seeds = panel(matrix)
    block = np.unique(matrix[np.ix_(rows, seeds)], axis=0)
    return Spread(float(np.sqrt(mean_pair_variance(block))), *block.shape) if min(block.shape) > 1 else None


def usual_n(cells: list[Cell]) -> int | None:
    """The number of seeds that most filled cells have, the larger of two as common; None without any."""
    counts = Counter(len(cell.values) for cell in cells if cell.values)
    return max(counts, key=lambda n: (counts[n], n), default=None)


@dataclass(frozen=True)
class Price:
    """What a trial of a row costs: medians over the finished trials of one regime."""

    step_ms: float
    seconds: float
    peak_memory_mb: float
    trainable_parameters: int
    deployed_parameters: int | None
    alone: bool
    machines: frozenset[tuple[str, str | None, int]]

    def over(self, other: Price | None) -> float | None:
        """A step of this row as a multiple of the other's; None unless both ran on machines of one kind."""
        comparable = other is not None and other.step_ms > 0 and other.machines == self.machines
        return self.step_ms / other.step_ms if comparable and other is not None else None


def _price(records: Sequence[Record]) -> Price | None:
    done = [r for r in records if r.status == "ok" and r.cost is not None]
    costs = [record.cost for record in done if record.cost is not None]
    if not costs:
        return None
    return Price(
        step_ms=median(cost.step_ms for cost in costs),
        seconds=median(cost.seconds for cost in costs),
        peak_memory_mb=median(cost.peak_memory_mb for cost in costs),
        trainable_parameters=int(median(cost.trainable_parameters for cost in costs)),
        deployed_parameters=done[0].deployed_parameters,
        alone=all(cost.alone for cost in costs),
        machines=frozenset(
            (r.environment.device, r.environment.processor, r.environment.threads) for r in done if r.environment
        ),
    )


@dataclass(frozen=True)
class Prices:
    """What the rows of a page cost, by row and regime."""

    of: dict[tuple[str, Shots], Price]
    regime: Shots | None
    """The regime whose costs are shown: the largest of those in which the most rows have a finished trial."""


def prices(grid: Grid) -> Prices:
    """The prices of all rows that have a finished trial."""
    found = {key: price for key, records in grid.cells.items() if (price := _price(records)) is not None}
    counts = Counter(shots for _, shots in found)
    most = max(counts.values(), default=0)
    return Prices(found, next((shots for shots in reversed(grid.shots) if most and counts[shots] == most), None))
