"""What only a transfer task can say: how often help harms, what images it saves, how far the source head drifts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from jkbench.report import analysis
from jkbench.report.document import Entry, Head, Table
from jkbench.report.grid import Column, ColumnBlock, Grid, images_per_class
from jkbench.report.tables import along_shots, heads, main_cells, of_rows, plain_table
from jkbench.report.wording import DASH, code, listed, plural, significant
from jkbench.statistics import Reached, reach, share_interval
from jkbench.tasks.shots import FULL, Shots, per_class
from jkbench.tasks.task import Task

TENFOLD = 10
WITHIN = 0.1
"""How far from ten times the images a regime may be to count as its tenfold, as a share: full data seldom is exact."""


@dataclass(frozen=True)
class Below:
    """Of how many seeds ``n`` that have both, how many are below the baseline (negative transfer)."""

    hits: int
    n: int


@dataclass(frozen=True)
class Target:
    """The baseline's mean accuracy (0..1) in a regime with ten times the images of another; both regimes' images."""

    few: Shots
    many: Shots
    images: float
    accuracy: float


@dataclass(frozen=True)
class Transfer:
    """The section: numbers by row and column or target, and their tables. ``notes``: what has no table."""

    below: dict[tuple[str, Column], Below]
    targets: tuple[Target, ...]
    needed: dict[tuple[str, Shots], Reached]
    tables: list[Table]
    notes: list[str]


def transfer(task: Task, grid: Grid) -> Transfer | None:
    """The section of a task whose student learns other labels than its teacher's; None for other kinds of task."""
    if not task.family.other_labels or not grid.labels:
        return None
    below, goals = negative(grid, task.baseline), targets(grid, task.baseline)
    needed = {
        (label, goal.many): found
        for goal in goals
        for label in grid.labels
        if (found := images_needed(grid, label, task.baseline, goal)) is not None
    }
    tables, notes = [], []
    if below:
        tables.append(_below_table(grid, below, task.baseline))
    if needed:
        tables.append(_needed_table(grid, goals, needed, task))
    else:
        notes.append(
            f"Shots to target are not counted: no regime has ten times the images of another (within "
            f"{100 * WITHIN:.0f} %) and a finished trial of {code(task.baseline)}."
        )
    drift = _drift_tables(grid)
    if not drift:
        notes.append("No record of this page holds the distance of the source head from the teacher.")
    return Transfer(below, goals, needed, [*tables, *drift], notes)


def negative(grid: Grid, baseline: str) -> dict[tuple[str, Column], Below]:
    """In how many seeds each row is below the baseline at the same seed; equal is not below."""
    found = {}
    for label in grid.labels:
        for column in grid.columns if label != baseline else ():
            row, base = grid.matrix([label, baseline], column)
            both = ~np.isnan(row - base)
            if both.any():
                found[label, column] = Below(int((row[both] < base[both]).sum()), int(both.sum()))
    return found


def targets(grid: Grid, baseline: str) -> tuple[Target, ...]:
    """For every regime the one whose images are nearest to ten times its own, within `WITHIN`; else none."""
    images, found = images_per_class(grid), []
    for few, count in images.items():
        wanted = TENFOLD * count
        many = min(images, key=lambda shots: abs(images[shots] - wanted))
        interval = grid.cell(baseline, Column(many, "accuracy")).interval
        if interval is not None and abs(images[many] - wanted) <= WITHIN * wanted:
            found.append(Target(few, many, images[many], interval.mean))
    return tuple(found)


def images_needed(grid: Grid, label: str, baseline: str, target: Target) -> Reached | None:
    """Images per class at which a row's mean accuracy first is the baseline's at the target; None where nothing is.

    Over the seeds that have a number in every regime that the row was run in, and one of the baseline at the target.
    """
    images = images_per_class(grid)
    columns = [c for shots in images if grid.cell(label, c := Column(shots, "accuracy")).values]
    if not columns:
        return None
    goal = grid.matrix([baseline], Column(target.many, "accuracy"))
    gaps = np.concatenate([grid.matrix([label], column) for column in columns]) - goal
    gaps = gaps[:, ~np.isnan(gaps).any(axis=0)]
    if not gaps.size:
        return None
    return reach([images[column.shots] for column in columns], gaps.T, np.random.default_rng(0))


# words


def _below_table(grid: Grid, below: dict[tuple[str, Column], Below], baseline: str) -> Table:
    def row(label: str) -> list[Entry]:
        counts = [below.get((label, column)) for column in grid.columns]
        total = [count for count in counts if count is not None]
        return [*map(_of, counts), _of(Below(sum(c.hits for c in total), sum(c.n for c in total)))]

    block = ColumnBlock("shots", None, grid.columns)
    over = heads(block)[0].over
    return of_rows(
        f"Negative transfer: seeds below {code(baseline)}",
        "negative-transfer",
        [*heads(block), Head("all regimes", short="all", over=over)],
        grid,
        row,
        {label for label, _ in below},
        _below_notes(grid, below, baseline),
    )


def _of(count: Below | None) -> Entry:
    return Entry(DASH) if count is None else Entry(f"{count.hits} of {count.n}", value=count.hits / count.n)


