"""One task's page as words and tables, for every format that shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jkbench.records.schema import Record
from jkbench.records.select import Chosen
from jkbench.report import analysis
from jkbench.report.caption import caption
from jkbench.report.checks import disagreements, one_protocol
from jkbench.report.grid import Grid, arrange
from jkbench.report.tables import View, further_views, gain_views, main_cells, main_view
from jkbench.report.transfer import Transfer, transfer
from jkbench.report.wording import LOST, code, listed, plural, settings
from jkbench.tasks.shots import per_class
from jkbench.tasks.task import Task

BOLD = "Bold: cannot be told from the best of its column (paired t-tests over common seeds, Holm, 5 %)."


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
    transfer: Transfer | None
    further: list[View]
    lost: list[str]
    counts: list[str]
    problems: list[str]
    best: list[str]
    settings: list[RowParameters]


@dataclass(frozen=True)
class RowParameters:
    """What a row ran: all parameters of the method in words, and the hash of its code."""

    label: str
    parameters: str
    code: str


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
        gain_tables=gain_views(grid, gains),
        gain_notes=_gain_notes(task, grid, gains),
        resolution=_resolution(grid),
        transfer=transfer(task, grid),
        further=further_views(task, grid),
        lost=[
            f"{code(r.label)}, {per_class(r.shots)}, seed {r.seed}: {LOST[r.status]}: {code(r.reason)}"
            for r in records
            if r.status != "ok"
        ],
        counts=_counts(chosen, grid),
        problems=[*left_out, *disagreements(records)],
        best=_best(grid),
        settings=_settings(grid, records),
    )


def _settings(grid: Grid, records: Sequence[Record]) -> list[RowParameters]:
    """Every row's parameters, in the order of the table."""
    first = {record.label: record for record in reversed(records)}
    return [
        RowParameters(
            label=label,
            parameters=settings(first[label].parameters),
            code=first[label].code,
        )
        for label in grid.labels
        if label in first
    ]


def _notes(task: Task, grid: Grid) -> list[str]:
    """How to read the main table."""
    usual = analysis.usual_n(main_cells(grid))
    if usual is None:
        return ["No finished trial yet."]
    everywhere = {len(cell.values) for cell in main_cells(grid) if cell.values} == {usual}
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
    notes += [
        f"{listed(group)} have the same numbers in every trial: one computation under {len(group)} names, each counted."
        for group in analysis.twins(grid)
    ]
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
        notes.append(
            "All timings were taken with one trial of the run at a time; what else the machine did is not known."
        )
    else:
        notes.append(
            "Timings marked * were taken while other trials of the run were under way; "
            "on CPU, peak memory is the process's."
        )
    if len({price.machines for price in found}) > 1:
        notes.append(f"Timings come from several kinds of device; × {code(task.baseline)} stands only within one.")
    return notes


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
    sentences, counts = [], set()
    for block in grid.main:
        parts = []
        for column in block.columns:
            found, comparisons = analysis.resolution(grid, column)
            if found is not None:
                place = per_class(column.shots) if block.along == "shots" else f"std {column.noise:g}"
                parts.append(f"{'more than 100' if found > 1 else f'{100 * found:.2f}'} ({place})")
                counts.add(comparisons)
        if parts:
            where = "" if block.along == "shots" else f" at {per_class(block.shots)}"
            sentences.append(
                f"This table separates methods at least so many points apart at 80 % power{where}: {', '.join(parts)}."
            )
    if not sentences:
        return ["Nothing: with fewer than two seeds or two rows no difference can be resolved."]
    many = "–".join(map(str, sorted({min(counts), max(counts)})))
    how = f"Smaller differences may well go unseen. (Paired t-test at 5 %, Bonferroni over {many} "
    how += "comparison" if many == "1" else "comparisons"
    how += " with the best row; standard deviation of paired differences pooled over all pairs of rows, as estimated "
    return [*sentences, how + "from these seeds.)"]


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
