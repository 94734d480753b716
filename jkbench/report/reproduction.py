"""A paper's table beside ours: published, measured with its interval, the difference, and what of it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from jkbench import plan
from jkbench.errors import UserError
from jkbench.plugins.discovery import Index
from jkbench.preset import PaperTable
from jkbench.records.schema import Shots
from jkbench.records.store import Loaded
from jkbench.report.caption import caption
from jkbench.report.current import choose
from jkbench.report.grid import arrange
from jkbench.report.markup import render_markdown
from jkbench.statistics import Interval, mean_interval
from jkbench.task import Task

Verdict = Literal["holds", "does not hold", "not resolved", "not run"]


@dataclass(frozen=True)
class Compared:
    """One number of the paper beside ours, in points; ``ours`` is None where nothing has been run."""

    row: str
    column: str
    published: float | None
    ours: Interval | None
    recalled: bool = False
    """Whether the published number is from memory."""

    @property
    def difference(self) -> float | None:
        """Ours minus published."""
        return None if self.ours is None or self.published is None else self.ours.mean - self.published


@dataclass(frozen=True)
class Gain(Compared):
    """A difference of two rows: ours is paired, seed by seed."""

    over: str = ""

    @property
    def sign(self) -> Verdict:
        """Whether the gain has the published sign: resolved where our interval leaves zero out."""
        if self.ours is None:
            return "not run"
        low, high = bounds(self.ours)
        if self.published is None or low is None or high is None or low <= 0 <= high:
            return "not resolved"
        return "holds" if (low > 0) == (self.published > 0) else "does not hold"

    @property
    def size(self) -> Verdict:
        """Whether the published gain lies in our interval. The published number has no interval of its own."""
        if self.ours is None:
            return "not run"
        low, high = bounds(self.ours)
        if self.published is None or low is None or high is None:
            return "not resolved"
        return "holds" if low <= self.published <= high else "does not hold"


@dataclass
class Reproduction:
    """A page: the table's cells and gains, by row of the paper, and how much of it has been run."""

    table: PaperTable
    task: Task
    cells: list[Compared]
    gains: list[Gain]
    caption: list[str]
    stale: int
    labels: Mapping[str, str] = field(default_factory=dict)
    """The suite's name of each row of the paper."""
    not_here: Mapping[str, str] = field(default_factory=dict)
    """Rows that the task cannot run, with the reason."""

    @property
    def known(self) -> bool:
        """Whether any number of this table has been published."""
        return bool(self.table.numbers)

    @property
    def stands_in(self) -> bool:
        """Whether the task is of a shorter protocol than the paper's."""
        return self.task.name != self.table.task

    @property
    def instead(self) -> list[str]:
        """Rows that the task runs with other parameters than the table's own."""
        return list(self.table.instead.get(self.task.name, {}))

    @property
    def run(self) -> int:
        """Cells that have been run."""
        return sum(cell.ours is not None for cell in self.cells)

    def of(self, cells: Sequence[Compared], row: str) -> list[Compared]:
        """The cells of one row, in the paper's order."""
        return [cell for cell in cells if cell.row == row]


def bounds(interval: Interval) -> tuple[float | None, float | None]:
    """The ends of an interval; None where one seed has none."""
    if interval.half_width is None:
        return None, None
    return interval.mean - interval.half_width, interval.mean + interval.half_width


def compare(table: PaperTable, task: Task, index: Index, loaded: Loaded) -> Reproduction:
    """The page of a table, from a task's records on test images; the last epoch's numbers."""
    labels, not_here = rows_of(table, task, index)
    columns = table.columns(task.shots)
    chosen = choose(task, index, loaded, labels=list(labels.values()))
    found: dict[tuple[str, str], dict[int, float]] = {}
    for row, label in labels.items():
        for column in columns:
            shots, metric = _where(table, task, column)
            values = {
                record.seed: 100 * record.metrics[metric]
                for record in chosen.records
                if record.label == label
                and record.shots == shots
                and record.status == "ok"
                and metric in record.metrics
            }
            found[row, column] = values
    cells = [
        Compared(
            row, column, table.numbers.get((row, column)), _interval(list(found.get((row, column), {}).values())),
            (row, column) in table.recalled,
        )
        for row in table.methods
        for column in columns
        if (row, column) in table.numbers or not table.numbers
    ]  # fmt: skip
    gains = [
        Gain(
            row,
            column,
            _difference(table, row, over, column),
            _paired(found, row, over, column),
            bool({(row, column), (over, column)} & table.recalled),
            over,
        )
        for row, over in table.gains
        for column in columns
        if _difference(table, row, over, column) is not None or not table.numbers
    ]
    used = [record for record in chosen.records if record.status == "ok"]
    return Reproduction(
        table, task, cells, gains, caption(task, arrange(task, used)) if used else [], chosen.stale,
        {row: labels.get(row, method) for row, method in table.methods_of(task.name).items()}, not_here,
    )  # fmt: skip


def rows_of(table: PaperTable, task: Task, index: Index) -> tuple[dict[str, str], dict[str, str]]:
    """The suite's labels of the paper's rows; and why a row cannot be run by this task."""
    labels, not_here = {}, {}
    for row, method in table.methods_of(task.name).items():
        try:
            labels[row] = plan.make(task, index, method).rows[0].label
        except UserError as error:
            not_here[row] = error.message
    return labels, not_here


def _difference(table: PaperTable, row: str, over: str, column: str) -> float | None:
    """The published difference of two rows; None where one of them is not known."""
    pair = table.numbers.get((row, column)), table.numbers.get((over, column))
    return None if pair[0] is None or pair[1] is None else pair[0] - pair[1]


def _where(table: PaperTable, task: Task, column: str) -> tuple[Shots, str]:
    """The regime and the metric of a column of the paper."""
    if table.column == "noise_std":
        std = float(column)
        return task.shots[0], f"accuracy@{std:g}" if std else "accuracy"
    return "full" if column == "full" else int(column), "accuracy"


def _interval(values: Sequence[float]) -> Interval | None:
    return mean_interval(values) if values else None


def _paired(found: Mapping[tuple[str, str], Mapping[int, float]], row: str, over: str, column: str) -> Interval | None:
    mine, theirs = found.get((row, column), {}), found.get((over, column), {})
    return _interval([mine[seed] - theirs[seed] for seed in sorted(mine.keys() & theirs.keys())])


def render(page: Reproduction) -> str:
    """The page as Markdown. The same records give the same bytes."""
    return render_markdown("reproduction.md.j2", page=page, number=_published, ours=_ours, signed=_signed)


def _published(cell: Compared) -> str:
    return _number(cell.published) + (" (recalled)" if cell.recalled else "")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}".replace("-", "−")


def _ours(interval: Interval | None, signed: bool = False) -> str:
    if interval is None:
        return ""
    mean = _signed(interval.mean) if signed else _number(interval.mean)
    return mean if interval.half_width is None else f"{mean} ± {interval.half_width:.2f}"