def _below_notes(grid: Grid, below: dict[tuple[str, Column], Below], baseline: str) -> list[str]:
    n = analysis.usual_n(main_cells(grid)) or max(count.n for count in below.values())
    none, half = 100 * share_interval(0, n)[1], [100 * end for end in share_interval(n // 2, n)]
    notes = [
        f"Seeds at which the row's accuracy is below that of {code(baseline)}, of the seeds that have both. Chance "
        "alone puts a row below at about half of them.",
        f"With {n} seeds, 0 of {n} is compatible with a true rate of up to {none:.0f} %, and {n // 2} of {n} with one "
        f"from {half[0]:.0f} to {half[1]:.0f} % (95 %, Clopper–Pearson).",
    ]
    if len(grid.columns) > 1:
        notes.append(
            "The last column adds up the regimes. It has no interval, because at one seed the regimes share initial "
            "weights and images."
        )
    return notes


def _needed_table(grid: Grid, goals: tuple[Target, ...], needed: dict[tuple[str, Shots], Reached], task: Task) -> Table:
    images = images_per_class(grid)
    usual = analysis.usual_n(main_cells(grid))
    base = code(task.baseline)

    def row(label: str) -> list[Entry]:
        run = [images[shots] for shots in images if grid.cell(label, Column(shots, "accuracy")).values]
        cells = []
        for goal in goals:
            found = needed.get((label, goal.many))
            if found is not None and label == task.baseline:  # an interval around its own target says nothing
                found = Reached(found.at, None, None, found.n)
            cells += [Entry(DASH)] * 2 if found is None else _needed_words(found, goal, run, usual)
        return cells

    columns = [
        Head(words)
        for goal in goals
        for words in (f"for {100 * goal.accuracy:.2f} % ({base} at {per_class(goal.many)})", "saving")
    ]
    title = f"Shots to target: images per class to match {base} at ten times the images"
    there, notes = {label for label, _ in needed}, _needed_notes(goals, needed, task)
    return of_rows(title, "shots-to-target", columns, grid, row, there, notes)


def _needed_words(found: Reached, goal: Target, run: list[float], usual: int | None) -> list[Entry]:
    """Images needed with their interval, and the saving; ``run`` are the images of the regimes that the row has."""
    least, most = run[0], run[-1]

    def images(place: float, beyond: str) -> str:
        return f"{beyond}{_count(most)}" if math.isinf(place) else f"{'≤ ' if place == least else ''}{_count(place)}"

    text = images(found.at, "not reached by ")
    if found.low is not None and found.high is not None and not (math.isinf(found.low) and math.isinf(found.at)):
        text += f" [{images(found.low, '> ')}, {images(found.high, '> ')}]"
    if math.isinf(found.at):
        saving = f"< {goal.images / most:.2f}"
    else:
        saving = f"{'≥ ' if found.at == least else ''}{goal.images / found.at:.2f}"
    aside = f"n = {found.n}" if found.n != usual else ""
    return [Entry(text, aside, value=found.at), Entry(saving, value=goal.images / found.at)]


def _count(images: float) -> str:
    return f"{images:,.0f}" if float(images).is_integer() else significant(images)


def _needed_notes(goals: tuple[Target, ...], needed: dict[tuple[str, Shots], Reached], task: Task) -> list[str]:
    base = code(task.baseline)
    pairs = ", ".join(f"{per_class(goal.many)} for {per_class(goal.few)}" for goal in goals)
    notes = [
        f"The target is the mean accuracy of {base} at ten times the images ({pairs}). A row reaches it where its mean "
        "accuracy, interpolated linearly in the logarithm of the images per class, first attains it; ≤ marks rows "
        f"that attain it at the smallest regime. {base} reaches its own target by construction. Saving: the target's "
        "images divided by those needed; above 1 the row needs fewer.",
    ]
    if any(goal.many == FULL for goal in goals):
        images = next(goal.images for goal in goals if goal.many == FULL)
        notes.append(f"Full data is {_count(images)} images per class.")
    if any(found.low is not None for found in needed.values()):
        notes.append(
            f"Brackets: 95 % percentile bootstrap over seeds (9,999 draws, row and {base} resampled together). With "
            "few seeds it is somewhat too narrow."
        )
    else:
        notes.append(f"{plural(max(found.n for found in needed.values()), 'seed')} are too few for an interval.")
    return notes


def _drift_tables(grid: Grid) -> list[Table]:
    start = (
        "At the last step, on the scored images. The source head is the student's head for the teacher's outputs. A "
        "row that does not train it shows the value of an untrained head"
    )
    if grid.apart:
        start += f"; {listed(grid.apart)} started from weights trained on the source, and shows how much of it is left"
    tables = [
        ("source_distance", "Distance of the source head from the teacher's logits: sum of squares, mean over images",
         1.0, f"{start}."),
        ("source_agreement", "Images on which source head and teacher have the same largest output, in %", 100.0, ""),
    ]  # fmt: skip
    found = []
    for metric, title, scale, note in tables:
        if metric in grid.metrics:
            block = along_shots(grid, metric)
            missing = any(not grid.cell(label, column).values for label in grid.labels for column in block.columns)
            notes = [*([note] if note else []), *([f"{DASH}: no record has it."] if missing else [])]
            made = plain_table(grid, block, title, metric.replace("_", "-"), scale, 2)
            found.append(replace(made, notes=tuple(notes)))
    return found
