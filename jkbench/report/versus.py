"""Two rows beside each other: how far apart, on which images, and how many seeds would settle it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from jkbench.errors import UserError, unknown
from jkbench.records.select import Chosen
from jkbench.report import analysis
from jkbench.report.document import Block, Entry, Table, table
from jkbench.report.grid import Column, Grid
from jkbench.report.page import compose
from jkbench.report.wording import DASH, code, listed, measured, p_value
from jkbench.statistics import (
    Interval,
    McNemar,
    mcnemar,
    mean_interval,
    probability_of_improvement,
    seeds_to_settle,
)
from jkbench.tasks.shots import per_class
from jkbench.tasks.task import Task


@dataclass(frozen=True)
class Versus:
    """The first row minus the second in one column; intervals in the metric's unit."""

    task: Task
    column: Column
    differences: tuple[float, ...]
    """A seed each, of the seeds that both rows have."""
    both: Interval | None
    """Over seeds and test images; None where a trial's predictions are not known."""
    images: McNemar | None
    settled_by: int | None
    """Seeds that tell two rows apart with 80 % power if the gap is the one that was measured."""

    @property
    def seeds(self) -> Interval:
        """Over seeds, for these very test images."""
        return mean_interval(self.differences)

    @property
    def where(self) -> str:
        """The task and the column in words."""
        noise = f", std {self.column.noise:g}" if self.column.noise else ""
        return f"{self.task.name}, {per_class(self.column.shots)}{noise}"


def versus(pages: Sequence[Chosen], first: str, second: str) -> list[Versus]:
    """Two rows wherever both have a finished trial at a common seed. `UserError` where they never do."""
    grids = [(page.task, compose(page).grid) for page in pages]
    names = sorted({label for _, grid in grids for label in grid.labels})
    for name in (first, second):
        if name not in names:
            raise unknown("row", name, names)
    found = [
        each for task, grid in grids for column in grid.columns for each in _one(task, grid, column, first, second)
    ]
    if not found:
        raise UserError(f"{first} and {second} have no seed in common", f"jkbench run --methods '{first},{second}'")
    return found


def _one(task: Task, grid: Grid, column: Column, first: str, second: str) -> list[Versus]:
    a, b = grid.matrix([first, second], column)
    differences = (a - b)[~np.isnan(a - b)]
    if not differences.size:
        return []
    settled, found = None, mean_interval(differences)
    if len(differences) > 1:
        step = analysis.step(grid, column)
        settled = seeds_to_settle(abs(found.mean), float(differences.std(ddof=1)), 2, analysis.POWER, step)
    theirs = analysis.masks(grid, second, column.shots)
    both = analysis.over_images(grid, first, theirs, column)
    right = analysis.paired_right(analysis.masks(grid, first, column.shots), theirs) if both else None
    return [Versus(task, column, tuple(differences), both, mcnemar(*right) if right else None, settled)]


def sentence(found: Versus, first: str, second: str) -> str:
    """What can be said of the two rows in one column, in a sentence."""
    ahead, behind = (first, second) if found.seeds.mean >= 0 else (second, first)
    gap, one_run = abs(100 * found.seeds.mean), found.seeds.half_width is None
    if one_run:
        return f"{found.where}: one seed in common is too few."
    words = f"{code(ahead)} is {gap:.2f} points ahead of {code(behind)}"
    if not _excludes_zero(found.seeds):
        more = f"about {found.settled_by:,} seeds would settle a gap of {gap:.2f} points" if found.settled_by else ""
        more = more or "no number of seeds would settle a gap as small as this"
        return f"{found.where}: {code(first)} and {code(second)} cannot be told apart; {more}."
    if found.both is None:
        return f"{found.where}: {words} on these test images."
    on = "on these test images and on others of the kind" if _excludes_zero(found.both) else "on these test images only"
    return f"{found.where}: {words} {on}."


def _excludes_zero(interval: Interval) -> bool:
    return interval.half_width is not None and abs(interval.mean) > interval.half_width


