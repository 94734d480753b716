"""One task's page as words and tables, for every format that shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from jkbench.report import analysis
from jkbench.report.caption import caption
from jkbench.report.checks import disagreements, one_protocol
from jkbench.report.chosen import Chosen
from jkbench.report.grid import Block, Cell, Column, Grid, arrange, noise_blocks
from jkbench.report.wording import DASH, LOST, code, compact, listed, p_value, per_class, plural, significant
from jkbench.task import Task

BOLD = "Bold: cannot be told from the best of its column (paired t-tests over common seeds, Holm, 5 %)."


@dataclass(frozen=True)
class Entry:
    """One cell's words."""

    text: str
    bold: bool = False


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


@dataclass(frozen=True)
class Page:
    """Everything that a page says, in words with names in backticks."""

    task: Task
    grid: Grid
    gains: analysis.Gains
    count: int
    tables: list[View]
    notes: list[str]
    caption: list[str]
    gain_tables: list[View]
    gain_notes: list[str]
    resolution: list[str]
    further: list[View]
    lost: list[str]
    counts: list[str]
    problems: list[str]
    best: list[str]


def compose(chosen: Chosen) -> Page:
    """The page of a task; records that may not share its table are left out and counted."""
    task = chosen.task
    records, left_out = one_protocol(task, chosen.records)
    grid = arrange(task, records, chosen.expected or ())
    gains = analysis.gains(grid, task.baseline)
    return Page(
        task=task,
        grid=grid,
        gains=gains,
        count=len(records),
        tables=[main_view(task, grid, block) for block in grid.main],
        notes=_notes(task, grid),
        caption=caption(task, grid),
        gain_tables=_gain_views(grid, gains),
        gain_notes=_gain_notes(task, grid, gains),
        resolution=_resolution(grid),
        further=_further(task, grid),
        lost=[
            f"{code(r.label)}, {per_class(r.shots)}, seed {r.seed}: {LOST[r.status]}" + _last_line(r.message)
            for r in records
            if r.status != "ok"
        ],
        counts=_counts(chosen, grid),
        problems=[*left_out, *disagreements(records)],
        best=_best(grid),
    )


def main_view(task: Task, grid: Grid, block: Block) -> View:
    """Accuracy with tie groups in bold, and the costs of a trial."""
    shots = block.shots if block.shots is not None else analysis.priced_regime(grid)
    tied = {column: analysis.ties(grid, column) for column in block.columns}
    usual = analysis.usual_n(_cells(grid, grid.main))

    def row(label: str) -> Row:
        cells = [
            Entry(cell_words(grid.cell(label, column), usual, 100.0), label in tied[column]) for column in block.columns
        ]
        return Row(label, cells, _cost_words(grid, label, shots, task.baseline))

    heads = ["ms a step", f"× {code(task.baseline)}", "seconds", "peak MiB", "parameters"] if shots is not None else []
    return _view(_title("Accuracy in %", block), grid, block, row, heads)


def cell_words(cell: Cell, usual: int | None, scale: float, digits: int = 2) -> str:
    """``39.55 ± 0.41``, and where it is not what the caption says ``(n = 3, 2 diverged)``."""
    found, aside = cell.interval, []
    text = DASH
    if found is not None:
        text = f"{scale * found.mean:.{digits}f}"
        if found.half_width is not None:
            text += f" ± {scale * found.half_width:.{digits}f}"
        if found.n != usual:
            aside.append(f"n = {found.n}")
    aside += [f"{count} {LOST[reason]}" for reason, count in cell.lost.items()]
    return f"{text} ({', '.join(aside)})" if aside else text


def _cells(grid: Grid, blocks: Sequence[Block]) -> list[Cell]:
    return [grid.cell(label, column) for label in grid.labels for block in blocks for column in block.columns]


def _title(what: str, block: Block) -> str:
    if block.along == "shots":
        return what
    return f"{what} under input noise, {per_class(block.shots)}"


def _view(title: str, grid: Grid, block: Block, row: Callable[[str], Row], cost_heads: Sequence[str] = ()) -> View:
    along = block.along == "shots"
    short = [("full" if c.shots == "full" else str(c.shots)) if along else f"{c.noise:g}" for c in block.columns]
    return View(
        title=title,
        span="training images per class" if along else "standard deviation of the input noise",
        heads=[per_class(c.shots) if along else f"std {c.noise:g}" for c in block.columns],
        short_heads=short,
        ranked=[row(label) for label in grid.ranked],
        apart=[row(label) for label in grid.apart],
        cost_heads=list(cost_heads),
    )


