"""The figure of a page: accuracy against regime or against input noise, with 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jkbench.report.figures import GREY, Style, dress, hold, legend, limits, means, sideways, style
from jkbench.report.grid import Column, ColumnBlock, Grid, images_per_class
from jkbench.report.page import Page
from jkbench.statistics import Interval
from jkbench.tasks.shots import FULL, per_class

WIDTH = 8.2
MOST_LINES = 10
"""Rows that can still be told apart in one panel."""


def drawn(grid: Grid, baseline: str) -> tuple[str, ...]:
    """The rows that have a line in figures, in the order of the table: all that have a number, up to `MOST_LINES`.

    Of more, the baseline, the references, and the rows that have numbers in the most regimes; where these alone are
    too many, those with their task's own parameters before those with others, the best of these.
    """
    regimes = {label: len({c.shots for c in grid.columns if grid.cell(label, c).values}) for label in grid.labels}
    rows = [label for label in grid.labels if regimes[label]]
    if len(rows) <= MOST_LINES:
        return tuple(rows)
    always = {label for label in rows if label == baseline or label in grid.apart}
    taken: list[str] = []
    for count in sorted({regimes[label] for label in rows}, reverse=True):
        group = [label for label in rows if regimes[label] == count and label not in always]
        group.sort(key=lambda label: "[" in label)  # stable: in the order of the table otherwise
        room = MOST_LINES - len(always) - len(taken)
        if taken and len(group) > room:
            break
        taken += group[: max(room, 0)]
    return tuple(label for label in rows if label in always or label in taken)


def left_out(page: Page) -> str:
    """A sentence on the rows that have no line in figures; empty where none is left out."""
    grid = page.grid
    shown = drawn(grid, page.task.baseline)
    count = sum(any(grid.cell(label, column).values for column in grid.columns) for label in grid.labels)
    if len(shown) == count:
        return ""
    return (
        f"The figure shows {len(shown)} of the {count} rows: those run in the most regimes, preferring the task's "
        "own parameters, then the best. The tables show all rows."
    )


def blocks(grid: Grid) -> list[ColumnBlock]:
    """The blocks that have anything to draw."""
    return [block for block in grid.main if any(grid.cell(r, c).values for r in grid.labels for c in block.columns)]


def draw(page: Page) -> Figure:
    """A panel a block, a line a row; of a single column, a dot a row."""
    grid, held = page.grid, blocks(page.grid)
    rows = drawn(grid, page.task.baseline)
    if [len(block.columns) for block in held] == [1]:
        return _dots(page, held[0].columns[0], rows)
    across = min(len(held), 2)
    down = math.ceil(len(held) / across)
    figure = Figure(figsize=(WIDTH, max(3.2 * down, 0.24 * len(rows) + 1.8) + 0.3), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharey=True)
    shown = []
    for panel, block in zip(panels.flat, held, strict=False):
        shown += _panel(panel, grid, rows, block)
        if len(held) > 1 or block.along == "noise std":
            panel.set_title(per_class(block.shots))
    for panel in panels.flat[len(held) :]:
        panel.set_axis_off()
    for row in panels:
        row[0].set_ylabel(f"{grid.split} accuracy in %")
        hold(row[0], shown, 100, 0, 100)
    legend(figure, panels.flat, [legend_name(grid, label) for label in grid.labels])
    figure.suptitle(page.task.title)
    return figure


def _dots(page: Page, column: Column, rows: Sequence[str]) -> Figure:
    """Means with their intervals, a line a row: one regime makes no curve."""
    grid = page.grid
    figure = Figure(figsize=(WIDTH, 0.3 * len(rows) + 1.4), layout="constrained")
    panel = figure.subplots()
    shown = {label: found for label in rows if (found := grid.cell(label, column).interval) is not None}
    for place, (label, found) in enumerate(shown.items()):
        look = _look(grid, label)
        panel.errorbar(
            100 * found.mean,
            place,
            xerr=100 * (found.half_width or 0.0),
            color=look.colour,
            marker=look.marker,
            capsize=2,
        )
    panel.set_yticks(range(len(shown)), [legend_name(grid, label) for label in shown])
    panel.invert_yaxis()
    panel.set_xlim(limits(shown.values(), 100, 0, 100))
    panel.set_xlabel(f"{grid.split} accuracy in %, {per_class(column.shots)}")
    panel.grid(axis="x", color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)
    figure.suptitle(page.task.title)
    return figure


def _look(grid: Grid, label: str) -> Style:
    """A row's style; a reference is grey."""
    look = style(label)
    return Style(GREY, look.marker, "--") if label in grid.apart else look


def _panel(panel: Axes, grid: Grid, rows: Sequence[str], block: ColumnBlock) -> list[Interval]:
    along = block.along == "shots"
    places = regime_places(grid) if along else [column.noise for column in block.columns]
    points = {
        (label, column): found
        for label in rows
        for column in block.columns
        if (found := grid.cell(label, column).interval) is not None
    }
    draw_rows(panel, grid, rows, dict(zip(block.columns, places, strict=True)), points, 100, log=along)
    names = [str(column.shots) if along else f"{column.noise:g}" for column in block.columns]
    dress(
        panel, places, names, "training images per class" if along else "standard deviation of the input noise", along
    )
    return list(points.values())


def draw_rows(
    panel: Axes,
    grid: Grid,
    rows: Sequence[str],
    places: dict[Column, float],
    points: dict[tuple[str, Column], Interval],
    scale: float,
    log: bool,
) -> None:
    """Each row's means and intervals times ``scale``, shifted sideways so that intervals stay readable."""
    shift = sideways(list(places.values()), len(rows), log)
    for row, label in enumerate(rows):
        there = [(shift(place, row), points[label, c]) for c, place in places.items() if (label, c) in points]
        means(panel, there, _look(grid, label), legend_name(grid, label), scale)


def legend_name(grid: Grid, label: str) -> str:
    """A row's name in a legend."""
    return f"{label} (reference)" if label in grid.apart else label


def regime_places(grid: Grid) -> list[float]:
    """Where the regimes stand: images per class; the full data at its average number, as the records say."""
    known = images_per_class(grid)
    below = max((images for shots, images in known.items() if shots != FULL), default=0.5)
    return [max(known.get(s, 0.0), 1.5 * below) if s == FULL else known[s] for s in grid.shots]
