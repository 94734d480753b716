"""One task's page: its numbers, and the same as a document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from jkbench.records.choices import Choices
from jkbench.records.schema import Record
from jkbench.records.select import Chosen
from jkbench.report import analysis, tuning
from jkbench.report.caption import protocol, provenance
from jkbench.report.checks import apart, contradictions, disagreements, one_protocol
from jkbench.report.document import Block, Bullets, Section, Span, Table, rich
from jkbench.report.grid import Column, Grid, arrange
from jkbench.report.tables import further_tables, gain_tables, main_cells, main_table, parameter_table
from jkbench.report.transfer import Transfer, transfer
from jkbench.report.wording import LOST, code, listed, plural
from jkbench.tasks.shots import per_class
from jkbench.tasks.task import Task

BOLD = "Bold: cannot be distinguished from the best of its column (studentized range over paired seeds, 5 %)."


@dataclass(frozen=True)
class Page:
    """What a page is composed of: the records that may share its table, their tests, and what does not add up."""

    task: Task
    records: list[Record]
    grid: Grid
    ties: dict[Column, analysis.Ties]
    gains: dict[tuple[str, Column], analysis.Gain]
    prices: analysis.Prices
    transfer: Transfer | None
    counts: list[str]
    problems: list[str]
    name: str
    repeated: list[str]
    """How far results of the same trials on other machines lie apart."""
    choices: Choices | None = None
    """How the rows were tuned, on a page of tuned rows."""

    @cached_property
    def protocol(self) -> list[str]:
        """The caption; on a page of its own, what it says of parameters holds for every row."""
        return protocol(self.task, self.grid, () if self.name == self.task.name else self.grid.labels)

    @property
    def tables(self) -> list[Table]:
        """The main tables; the last one has the notes."""
        tables = [main_table(self.task, self.grid, block, self.ties, self.prices) for block in self.grid.main]
        return [*tables[:-1], *(replace(last, notes=tuple(_notes(self))) for last in tables[-1:])]

    @property
    def gain_tables(self) -> list[Table]:
        """Gains over the baseline; the last table has the notes."""
        tables = gain_tables(self.task, self.grid, self.gains)
        return [
            *tables[:-1],
            *(replace(last, notes=tuple(gain_notes(self.task, self.grid, self.gains))) for last in tables[-1:]),
        ]

    @property
    def lost(self) -> list[str]:
        """The trials that did not finish, one a line."""
        return [
            f"{code(r.label)}, {per_class(r.shots)}, seed {r.seed}: {LOST[r.status]}: {code(r.reason)}"
            for r in self.records
            if r.status != "ok"
        ]


def compose(chosen: Chosen) -> Page:
    """The page of a task; records that may not share its table are left out and counted."""
    task = chosen.task
    records, left_out = one_protocol(task, chosen.records)
    grid = arrange(task, records, chosen.expected or ())
    return Page(
        task=task,
        records=records,
        grid=grid,
        ties={column: analysis.ties(grid, column) for column in grid.columns},
        gains=analysis.gains(grid, task.baseline),
        # at equal time all rows cost the same
        prices=analysis.prices(grid) if task.budget is None else analysis.Prices({}, None),
        transfer=transfer(task, grid),
        counts=_counts(chosen, grid),
        problems=[*left_out, *disagreements(task, records), *contradictions(chosen.repeats)],
        name=chosen.name,
        repeated=apart(chosen.repeats),
        choices=chosen.choices if chosen.origin == "tuned" else None,
    )


def summary(page: Page) -> list[Block]:
    """The main tables, what is missing, and what does not add up: what a run shows on the screen."""
    wrong = [(Span(f"Inconsistent: {problem}", "strong"),) for problem in page.problems]
    tables = [replace(table, title=f"{page.task.title}: {table.title}") for table in page.tables]
    return [*tables, Bullets((*page.lost, *page.counts, *wrong))]


def sections(page: Page, below_main: Sequence[Block] = (), of_transfer: Sequence[Block] = ()) -> tuple[Block, ...]:
    """The page's blocks; ``below_main`` stands above the main table, ``of_transfer`` at the head of its section."""
    task, grid = page.task, page.grid
    how, checks = (
        Section("Protocol", (Bullets((*page.protocol, *provenance(task, grid))),)),
        Section("Checks", tuple(_checks(page))),
    )
    counts = Bullets(tuple(page.counts)) if page.counts else ""
    intro = " ".join(task.description.split())
    if not grid.labels:
        return (intro, "No records yet.", how, counts, checks)
    gain: list[Block] = [*page.gain_tables]
    gain = gain or [Section(f"Gain over {code(task.baseline)}", (" ".join(gain_notes(task, grid, page.gains)),))]
    lost = Bullets(tuple(page.lost)) if page.lost else f"None of the {len(page.records):,} trials."
    further, found = further_tables(task, grid), page.transfer
    return (
        intro,
        *below_main,
        *page.tables,
        *gain,
        Section("Detectable differences", tuple(resolution(grid))),
        Section("Transfer", (*of_transfer, *found.tables, *found.notes)) if found else "",
        Section("Fidelity, calibration and loss terms", tuple(further)) if further else "",
        how,
        parameter_table(grid, page.records),
        tuning.section(page.choices) if page.choices else "",
        Section("Unfinished trials", (lost, counts)),
        checks,
    )