def _cost_words(grid: Grid, label: str, shots: int | str | None, baseline: str) -> list[str]:
    if shots is None:
        return []
    found = analysis.price(grid, label, shots, baseline)  # type: ignore[arg-type]
    if found is None:
        return [DASH] * 5
    return [
        significant(found.step_ms) + ("" if found.alone else " *"),
        DASH if found.ratio is None else f"{found.ratio:.2f}",
        significant(found.seconds),
        f"{found.peak_memory_mb:,.0f}",
        compact(found.trainable_parameters),
    ]


def _notes(task: Task, grid: Grid) -> list[str]:
    """How to read the main table."""
    usual = analysis.usual_n(_cells(grid, grid.main))
    if usual is None:
        return ["No finished trial yet."]
    everywhere = {len(cell.values) for cell in _cells(grid, grid.main) if cell.values} == {usual}
    over = f"n = {plural(usual, 'seed')}" + ("" if everywhere else " unless the cell says otherwise")
    measure = "mean ± half-width of the 95 % t-interval" if usual > 1 else "mean"
    notes = [f"Accuracy in %: {measure}, {over}; only finished trials are averaged.", BOLD]
    if usual == 1:
        notes.append("With one seed nothing can be told apart, so nothing is ranked.")
    if not grid.common:
        notes.append("No column is complete, so the rows stand in alphabetical order.")
    elif len(grid.common) == len(grid.columns):
        notes.append("Rows by their mean rank over all columns.")
    else:
        notes.append(f"Rows by their mean rank over the {plural(len(grid.common), 'column')} that all of them have.")
    if grid.apart:
        notes.append(f"Upper references, which see more data, are not ranked: {listed(grid.apart)}.")
    return notes + _cost_notes(task, grid)


def _cost_notes(task: Task, grid: Grid) -> list[str]:
    regimes = [block.shots if block.shots is not None else analysis.priced_regime(grid) for block in grid.main]
    prices = [analysis.price(grid, label, s) for s in regimes if s is not None for label in grid.labels]
    found = [price for price in prices if price is not None]
    if not found:
        return []
    where = "of the table's regime" if grid.main[0].shots is not None else f"at {per_class(regimes[0])}"
    notes = [f"Costs: medians over the finished trials {where}; seconds are training alone, without evaluation."]
    if all(price.alone for price in found):
        notes.append("All timings were taken alone: no other trial ran on the device.")
    else:
        notes.append("Timings marked * were not all taken alone: other trials ran on the device at the same time.")
    if len({price.machines for price in found}) > 1:
        notes.append(f"Timings come from several kinds of device; × {code(task.baseline)} stands only within one.")
    return notes


def _gain_views(grid: Grid, gains: analysis.Gains) -> list[View]:
    usual = max((gain.interval.n for gain in gains.cells.values()), default=None)

    def words(label: str, column: Column) -> Entry:
        gain = gains.cells.get((label, column))
        if gain is None:
            return Entry(DASH)
        text = f"{100 * gain.interval.mean:+.2f}".replace("-", "−")
        if gain.interval.half_width is not None:
            text += f" ± {100 * gain.interval.half_width:.2f}"
        aside = ([f"n = {gain.interval.n}"] if gain.interval.n != usual else []) + (
            [] if gain.p is None else [p_value(gain.p)]
        )
        return Entry(f"{text} ({', '.join(aside)})" if aside else text, gain.p is not None and gain.p < analysis.LEVEL)

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


def _gain_notes(task: Task, grid: Grid, gains: analysis.Gains) -> list[str]:
    base = code(task.baseline)
    if task.baseline not in grid.labels:
        return [f"There is no row {base} to count gains from."]
    if not gains.cells:
        return [f"No other row shares a finished trial with {base}."]
    notes = [f"Paired difference from {base} over common seeds, in points of accuracy, with its 95 % t-interval."]
    if gains.smallest_p is None:
        return [*notes, "One seed allows neither an interval nor a test."]
    how = "exact" if gains.exact else "random"
    notes.append(
        f"p: {how} sign flips of {plural(gains.seeds, 'seed')} with the maximum statistic, adjusted for the one family "
        f"of all {plural(gains.tests, 'comparison')} on this page. Bold: p below 0.05."
    )
    if gains.smallest_p >= analysis.LEVEL:
        notes.append(
            f"{plural(gains.seeds, 'seed')}: the smallest attainable p is {gains.smallest_p:.4g}, so no gain can be "
            "significant; use at least 6."
        )
    return notes


