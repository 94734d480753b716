"""A paper's table beside ours: published, measured with its interval, the difference, and which claims hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jkbench import planning as plan
from jkbench.errors import UserError
from jkbench.papers.missing import Missing, missing
from jkbench.papers.table import PaperTable
from jkbench.plugins.discovery import Index
from jkbench.plugins.parameters import method_of
from jkbench.records.schema import Outline
from jkbench.records.select import choose
from jkbench.records.store import RecordSet
from jkbench.report.caption import protocol, provenance
from jkbench.report.grid import Column, Grid, arrange
from jkbench.statistics import Interval, mean_interval, prediction_intervals
from jkbench.statistics.groups import Floats
from jkbench.tasks.shots import Shots, parse
from jkbench.tasks.task import Task

Sign = Literal["holds", "does not hold", "not resolved", "not run"]
Size = Literal["holds", "below", "above", "not resolved", "not run"]


@dataclass(frozen=True)
class PaperNumber:
    """One number of the paper beside ours, in points; ``ours`` is None where nothing has been run."""

    row: str
    column: str
    published: float | None
    ours: Interval | None
    recalled: bool = False
    """Whether the published number is from memory."""
    error: float | None = None
    """What the paper prints after the ± of its number, where it does."""

    @property
    def difference(self) -> float | None:
        """Ours minus published."""
        return None if self.ours is None or self.published is None else self.ours.mean - self.published


@dataclass(frozen=True)
class PaperDifference(PaperNumber):
    """A difference of two rows: ours is paired, seed by seed."""

    over: str = ""
    predicted: Interval | None = None
    """Where one more paired run would fall if it had our variance: what the published difference is held against."""

    @property
    def resolved(self) -> bool:
        """Whether our interval excludes zero."""
        return self.ours is not None and self.ours.half_width is not None and abs(self.ours.mean) > self.ours.half_width

    @property
    def sign(self) -> Sign:
        """Whether the difference has the published sign: resolved where our interval excludes zero."""
        if self.ours is None:
            return "not run"
        if self.published is None or not self.resolved:
            return "not resolved"
        return "holds" if (self.ours.mean > 0) == (self.published > 0) else "does not hold"

    @property
    def size(self) -> Size:
        """Whether the published difference could be one more run of ours, and ours is not zero.

        "below" and "above" are ours. Where the published one could be a run of ours, and ours could be zero, nothing is
        resolved.
        """
        if self.ours is None:
            return "not run"
        if self.published is None or self.predicted is None or self.predicted.half_width is None:
            return "not resolved"
        if abs(self.published - self.predicted.mean) > self.predicted.half_width:
            return "below" if self.predicted.mean < self.published else "above"
        return "holds" if self.resolved else "not resolved"


@dataclass(frozen=True)
class Read:
    """The table as one reading of the paper runs it: its cells and gains, by row of the paper."""

    name: str | None
    """None for the table's own rows."""
    says: str
    cells: list[PaperNumber]
    gains: list[PaperDifference]
    labels: Mapping[str, str]
    """The suite's name of each row of the paper."""
    changed: list[str]
    """Rows that run with other parameters than the table's own."""
    not_here: Mapping[str, str]
    """Rows that the task cannot run, with the reason."""

    @property
    def run(self) -> int:
        """Cells that have been run."""
        return sum(cell.ours is not None for cell in self.cells)


@dataclass(frozen=True)
class Reproduction:
    """A page: a task's records as the paper's table, once for each reading that the task runs."""

    table: PaperTable
    task: Task
    readings: list[Read]
    protocol: list[str]
    stale: int
    missing: list[Missing]
    """What the empty cells would take; empty where there is none, or nothing to estimate from."""

    @property
    def known(self) -> bool:
        """Whether any number of this table has been published."""
        return bool(self.table.numbers)

    @property
    def stands_in(self) -> bool:
        """Whether the task is of a shorter protocol than the paper's."""
        return self.task.name != self.table.task

    @property
    def beside(self) -> list[tuple[PaperDifference, ...]]:
        """The same difference in each reading, of those that some reading has measured."""
        same = zip(*(read.gains for read in self.readings), strict=True)
        return [gains for gains in same if any(gain.ours is not None for gain in gains)]


