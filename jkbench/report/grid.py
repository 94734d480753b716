"""Records arranged as a table: rows are methods, columns are (regime, metric)."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jkbench.records.schema import Record
from jkbench.statistics import Interval, mean_interval, mean_ranks, panel
from jkbench.tasks.shots import FULL, Shots, size
from jkbench.tasks.task import Task


class Column(NamedTuple):
    """One metric in one regime; accuracy under noise of standard deviation S is the metric ``accuracy@S``."""

    shots: Shots
    metric: str

    @property
    def noise(self) -> float:
        """The standard deviation of the input noise; 0 for metrics without any."""
        return float(self.metric.partition("@")[2] or 0)


class ColumnBlock(NamedTuple):
    """Columns that stand side by side, along regimes ("shots") or along noise ("noise std")."""

    along: str
    shots: Shots | None
    columns: tuple[Column, ...]


END = "end:"
"""Metrics that are read off a record's curves: a loss term at the end of training, of its first value."""


def value_of(record: Record, metric: str) -> float:
    """A metric of a record; NaN where it has none.

    ``end:TERM`` is the mean of the last tenth of what was read of a loss term, over its first value: one batch alone is
    noisy, and a term's weight cancels.
    """
    if not metric.startswith(END):
        return record.metrics.get(metric, float("nan"))
    curve = record.curves.get(metric.removeprefix(END))
    if not curve or not curve[0]:
        return float("nan")
    return at_end(curve) / curve[0]