def _resolution(grid: Grid) -> list[str]:
    """What the table can and cannot tell apart."""
    sentences = []
    for block in grid.main:
        parts, counts = [], set()
        for column in block.columns:
            found, comparisons = analysis.resolution(grid, column)
            if found is not None:
                place = per_class(column.shots) if block.along == "shots" else f"std {column.noise:g}"
                far = "more than 100" if found > 1 else f"{100 * found:.2f}"
                parts.append(f"{far} ({place})")
                counts.add(comparisons)
        if parts:
            where = "" if block.along == "shots" else f" at {per_class(block.shots)}"
            many = "–".join(map(str, sorted({min(counts), max(counts)})))
            sentences.append(
                f"This table separates methods at least so many points apart at 80 % power{where}: {', '.join(parts)}; "
                f"smaller differences may well go unseen. (Paired t-test at 5 %, Bonferroni over {many} comparisons with "
                "the best row; standard deviation of paired differences pooled over all pairs of rows, as estimated "
                "from these seeds.)"
            )
    return sentences or ["Nothing: with fewer than two seeds or two rows no difference can be resolved."]


def _further(task: Task, grid: Grid) -> list[View]:
    """Fidelity and calibration a regime; accuracy under noise where it is not the main table."""
    tables = [
        ("agreement", "Agreement with the teacher's labels in %", 100.0, 2),
        ("nll", "Negative log-likelihood in nats", 1.0, 3),
        ("ece", "Expected calibration error in %", 100.0, 2),
    ]
    views = []
    for metric, title, scale, digits in tables:
        if metric in grid.metrics:
            block = Block("shots", None, tuple(Column(shots, metric) for shots in grid.shots))
            views.append(_plain_view(grid, block, title, scale, digits))
    if task.kind != "robustness":
        views += [_plain_view(grid, block, _title("Accuracy in %", block), 100.0, 2) for block in noise_blocks(grid)]
    return views


def _plain_view(grid: Grid, block: Block, title: str, scale: float, digits: int) -> View:
    usual = analysis.usual_n(_cells(grid, grid.main))

    def row(label: str) -> Row:
        cells = [Cell(grid.cell(label, column).values, {}) for column in block.columns]
        return Row(label, [Entry(cell_words(cell, usual, scale, digits)) for cell in cells])

    return _view(title, grid, block, row)


def _last_line(message: str | None) -> str:
    lines = (message or "").strip().splitlines()
    return f": {code(lines[-1])}" if lines else ""


def _counts(chosen: Chosen, grid: Grid) -> list[str]:
    """Records that are not shown and cells that are empty."""
    found = []
    if chosen.stale:
        is_are = "is" if chosen.stale == 1 else "are"
        found.append(f"{plural(chosen.stale, 'record')} of earlier code, task or revision {is_are} left out.")
    missing = [(label, shots) for label, shots in chosen.expected or () if not _has(grid, label, shots)]
    if missing:
        names = listed(f"{label} at {per_class(shots)}" for label, shots in missing)
        found.append(f"{plural(len(missing), 'planned cell')} not run: {names}.")
    return found


def _has(grid: Grid, label: str, shots: str) -> bool:
    return any(name == label and str(s) == shots and group for (name, s), group in grid.cells.items())


def _best(grid: Grid) -> list[str]:
    """The tie groups of the main table in words, columns of the same group together."""
    found: dict[tuple[str, str], list[str]] = {}
    for block in grid.main:
        for column in block.columns:
            tied = analysis.ties(grid, column)
            scored = sum(bool(grid.cell(label, column).values) for label in grid.ranked)
            names = [label for label in grid.ranked if label in tied]
            words = listed(names) if len(names) <= 3 else f"{len(names)} of {scored} tied"
            along = block.along == "shots"
            where = found.setdefault(("" if along else f"{per_class(block.shots)}, std ", words), [])
            if names:
                where.append(per_class(column.shots) if along else f"{column.noise:g}")
    return [f"{prefix}{', '.join(places)}: {words}" for (prefix, words), places in found.items() if places]