def _checks(page: Page) -> list[Block]:
    return [*_consistency(page), Bullets(tuple(page.repeated)) if page.repeated else ""]


def _consistency(page: Page) -> list[Block]:
    if page.problems:
        return [rich("**This table is inconsistent:**"), Bullets(tuple(page.problems))]
    if not page.grid.labels:
        return ["Nothing to check."]
    teacher = "" if page.task.teacher is None else " all rows share one teacher;"
    return [
        "Verified from the records: at every regime and seed all methods share the training images, the initial "
        f"student weights and the order of batches;{teacher} all rows share one data set and one protocol; each row "
        "has one version of its code and one set of parameters; all methods train for the same number of steps."
    ]


def _notes(page: Page) -> list[str]:
    """How to read the main table."""
    grid = page.grid
    usual = analysis.usual_n(main_cells(grid))
    if usual is None:
        return ["No finished trial yet."]
    everywhere = {len(cell.values) for cell in main_cells(grid) if cell.values} == {usual}
    over = f"n = {plural(usual, 'seed')}" + ("" if everywhere else " unless the cell says otherwise")
    measure = "mean ± half-width of the 95 % t-interval" if usual > 1 else "mean"
    notes = [f"Accuracy in %: {measure}, {over}; only finished trials are averaged.", BOLD]
    if usual == 1:
        notes.append("One seed allows no test, so every number is bold.")
    common = grid.rows[0].common
    over = "all columns" if len(common) == len(grid.columns) else plural(len(common), "column")
    partly = any(rank.half_width is None and rank.n > 1 for rank in grid.ranks.values())
    notes.append(
        f"Rows are sorted by their mean rank over {over}"
        + ("; a row that lacks some, by those it has." if partly else ".")
    )
    if any(ties.short for ties in page.ties.values()):
        notes.append(
            "A row with fewer seeds than the others (marked n =) is never bold and is ranked on its own seeds. It does "
            "not change the bold, p or rank of other rows."
        )
    if grid.apart:
        notes.append(f"Upper references see more data and are not ranked: {listed(grid.apart)}.")
    notes += [
        f"{listed(group)} have the same numbers in every trial: they are one computation under {len(group)} names."
        for group in analysis.twins(grid)
    ]
    return notes + _cost_notes(page)


