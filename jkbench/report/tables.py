"""The tables of a page: accuracy with costs, gains, fidelity and calibration, parameters."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace

from jkbench.records.schema import Record
from jkbench.report import analysis
from jkbench.report.document import Entry, Head, RowGroup, Table, table
from jkbench.report.grid import END, Cell, Column, ColumnBlock, Grid, RankedRows, noise_blocks
from jkbench.report.wording import DASH, LOST, code, compact, measured, p_value, settings, significant, slug
from jkbench.statistics import Interval
from jkbench.tasks.shots import per_class
from jkbench.tasks.task import Task

COSTS = 5
"""Columns of costs."""


def main_table(
    task: Task, grid: Grid, block: ColumnBlock, ties: Mapping[Column, analysis.Ties], prices: analysis.Prices
) -> Table:
    """Accuracy with tie groups in bold, and the costs of a trial."""
    shots = block.shots if block.shots is not None else prices.regime
    usual = analysis.usual_n(main_cells(grid))
    costs = ["ms a step", f"× {code(task.baseline)}", "seconds", "peak MiB", "parameters"] if shots is not None else []

    def row(label: str) -> list[Entry]:
        cells = [
            _entry(grid.cell(label, column), usual, 100.0, bold=label in ties[column].tied) for column in block.columns
        ]
        if shots is None:
            return cells
        return cells + _costs(prices.of.get((label, shots)), prices.of.get((task.baseline, shots)))

    name = _named("accuracy", block)
    return of_rows(_title("Accuracy in %", block), name, [*heads(block), *map(Head, costs)], grid, row)


def of_rows(
    title: str,
    name: str,
    columns: Sequence[Head],
    grid: Grid,
    row: Callable[[str], Sequence[Entry]],
    there: Container[str] | None = None,
    notes: Sequence[str] = (),
) -> Table:
    """A table with a row a method, a group a kind of rows; of the rows in ``there`` where that is given."""

    def group(rows: RankedRows) -> RowGroup:
        shown = [label for label in rows.labels if there is None or label in there]
        return RowGroup(tuple((Entry(code(label)), *row(label)) for label in shown), rows.kind.title)

    groups = tuple(part for part in map(group, grid.rows) if part.rows)
    return Table(title, (Head("method", "left"), *columns), groups, tuple(notes), name)


def heads(block: ColumnBlock) -> list[Head]:
    """A heading a column of the block."""
    if block.along == "shots":
        over = "training images per class"
        return [Head(per_class(column.shots), short=str(column.shots), over=over) for column in block.columns]
    over = "standard deviation of the input noise"
    return [Head(f"std {column.noise:g}", short=f"{column.noise:g}", over=over) for column in block.columns]


def _entry(cell: Cell, usual: int | None, scale: float, digits: int = 2, bold: bool = False) -> Entry:
    """``39.55 ± 0.41``, aside its own n where that is not the usual one, and the trials that gave no number."""
    found, aside = cell.interval, []
    if found is not None and found.n != usual:
        aside.append(f"n = {found.n}")
    aside += [f"{count} {LOST[reason]}" for reason, count in cell.lost.items()]
    text = measured(found and found.scaled(scale), digits) or DASH
    return Entry(text, ", ".join(aside), bold, found.mean if found is not None else None)


def main_cells(grid: Grid) -> list[Cell]:
    """All cells of the main tables."""
    return [grid.cell(label, column) for label in grid.labels for column in grid.columns]


def _title(what: str, block: ColumnBlock) -> str:
    return what if block.along == "shots" else f"{what} under input noise, {per_class(block.shots)}"


def _named(what: str, block: ColumnBlock) -> str:
    return what if block.along == "shots" else f"{what}-noise-{block.shots}"


def _costs(found: analysis.Price | None, baseline: analysis.Price | None) -> list[Entry]:
    if found is None:
        return [Entry(DASH)] * COSTS
    ratio = found.over(baseline)
    return [
        Entry(significant(found.step_ms) + ("" if found.alone else " *"), value=found.step_ms),
        Entry(DASH if ratio is None else f"{ratio:.2f}", value=ratio),
        Entry(significant(found.seconds), value=found.seconds),
        Entry(f"{found.peak_memory_mb:,.0f}", value=found.peak_memory_mb),
        Entry(
            compact(found.trainable_parameters),
            aside=f"{compact(found.deployed_parameters)} deployed" if found.deployed_parameters else "",
            value=found.trainable_parameters,
        ),
    ]


def gain_tables(task: Task, grid: Grid, gains: dict[tuple[str, Column], analysis.Gain]) -> list[Table]:
    """Gains over the baseline, a table a block, significant ones in bold; then with intervals over images too."""
    usual = max((gain.interval.n for gain in gains.values()), default=None)

    def entry(found: Interval | None, p: float | None) -> Entry:
        if found is None:
            return Entry(DASH)
        aside = [f"n = {found.n}"] if found.n != usual else []
        if p is not None:
            aside.append(p_value(p))
        return Entry(
            measured(found.scaled(100), sign=True), ", ".join(aside), p is not None and p < analysis.LEVEL, found.mean
        )

    over_seeds = {key: entry(gain.interval, gain.p) for key, gain in gains.items()}
    over_both = {key: entry(gain.both, None) for key, gain in gains.items() if gain.both is not None}
    words = f"Gain over {code(task.baseline)} in points"
    tables = []
    for what, name, cells in ((words, "gain", over_seeds), (f"{words}: seeds and images", "gain-images", over_both)):
        for block in grid.main:
            compared = {label for label, column in cells if column in block.columns}

            def row(
                label: str, block: ColumnBlock = block, cells: dict[tuple[str, Column], Entry] = cells
            ) -> list[Entry]:
                return [cells.get((label, column), Entry(DASH)) for column in block.columns]

            if compared:
                tables.append(of_rows(_title(what, block), _named(name, block), heads(block), grid, row, compared))
    return tables


def parameter_table(grid: Grid, records: Sequence[Record]) -> Table:
    """Every row's parameters and the hash of its code, in the order of the table."""
    first = {record.label: record for record in reversed(records)}
    rows = [
        (code(label), code(first[label].code), settings(first[label].parameters))
        for label in grid.labels
        if label in first
    ]
    note = f"Each weight multiplies one loss term; {code('code')} is the hash of the method's file without comments."
    columns: list[str | Head] = ["method", "code", Head("parameters", "text")]
    return table(columns, rows, "Parameters", [note], name="parameters")