def compare(
    table: PaperTable, task: Task, index: Index, loaded: RecordSet, timed: Iterable[Outline] = ()
) -> Reproduction:
    """The page of a table, from a task's records on test images; the last epoch's numbers.

    ``timed``: more records of this student, which tell how long a step takes.
    """
    rows = {name: rows_of(table, task, index, name) for name in table.readings_of(task.name)}
    labels = dict.fromkeys(label for labelled, _ in rows.values() for label in labelled.values())
    chosen = choose(task, index, loaded, labels=list(labels))
    grid = arrange(task, [record for record in chosen.records if record.status == "ok"])
    wanted = {(label, regime): method_of(label) for label in labels for regime in regimes(table, task)}
    done = {(record.label, record.shots) for record in grid.every}
    return Reproduction(
        table=table,
        task=task,
        readings=[_read(table, task, name, *of_row, grid) for name, of_row in rows.items()],
        protocol=[*protocol(task, grid), *provenance(task, grid)] if grid.every else [],
        stale=chosen.stale,
        missing=missing(task, index, wanted, done, [*loaded.records.values(), *timed]),
    )


def _read(
    table: PaperTable,
    task: Task,
    name: str | None,
    labels: Mapping[str, str],
    not_here: Mapping[str, str],
    grid: Grid,
) -> Read:
    """One reading's cells and gains. labels: of the rows that the task can run; not_here: why it cannot the others."""
    columns = table.columns(task.shots)
    found = {
        (row, column): 100 * grid.matrix([label], _where(table, task, column))[0]
        for row, label in labels.items()
        for column in columns
    }
    cells = [
        PaperNumber(
            row, column, table.numbers.get((row, column)), _interval(found.get((row, column))),
            (row, column) in table.recalled, table.errors.get((row, column)),
        )
        for row in table.methods
        for column in columns
        if (row, column) in table.numbers or not table.numbers
    ]  # fmt: skip
    gains = _gains(table, columns, found)
    methods = table.methods_of(task.name, name)
    return Read(
        name=name,
        says=table.readings[task.name][name].says if name else "",
        cells=cells,
        gains=gains,
        labels={row: labels.get(row, method) for row, method in methods.items()},
        changed=[row for row, method in methods.items() if method != table.methods[row]],
        not_here=not_here,
    )


def rows_of(
    table: PaperTable, task: Task, index: Index, reading: str | None = None
) -> tuple[dict[str, str], dict[str, str]]:
    """The suite's labels of the paper's rows; and why a row cannot be run by this task."""
    labels, not_here = {}, {}
    for row, method in table.methods_of(task.name, reading).items():
        try:
            labels[row] = plan.make(task, index, method).rows[0].label
        except UserError as error:
            not_here[row] = error.message
    return labels, not_here


def _difference(table: PaperTable, row: str, over: str, column: str) -> float | None:
    """The published difference of two rows; None where one of them is not known."""
    pair = table.numbers.get((row, column)), table.numbers.get((over, column))
    return None if pair[0] is None or pair[1] is None else pair[0] - pair[1]


def regimes(table: PaperTable, task: Task) -> list[Shots]:
    """The regimes that the table has columns of."""
    return list(dict.fromkeys(_where(table, task, column).shots for column in table.columns(task.shots)))


def _where(table: PaperTable, task: Task, column: str) -> Column:
    """The regime and the metric of a column of the paper."""
    if table.column == "noise_std":
        std = float(column)
        return Column(task.shots[0], f"accuracy@{std:g}" if std else "accuracy")
    return Column(parse(column), "accuracy")


def _gains(table: PaperTable, columns: Sequence[str], found: Mapping[tuple[str, str], Floats]) -> list[PaperDifference]:
    """The differences that the paper speaks of; in predictions their variances are drawn towards each other."""
    claimed = [
        (row, over, column)
        for row, over in table.gains
        for column in table.gain_columns or columns
        if _difference(table, row, over, column) is not None or not table.numbers
    ]
    ours = {
        (row, over, column): found[row, column] - found[over, column]
        for row, over, column in claimed
        if {(row, column), (over, column)} <= found.keys()
    }
    run = [claim for claim, values in ours.items() if not np.isnan(values).all()]
    predicted = dict(zip(run, prediction_intervals([ours[claim] for claim in run]) if run else (), strict=True))
    return [
        PaperDifference(
            row,
            column,
            _difference(table, row, over, column),
            _interval(ours.get((row, over, column))),
            bool({(row, column), (over, column)} & table.recalled),
            over=over,
            predicted=predicted.get((row, over, column)),
        )
        for row, over, column in claimed
    ]


def _interval(values: Floats | None) -> Interval | None:
    """Over the seeds that have a value; None where there is none."""
    return None if values is None or np.isnan(values).all() else mean_interval(values[~np.isnan(values)])