def blocks(every: Sequence[Versus], first: str, second: str) -> list[Block]:
    """A sentence a column, a table of them, and over several data sets how often the first row is ahead."""
    rows = []
    for found in every:
        right, both = found.images, found.both.scaled(100) if found.both else None
        rows.append([
            found.where, measured(found.seeds.scaled(100), sign=True), measured(both, sign=True) or DASH,
            str(len(found.differences)), f"{right.first_only:,} / {right.second_only:,}" if right else DASH,
            p_value(right.p) if right else DASH, f"{found.settled_by:,}" if found.settled_by else DASH,
        ])  # fmt: skip
    heads = ["where", "over seeds", "over seeds and images", "n", "right alone", "McNemar", "seeds to settle"]
    notes = [
        "Points of accuracy, ± half-width of 95 % intervals, unadjusted. Over seeds: on these test images only. Right "
        f"alone: predictions that only {code(first)} / only {code(second)} has right; McNemar's test holds for these "
        "networks. Seeds to settle: for 80 % power, if the gap is the measured one."
    ]
    sentences: list[Block] = [sentence(found, first, second) for found in every]
    return [*sentences, table(heads, rows, f"{code(first)} − {code(second)}", notes), *_overall(every, first)]


def _overall(every: Sequence[Versus], first: str) -> list[Block]:
    """How often the first row is ahead: regimes of one data set are one family."""
    families: dict[str, list[tuple[float, ...]]] = {}
    for found in every:
        families.setdefault(found.task.target.dataset, []).append(found.differences)
    even = [np.array([row[: min(map(len, rows))] for row in rows]) for rows in families.values()]
    chance = probability_of_improvement(even, np.random.default_rng(0))
    ends = f" ({100 * chance.low:.0f} to {100 * chance.high:.0f} %)" if chance.low is not None and chance.high else ""
    return [f"{code(first)} is ahead at {100 * chance.value:.0f} % of seeds and regimes{ends}, on {listed(families)}."]


def draw(every: Sequence[Versus], first: str, second: str) -> Figure:
    """A line a column: the interval over seeds, thick, on that over seeds and images."""
    figure = Figure(figsize=(7.5, 0.42 * len(every) + 1.2), layout="constrained")
    panel = figure.subplots()
    panel.axvline(0, color="black", linewidth=0.8)
    for place, found in enumerate(every):
        for interval, width, name in ((found.both, 1.2, "over seeds and images"), (found.seeds, 3.5, "over seeds")):
            if interval is not None:
                half = 100 * (interval.half_width or 0.0)
                panel.errorbar(
                    100 * interval.mean, place, xerr=half, color="#0072B2", elinewidth=width, marker="o", markersize=5,
                    capsize=3 if width < 2 else 0, label=name if place == 0 else None,
                )  # fmt: skip
    panel.set_yticks(range(len(every)), [found.where for found in every])
    panel.invert_yaxis()
    panel.set_xlabel(f"{first} − {second}, points of accuracy, 95 % intervals")
    figure.legend(loc="outside upper right", ncols=2)
    return figure


def plans(chosen: Chosen, delta: float) -> Table:
    """How many seeds a difference of ``delta`` points needs in each column, and what the present seeds find.

    Raises `UserError` on a delta that is not above 0, and where no column has two rows of two seeds.
    """
    if not delta > 0:
        raise UserError(f"--delta {delta:g} is not a difference in points", "give a number above 0, such as 0.5")
    grid, rows = compose(chosen).grid, []
    for column in grid.columns:
        if (found := analysis.spread(grid, column)) is None:
            continue
        step = analysis.step(grid, column)
        needed = [seeds_to_settle(delta / 100, found.deviation, k, analysis.POWER, step) for k in (2, found.rows)]
        noise = f", std {column.noise:g}" if column.noise else ""
        gap = f"{100 * found.detectable(step):.2f}"
        cells = [f"{seeds:,}" if seeds else "never" for seeds in needed]
        rows.append(
            [f"{per_class(column.shots)}{noise}", f"{100 * found.deviation:.2f}", str(found.seeds), gap, *cells]
        )
    if not rows:
        raise UserError(
            f"{chosen.task.name} has no two rows with two seeds each",
            f"jkbench run --methods all --task {chosen.task.name}",
        )
    heads = ["regime", "deviation", "seeds now", "found with these", f"seeds for {delta:g}: two rows", "all rows"]
    note = (
        "Points of accuracy, 80 % power at 5 %, by the rule of the bold cells. Deviation: the standard deviation of "
        "paired differences, over all pairs of rows. Never: the difference is one test image or less, or needs more "
        "than 10,000 seeds."
    )
    return table(heads, [list(map(Entry, row)) for row in rows], f"Seeds that {chosen.task.name} needs", [note])