def at_end(curve: Sequence[float]) -> float:
    """The mean of the last tenth of a curve."""
    count = max(1, len(curve) // 10)
    return sum(curve[-count:]) / count


@dataclass(frozen=True)
class Cell:
    """What a row holds in a column: a value a seed, and the trials that have none, by reason."""

    values: dict[int, float]
    lost: dict[str, int]

    @cached_property
    def interval(self) -> Interval | None:
        """Mean and 95 % interval over seeds, in the metric's own unit."""
        return mean_interval(list(self.values.values())) if self.values else None


class Kind(NamedTuple):
    """Rows that stand together on a page, under a title; ``ranked`` ones are compared with each other."""

    title: str = ""
    ranked: bool = True


PLAIN = Kind()
FINE_TUNING = Kind("fine-tuning, from pre-trained weights; gains are over the reference that starts there:")
REFERENCE = Kind("upper references, not ranked:", ranked=False)
KINDS = (PLAIN, FINE_TUNING, REFERENCE)
"""In the order of a page."""


def kind_of(record: Record) -> Kind:
    """Where a record's row stands."""
    return REFERENCE if record.reference else FINE_TUNING if record.started_from else PLAIN


@dataclass(frozen=True)
class RankedRows:
    """The rows of a kind, best first, with their mean ranks over the ``common`` columns.

    A row that lacks one of these columns, or a seed of the others, is ranked among them on what it has, without an
    interval, and changes no other rank.
    """

    kind: Kind
    labels: tuple[str, ...]
    common: tuple[Column, ...] = ()
    ranks: dict[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """All cells of one task."""

    rows: tuple[RankedRows, ...]
    shots: tuple[Shots, ...]
    cells: dict[tuple[str, Shots], list[Record]]
    main: tuple[ColumnBlock, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """All rows in the order of the table."""
        return tuple(label for rows in self.rows for label in rows.labels)

    @cached_property
    def ranked(self) -> frozenset[str]:
        """The rows that are compared with others of their kind."""
        return frozenset(label for rows in self.rows if rows.kind.ranked for label in rows.labels)

    @property
    def apart(self) -> tuple[str, ...]:
        """The rows that are not compared: upper references."""
        return tuple(label for label in self.labels if label not in self.ranked)

    def baseline(self, kind: Kind, usual: str) -> str | None:
        """What rows of a kind are compared with: the usual row, or the reference that fine-tunes without more."""
        if kind != FINE_TUNING:
            return usual
        starts = {record.label for record in self.every if record.reference and record.started_from}
        return next((label for label in self.apart if label in starts), None)

    @cached_property
    def ranks(self) -> dict[str, Interval]:
        """The mean ranks of all rows that have one."""
        return {label: rank for rows in self.rows for label, rank in rows.ranks.items()}

    @property
    def columns(self) -> tuple[Column, ...]:
        """All columns of the main table: one family of tests."""
        return tuple(column for block in self.main for column in block.columns)

    def records(self, label: str, shots: Shots) -> list[Record]:
        """The records of a row in a regime, by seed."""
        return self.cells.get((label, shots), [])

    def cell(self, label: str, column: Column) -> Cell:
        """What a row holds in a column."""
        found = self._found.get((label, column))
        if found is None:
            found = self._found[label, column] = _cell(self.records(label, column.shots), column.metric)
        return found

    @cached_property
    def _found(self) -> dict[tuple[str, Column], Cell]:
        return {}

    def matrix(self, labels: Sequence[str], column: Column) -> NDArray[np.float64]:
        """The values (labels, seeds) of a column, NaN where there is none."""
        return np.array([self._row(label, column) for label in labels]).reshape(len(labels), len(self.seeds))

    def _row(self, label: str, column: Column) -> NDArray[np.float64]:
        found = self._rows.get((label, column))
        if found is None:
            values = self.cell(label, column).values
            found = self._rows[label, column] = np.array([values.get(seed, np.nan) for seed in self.seeds])
        return found

    @cached_property
    def _rows(self) -> dict[tuple[str, Column], NDArray[np.float64]]:
        return {}

    @cached_property
    def scored_images(self) -> dict[Shots, int]:
        """The fewest images that a trial of each regime was scored on."""
        found: dict[Shots, int] = {}
        for record in self.every:
            if record.data is not None:
                count = record.data.scored_images
                found[record.shots] = min(count, found.get(record.shots, count))
        return found

    @cached_property
    def every(self) -> list[Record]:
        """All records of the page."""
        return [record for group in self.cells.values() for record in group]

    @cached_property
    def seeds(self) -> list[int]:
        """All seeds of the page."""
        return sorted({record.seed for record in self.every})

    @cached_property
    def split(self) -> str:
        """What was scored: test, or validation."""
        return " and ".join(sorted({record.split for record in self.every})) or "test"

    @cached_property
    def metrics(self) -> list[str]:
        """All metrics that a record holds: accuracy first, then as named, noise by size."""
        names = {name for record in self.every for name in record.metrics}
        names |= {END + term for record in self.every for term in record.curves}
        return sorted(names, key=lambda m: (m.partition("@")[0] != "accuracy", m.partition("@")[0], Column(1, m).noise))


def arrange(
    task: Task,
    records: Iterable[Record],
    expected: Iterable[tuple[str, Shots]] = (),
    kind_of: Callable[[Record], Kind] = kind_of,
) -> Grid:
    """The grid of a task's records and planned cells; a row without records is `PLAIN`.

    Raises ValueError where two records stand for one (label, shots, seed).
    """
    cells: dict[tuple[str, Shots], list[Record]] = defaultdict(list)
    kinds: dict[str, Kind] = {}
    for record in sorted(records, key=lambda r: r.sort_key):
        group = cells[record.label, record.shots]
        if group and group[-1].seed == record.seed:
            raise ValueError(f"two records of {record.label}, {record.shots}, seed {record.seed}")
        group.append(record)
        kinds[record.label] = max(kinds.get(record.label, PLAIN), kind_of(record), key=KINDS.index)
    planned = {*cells, *expected}
    labels = sorted({label for label, _ in planned})
    shots = tuple(sorted({s for _, s in planned}, key=size))
    grid = Grid((), shots, dict(cells), _main_blocks(task, shots, dict(cells)))
    rows = (_rows(grid, kind, [label for label in labels if kinds.get(label, PLAIN) == kind]) for kind in KINDS)
    return replace(grid, rows=tuple(part for part in rows if part.labels))


def _rows(grid: Grid, kind: Kind, labels: list[str]) -> RankedRows:
    """Rows by mean rank; those without any come last, by name."""
    scored = [label for label in labels if any(grid.cell(label, column).values for column in grid.columns)]
    if not kind.ranked or not scored:
        return RankedRows(kind, tuple(labels))
    there = [[1.0 if grid.cell(label, column).values else np.nan for column in grid.columns] for label in scored]
    common = tuple(column for column, taken in zip(grid.columns, panel(there)[1], strict=True) if taken)
    scores = np.stack([grid.matrix(scored, column) for column in common], axis=1)
    inside, seeds = panel(scores.mean(axis=1))
    block = scores[inside][:, :, seeds]
    ranks = dict(zip(np.array(scored)[inside].tolist(), mean_ranks(block), strict=True))
    for row in np.flatnonzero(~inside):
        mine = scores[row][:, seeds]
        places = 1 + (block > mine).sum(axis=0) + (block == mine).sum(axis=0) / 2
        if (has := ~np.isnan(mine)).any():
            ranks[scored[row]] = Interval(float(places[has].mean()), None, int(has.any(axis=0).sum()))
    order = sorted(labels, key=lambda label: (label not in ranks, ranks[label].mean if label in ranks else 0.0, label))
    return RankedRows(kind, tuple(order), common, ranks)


def images_per_class(grid: Grid) -> dict[Shots, float]:
    """Images per class of every regime, fewest first: full data's are the records' own; left out where none says."""
    found: dict[Shots, float] = {}
    for shots in grid.shots:
        if shots != FULL:
            found[shots] = float(shots)
            continue
        for data in (r.data for label in grid.labels for r in grid.records(label, shots) if r.data is not None):
            found[shots] = data.train_images / data.classes
            break
    return dict(sorted(found.items(), key=lambda item: item[1]))


def noise_blocks(grid: Grid) -> list[ColumnBlock]:
    """Accuracy under noise, a block a regime, where records hold it."""
    noisy = [m for m in grid.metrics if m == "accuracy" or (m.startswith("accuracy@") and Column(1, m).noise)]
    if len(noisy) < 2:
        return []
    return [ColumnBlock("noise std", shots, tuple(Column(shots, metric) for metric in noisy)) for shots in grid.shots]


def _main_blocks(
    task: Task, shots: Sequence[Shots], cells: dict[tuple[str, Shots], list[Record]]
) -> tuple[ColumnBlock, ...]:
    """Accuracy in every regime; where the columns run along noise, a block a regime."""
    if task.family.along == "shots":
        return (ColumnBlock("shots", None, tuple(Column(s, "accuracy") for s in shots)),) if shots else ()
    stds = {float(std) for std in task.evaluation.noise} | {0.0}
    names = {name for group in cells.values() for record in group for name in record.metrics}
    stds |= {Column(1, name).noise for name in names if name.startswith("accuracy@")}
    metrics = [f"accuracy@{std:g}" if std else "accuracy" for std in sorted(stds)]
    return tuple(ColumnBlock("noise std", s, tuple(Column(s, metric) for metric in metrics)) for s in shots)


def _cell(records: Sequence[Record], metric: str) -> Cell:
    """Finished trials give values; the others, and values that are not finite, are counted."""
    values, lost = {}, Counter[str]()
    for record in records:
        if record.status != "ok":
            lost[record.status] += 1
        elif math.isfinite(value := value_of(record, metric)):
            values[record.seed] = value
        elif metric in record.metrics or metric.startswith("accuracy"):
            lost["no value"] += 1
    return Cell(values, dict(sorted(lost.items())))