_METRICS = [
    ("agreement", "Agreement with the teacher's labels in %", 100.0, 2),
    ("logit_distance", "Distance to the teacher's logits: sum of squares, mean over images", 1.0, 2),
    ("jacobian_cosine", "Cosine of student's and teacher's input gradients, correct class", 1.0, 3),
    ("jacobian_distance", "Squared distance of student's and teacher's input gradients, correct class", 1.0, 3),
    ("nll", "Negative log-likelihood in nats", 1.0, 3),
    ("ece", "Expected calibration error in %", 100.0, 2),
]


def further_tables(task: Task, grid: Grid) -> list[Table]:
    """Fidelity, calibration and loss terms a regime; accuracy under noise where it is not the main table."""
    tables = [
        plain_table(grid, along_shots(grid, metric), title, metric.replace("_", "-"), scale, digits)
        for metric, title, scale, digits in _METRICS
        if metric in grid.metrics
    ]
    for metric in grid.metrics:
        term = metric.removeprefix(END)
        if term not in (metric, "ce"):
            title = f"Loss term {code(term)} in the last tenth of training, in % of its first value"
            found = plain_table(grid, along_shots(grid, metric), title, f"term-{slug(term)}", 100.0, 0)
            tables.append(replace(found, groups=tuple(filter(None, map(_filled, found.groups)))))
    if task.family.along == "shots":
        for block in noise_blocks(grid):
            title = _title("Accuracy in %", block)
            tables.append(plain_table(grid, block, title, _named("accuracy", block), 100.0, 2))
    return tables


def _filled(group: RowGroup) -> RowGroup | None:
    """The same group without the rows that hold nothing."""
    rows = tuple(row for row in group.rows if any(entry.text != DASH for entry in row[1:]))
    return RowGroup(rows, group.title) if rows else None


def along_shots(grid: Grid, metric: str) -> ColumnBlock:
    """A metric in every regime."""
    return ColumnBlock("shots", None, tuple(Column(shots, metric) for shots in grid.shots))


def plain_table(grid: Grid, block: ColumnBlock, title: str, name: str, scale: float, digits: int) -> Table:
    """Means and intervals of a metric, nothing ranked; what was lost stands in the main table."""
    usual = analysis.usual_n(main_cells(grid))

    def row(label: str) -> list[Entry]:
        cells = [Cell(grid.cell(label, column).values, {}) for column in block.columns]
        return [_entry(cell, usual, scale, digits) for cell in cells]

    return of_rows(title, name, heads(block), grid, row)
