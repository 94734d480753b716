"""The tables of a page as words: accuracy with costs, gains, fidelity and calibration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from jkbench.report import analysis
from jkbench.report.grid import END, Block, Cell, Column, Grid, noise_blocks
from jkbench.report.wording import DASH, LOST, code, compact, p_value, significant
from jkbench.tasks.shots import Shots, per_class
from jkbench.tasks.task import Task


@dataclass(frozen=True)
class Entry:
    """One cell's words: the number, and beside it what is not as the caption says (n, lost trials) or p."""

    text: str
    aside: str = ""
    bold: bool = False

    @property
    def words(self) -> str:
        """Both on one line."""
        return f"{self.text} ({self.aside})" if self.aside else self.text


@dataclass(frozen=True)
class Row:
    """One row's words: its name, its cells, and its costs where the table has them."""

    label: str
    cells: list[Entry]
    costs: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class View:
    """One table: what all its columns are (``span``), their heads in full and in short, and its rows."""

    title: str
    span: str
    heads: list[str]
    short_heads: list[str]
    ranked: list[Row]
    apart: list[Row]
    cost_heads: list[str] = field(default_factory=list)


def main_view(task: Task, grid: Grid, block: Block) -> View:
    """Accuracy with tie groups in bold, and the costs of a trial."""
    shots = block.shots if block.shots is not None else analysis.priced_regime(grid)
    tied = {column: analysis.ties(grid, column) for column in block.columns}
    usual = analysis.usual_n(main_cells(grid))

    def row(label: str) -> Row:
        cells = [_entry(grid.cell(label, column), usual, 100.0, bold=label in tied[column]) for column in block.columns]
        return Row(label, cells, _cost_words(grid, label, shots, task.baseline))

    heads = ["ms a step", f"× {code(task.baseline)}", "seconds", "peak MiB", "parameters"] if shots is not None else []
    return _view(_title("Accuracy in %", block), grid, block, row, heads)


def _entry(cell: Cell, usual: int | None, scale: float, digits: int = 2, bold: bool = False) -> Entry:
    """``39.55 ± 0.41``, aside its own n where that is not the usual one, and the trials that gave no number."""
    found, aside = cell.interval, []
    text = DASH
    if found is not None:
        text = f"{scale * found.mean:.{digits}f}"
        if found.half_width is not None:
            text += f" ± {scale * found.half_width:.{digits}f}"
        if found.n != usual:
            aside.append(f"n = {found.n}")
    aside += [f"{count} {LOST[reason]}" for reason, count in cell.lost.items()]
    return Entry(text, ", ".join(aside), bold)


def main_cells(grid: Grid) -> list[Cell]:
    """All cells of the main tables."""
    return [grid.cell(label, column) for label in grid.labels for column in grid.columns]


def _title(what: str, block: Block) -> str:
    if block.along == "shots":
        return what
    return f"{what} under input noise, {per_class(block.shots)}"


def _view(title: str, grid: Grid, block: Block, row: Callable[[str], Row], cost_heads: Sequence[str] = ()) -> View:
    along = block.along == "shots"
    short = [str(c.shots) if along else f"{c.noise:g}" for c in block.columns]
    return View(
        title=title,
        span="training images per class" if along else "standard deviation of the input noise",
        heads=[per_class(c.shots) if along else f"std {c.noise:g}" for c in block.columns],
        short_heads=short,
        ranked=[row(label) for label in grid.ranked],
        apart=[row(label) for label in grid.apart],
        cost_heads=list(cost_heads),
    )


def _cost_words(grid: Grid, label: str, shots: Shots | None, baseline: str) -> list[str]:
    if shots is None:
        return []
    found = analysis.price(grid, label, shots, baseline)
    if found is None:
        return [DASH] * 5
    return [
        significant(found.step_ms) + ("" if found.alone else " *"),
        DASH if found.ratio is None else f"{found.ratio:.2f}",
        significant(found.seconds),
        f"{found.peak_memory_mb:,.0f}",
        compact(found.trainable_parameters),
    ]


def gain_views(grid: Grid, gains: analysis.Gains) -> list[View]:
    """Gains over the baseline, a table a block; significant ones in bold."""
    usual = max((gain.interval.n for gain in gains.cells.values()), default=None)

    def words(label: str, column: Column) -> Entry:
        gain = gains.cells.get((label, column))
        if gain is None:
            return Entry(DASH)
        text = f"{100 * gain.interval.mean:+.2f}".replace("-", "−")
        if gain.interval.half_width is not None:
            text += f" ± {100 * gain.interval.half_width:.2f}"
        aside = [f"n = {gain.interval.n}"] if gain.interval.n != usual else []
        if gain.p is not None:
            aside.append(p_value(gain.p))
        return Entry(text, ", ".join(aside), bold=gain.p is not None and gain.p < analysis.LEVEL)

    views = []
    for block in grid.main:
        compared = {label for label, column in gains.cells if column in block.columns}

        def row(label: str, block: Block = block) -> Row:
            return Row(label, [words(label, column) for column in block.columns])

        view = _view(_title("Gain in points", block), grid, block, row)
        ranked = [r for r in view.ranked if r.label in compared]
        apart = [r for r in view.apart if r.label in compared]
        if ranked or apart:
            views.append(View(view.title, view.span, view.heads, view.short_heads, ranked, apart))
    return views


def further_views(task: Task, grid: Grid) -> list[View]:
    """Fidelity, calibration and loss terms a regime; accuracy under noise where it is not the main table."""
    tables = [
        ("agreement", "Agreement with the teacher's labels in %", 100.0, 2),
        ("logit_distance", "Distance to the teacher's logits: sum of squares, mean over images", 1.0, 2),
        ("jacobian_cosine", "Cosine of the student's and the teacher's input gradients of the correct class", 1.0, 3),
        ("jacobian_distance", "Squared distance of these gradients, mean over images", 1.0, 3),
        ("nll", "Negative log-likelihood in nats", 1.0, 3),
        ("ece", "Expected calibration error in %", 100.0, 2),
    ]
    views = []
    for metric, title, scale, digits in tables:
        if metric in grid.metrics:
            block = Block("shots", None, tuple(Column(shots, metric) for shots in grid.shots))
            views.append(plain_view(grid, block, title, scale, digits))
    for metric in grid.metrics:
        term = metric.removeprefix(END)
        if term not in (metric, "ce"):
            block = Block("shots", None, tuple(Column(shots, metric) for shots in grid.shots))
            title = f"Loss term {code(term)}, the last tenth of training in % of its first value"
            views.append(_filled(plain_view(grid, block, title, 100.0, 0)))
    if task.family.along == "shots":
        views += [plain_view(grid, block, _title("Accuracy in %", block), 100.0, 2) for block in noise_blocks(grid)]
    return views


def _filled(view: View) -> View:
    """The same table without the rows that hold nothing."""

    def kept(rows: Sequence[Row]) -> list[Row]:
        return [row for row in rows if any(cell.text != DASH for cell in row.cells)]

    return replace(view, ranked=kept(view.ranked), apart=kept(view.apart))


def plain_view(grid: Grid, block: Block, title: str, scale: float, digits: int) -> View:
    """Means and intervals of a metric, nothing ranked, what was lost not told again."""
    usual = analysis.usual_n(main_cells(grid))

    def row(label: str) -> Row:
        cells = [Cell(grid.cell(label, column).values, {}) for column in block.columns]
        return Row(label, [_entry(cell, usual, scale, digits) for cell in cells])

    return _view(title, grid, block, row)
