"""What only a transfer task can say: how often help harms, what images it saves, how far the source head drifts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jkbench.report import analysis
from jkbench.report.grid import Block, Cell, Column, Grid
from jkbench.report.tables import Entry, Row, View, main_cells, plain_view
from jkbench.report.wording import DASH, code, listed, plural, significant
from jkbench.statistics import Reached, reach, share_interval
from jkbench.tasks.shots import Shots, per_class
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
class Part:
    """One table of the section and how to read it."""

    view: View
    notes: list[str]


@dataclass(frozen=True)
class Transfer:
    """The section: numbers by row and column or target, and the same in words. ``notes``: what has no table."""

    below: dict[tuple[str, Column], Below]
    targets: tuple[Target, ...]
    needed: dict[tuple[str, Shots], Reached]
    parts: list[Part]
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
    parts, notes = [], []
    if below:
        parts.append(Part(_below_view(grid, below, task.baseline), _below_notes(grid, below, task.baseline)))
    if needed:
        parts.append(Part(_needed_view(grid, goals, needed, task.baseline), _needed_notes(goals, needed, task)))
    else:
        notes.append(
            f"No regime has ten times the images of another (within {100 * WITHIN:.0f} %) with a finished trial of "
            f"{code(task.baseline)}, so no shots to a target are counted."
        )
    drift = _drift_parts(grid)
    if not drift:
        notes.append(f"Distance of the source head from the teacher: {DASH} (no record of this page holds it).")
    return Transfer(below, goals, needed, [*parts, *drift], notes)


def images_per_class(grid: Grid) -> dict[Shots, float]:
    """Images per class of every regime, fewest first: full data's are the records' own; left out where none says."""
    found: dict[Shots, float] = {}
    for shots in grid.shots:
        data = [r.data for label in grid.labels for r in grid.records(label, shots) if r.data is not None]
        if shots != "full":
            found[shots] = float(shots)
        elif data:
            found[shots] = data[0].train_images / data[0].classes
    return dict(sorted(found.items(), key=lambda item: item[1]))


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


def _rows(grid: Grid, row: Callable[[str], Row], there: set[str]) -> tuple[list[Row], list[Row]]:
    return [row(label) for label in grid.ranked if label in there], [
        row(label) for label in grid.apart if label in there
    ]


def _below_view(grid: Grid, below: dict[tuple[str, Column], Below], baseline: str) -> View:
    def row(label: str) -> Row:
        counts = [below.get((label, column)) for column in grid.columns]
        total = [count for count in counts if count is not None]
        return Row(label, [*map(_of, counts), _of(Below(sum(c.hits for c in total), sum(c.n for c in total)))])

    ranked, apart = _rows(grid, row, {label for label, _ in below})
    shots = [column.shots for column in grid.columns]
    return View(
        title=f"Negative transfer: seeds below {code(baseline)}",
        span="training images per class",
        heads=[*map(per_class, shots), "all regimes"],
        short_heads=[*map(str, shots), "all"],
        ranked=ranked,
        apart=apart,
    )


def _of(count: Below | None) -> Entry:
    return Entry(DASH if count is None else f"{count.hits} of {count.n}")


def _below_notes(grid: Grid, below: dict[tuple[str, Column], Below], baseline: str) -> list[str]:
    n = analysis.usual_n(main_cells(grid)) or max(count.n for count in below.values())
    none, half = 100 * share_interval(0, n)[1], [100 * end for end in share_interval(n // 2, n)]
    notes = [
        f"Seeds in which the row's accuracy is below that of {code(baseline)} at the same seed, of the seeds that have "
        "both. A row that changes nothing but chance is below in about half of them.",
        f"What so many seeds can tell: 0 of {n} leaves open a rate of up to {none:.0f} %, {n // 2} of {n} one from "
        f"{half[0]:.0f} to {half[1]:.0f} % (95 %, Clopper–Pearson).",
    ]
    if len(grid.columns) > 1:
        notes.append(
            "The last column adds up the regimes. It has no interval: seeds are independent, but at one seed the "
            "regimes share initial weights and images."
        )
    return notes


def _needed_view(
    grid: Grid, goals: tuple[Target, ...], needed: dict[tuple[str, Shots], Reached], baseline: str
) -> View:
    images = images_per_class(grid)
    usual = analysis.usual_n(main_cells(grid))

    def row(label: str) -> Row:
        run = [images[shots] for shots in images if grid.cell(label, Column(shots, "accuracy")).values]
        cells = []
        for goal in goals:
            found = needed.get((label, goal.many))
            if found is not None and label == baseline:  # an interval around its own target says nothing
                found = Reached(found.at, None, None, found.n)
            cells += [Entry(DASH)] * 2 if found is None else _needed_words(found, goal, run, usual)
        return Row(label, cells)

    ranked, apart = _rows(grid, row, {label for label, _ in needed})
    percent = [f"{100 * goal.accuracy:.2f} %" for goal in goals]
    return View(
        title=f"Shots to target: images per class for the accuracy that {code(baseline)} has at ten times the images",
        span="images per class to reach the accuracy at so many per class, and the saving",
        heads=[w for g, p in zip(goals, percent, strict=True) for w in (f"as at {per_class(g.many)}: {p}", "saving")],
        short_heads=[w for g, p in zip(goals, percent, strict=True) for w in (f"{g.many}: {p}", "saving")],
        ranked=ranked,
        apart=apart,
    )


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
    return [Entry(text, f"n = {found.n}" if found.n != usual else ""), Entry(saving)]


def _count(images: float) -> str:
    return f"{images:,.0f}" if float(images).is_integer() else significant(images)


def _needed_notes(goals: tuple[Target, ...], needed: dict[tuple[str, Shots], Reached], task: Task) -> list[str]:
    base = code(task.baseline)
    pairs = ", ".join(f"{per_class(goal.many)} for {per_class(goal.few)}" for goal in goals)
    notes = [
        f"Targets: the mean accuracy of {base} at ten times the images ({pairs}). Images needed: where the row's mean "
        "accuracy, linear in the logarithm of the images per class between the regimes that were run, first is there; "
        f"≤: already at the fewest that were run. {base} is there by construction. Saving: the target's images over "
        "those needed; above 1 the row needs fewer.",
    ]
    if any(goal.many == "full" for goal in goals):
        images = next(goal.images for goal in goals if goal.many == "full")
        notes.append(f"Full data counts with its own {_count(images)} images per class.")
    if any(found.low is not None for found in needed.values()):
        notes.append(
            f"In brackets: 95 % percentile bootstrap over seeds (9,999 draws; a seed is drawn for row and {base} "
            "together), which is somewhat too narrow for few seeds."
        )
    else:
        notes.append(f"{plural(max(found.n for found in needed.values()), 'seed')}: too few for an interval.")
    return notes


def _drift_parts(grid: Grid) -> list[Part]:
    start = "A row that does not train this head shows what an untrained one is worth"
    if grid.apart:
        start += f"; that of {listed(grid.apart)} began with weights that had learnt the source, and shows what is left"
    tables = [
        (
            "source_distance",
            "Distance of the source head from the teacher's logits: sum of squares, mean over images",
            1.0,
            "On the scored images, at the last step: the student's head for the teacher's outputs against the "
            f"teacher. {start}.",
        ),
        ("source_agreement", "Images whose largest output of the source head is the teacher's, in %", 100.0, ""),
    ]
    parts = []
    for metric, title, scale, note in tables:
        if metric in grid.metrics:
            block = Block("shots", None, tuple(Column(shots, metric) for shots in grid.shots))
            cells: list[Cell] = [grid.cell(label, column) for label in grid.labels for column in block.columns]
            notes = [note] if note else []
            if any(not cell.values for cell in cells):
                notes.append(f"{DASH}: no record holds it.")
            parts.append(Part(plain_view(grid, block, title, scale, 2), notes))
    return parts