def _cost_notes(page: Page) -> list[str]:
    grid, prices = page.grid, page.prices
    regimes = [prices.regime if block.shots is None else block.shots for block in grid.main]
    found = [price for (_, shots), price in prices.of.items() if shots in regimes]
    if not found:
        return []
    where = "in the table's regime" if grid.main[0].shots is not None else f"at {per_class(regimes[0])}"
    notes = [f"Costs are medians over finished trials {where}; seconds are those of training, without evaluation."]
    if any(price.deployed_parameters for price in found):
        notes.append("“Deployed”: a network of that many parameters is scored instead of the student.")
    if all(price.alone for price in found):
        notes.append("Trials were timed one at a time; other load on the machine is unknown.")
    else:
        notes.append(
            "Timings marked * were taken while other trials of the same run were running. "
            "On a CPU, peak memory is that of the whole process."
        )
    if len({price.machines for price in found}) > 1:
        notes.append(
            f"Timings come from several kinds of machine; × {code(page.task.baseline)} is given only within one: "
            "`jkbench profile` measures all rows on one machine."
        )
    return notes


def gain_notes(task: Task, grid: Grid, gains: dict[tuple[str, Column], analysis.Gain]) -> list[str]:
    """How to read the gains, or why there are none."""
    base = code(task.baseline)
    if task.baseline not in grid.labels:
        return [f"There is no row {base}, so there are no gains."]
    if not gains:
        return [f"No other row shares a seed with {base}, so there are no gains."]
    notes = [
        f"Paired difference from {base} over common seeds, in points of accuracy, ± half-width of its 95 % t-interval."
    ]
    tested = [gain for gain in gains.values() if gain.p is not None]
    if not tested:
        return [*notes, "One seed allows neither an interval nor a test."]
    family = [gain for gain in tested if not gain.short] or tested
    how = []
    if any(not gain.assumes_normal for gain in family):
        how.append("exact sign flips with the maximum statistic, valid if differences are symmetric around zero")
    if any(gain.assumes_normal for gain in family):
        how.append(
            "a t-test with variances shrunk towards their mean and Holm's steps, which assumes normal differences"
        )
    notes.append(
        f"p: {'; with fewer than 6 seeds '.join(how)}; adjusted for all {plural(len(family), 'comparison')} on this "
        "page. Bold: p below 0.05."
    )
    if any(gain.both is not None for gain in gains.values()):
        notes.append(
            "Intervals and p over seeds hold for these test images only; intervals over seeds and images also for "
            "others of the same kind (crossed random effects)."
        )
    return notes


def resolution(grid: Grid) -> list[str]:
    """The smallest differences that the table can detect."""
    sentences, rows, seeds = [], set[int](), set[int]()
    for block in grid.main:
        parts = []
        for column in block.columns:
            if (found := analysis.spread(grid, column)) is not None:
                gap = found.detectable(analysis.step(grid, column))
                where = f"at {per_class(column.shots)}" if block.along == "shots" else f"at std {column.noise:g}"
                parts.append(f"{'more than 100' if gap > 1 else f'{100 * gap:.2f}'} points {where}")
                rows.add(found.rows)
                seeds.add(found.seeds)
        if parts:
            regime = "" if block.along == "shots" else f", {per_class(block.shots)}"
            sentences.append(f"Minimum detectable difference (80 % power){regime}: {', '.join(parts)}.")
    if not sentences:
        return ["None: a test needs two seeds and two rows."]
    return [
        *sentences,
        f"Smaller gaps to the best row may go undetected. By the rule of the bold cells, for {_span(rows)} rows and "
        f"{_span(seeds)} seeds, with the standard deviation of paired differences over all pairs of rows.",
    ]


def _span(counts: set[int]) -> str:
    return "–".join(map(str, sorted({min(counts), max(counts)})))


def _counts(chosen: Chosen, grid: Grid) -> list[str]:
    """Records that are not shown and cells that are empty."""
    found = []
    if chosen.stale:
        is_are = "is" if chosen.stale == 1 else "are"
        found.append(
            f"{plural(chosen.stale, 'record')} of an earlier version of the code or the task {is_are} left out."
        )
    missing = [(label, shots) for label, shots in chosen.expected or () if not grid.records(label, shots)]
    if missing:
        names = listed(f"{label} at {per_class(shots)}" for label, shots in missing)
        found.append(f"{plural(len(missing), 'planned cell')} not run: {names}.")
    return found
