"""The figure of a page: accuracy against regime or against input noise, with 95 % intervals."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure

from jkbench.report.caption import per_shots
from jkbench.report.grid import Block, Grid
from jkbench.report.page import Page
from jkbench.statistics import Interval
from jkbench.tasks.shots import per_class

# Okabe & Ito's colours, told apart with every kind of colour vision; yellow is too faint on white
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*", "<", ">"]
_WIDTH, _DPI = 8.2, 130
MOST_LINES = 10
"""Rows that can still be told apart in one panel."""
_SPREAD = 0.22  # of the distance between neighbours: rows are shifted sideways so that error bars stay readable


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
        f"The figure has lines for {len(shown)} of the {count} rows: those run in the most regimes; where they are too "
        "many, those with the task's own parameters first, then the best of the others. The tables have all."
    )


def draw(page: Page) -> bytes | None:
    """The figure as PNG without metadata; None where no trial has finished."""
    grid = page.grid
    blocks = [block for block in grid.main if any(grid.cell(r, c).values for r in grid.labels for c in block.columns)]
    if not blocks:
        return None
    single = len(grid.columns) == 1
    return png(lambda: _single(grid, blocks[0]) if single else _lines(page, blocks))


def png(make: Callable[[], Figure]) -> bytes:
    """A figure made and saved in the suite's style, whatever the user's own: PNG without metadata."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams |= {"font.size": 9.5, "axes.spines.top": False, "axes.spines.right": False}
        figure = make()
        buffer = io.BytesIO()
        FigureCanvasAgg(figure)
        figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()


def _lines(page: Page, blocks: Sequence[Block]) -> Figure:
    """A panel a block, a line a row."""
    grid = page.grid
    across = min(len(blocks), 2)
    down = math.ceil(len(blocks) / across)
    rows = drawn(grid, page.task.baseline)
    figure = Figure(figsize=(_WIDTH, max(3.2 * down, 0.24 * len(rows) + 1.8) + 0.3), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharey=True)
    for panel, block in zip(panels.flat, blocks, strict=False):
        _panel(panel, grid, rows, block)
        if len(blocks) > 1 or block.along == "noise std":
            panel.set_title(per_class(block.shots), fontsize=9.5)
    for panel in panels.flat[len(blocks) :]:
        panel.set_axis_off()
    for row in panels:
        row[0].set_ylabel(f"{grid.split} accuracy in %")
    legend(figure, grid, panels.flat)
    figure.suptitle(page.task.title, fontsize=11)
    return figure


def legend(figure: Figure | SubFigure, grid: Grid, panels: Iterable[Axes]) -> None:
    """One legend for all panels, to their right: the rows that are drawn, in the order of the table."""
    shown = {
        label: handle for panel in panels for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    ordered = [label for label in map(legend_name(grid), grid.labels) if label in shown]
    figure.legend(
        [shown[label] for label in ordered], ordered, loc="outside right center", frameon=False, handlelength=2.8
    )


def _panel(panel: Axes, grid: Grid, rows: Sequence[str], block: Block) -> None:
    along = block.along == "shots"
    places = regime_places(grid) if along else [column.noise for column in block.columns]
    if along:
        panel.set_xscale("log")
    shifts = sideways(places, len(rows), along)
    for row, label in enumerate(rows):
        points = [
            (place, grid.cell(label, column).interval) for place, column in zip(places, block.columns, strict=True)
        ]
        draw_row(
            panel, grid, rows, label, [(shifts(place, row), found) for place, found in points if found is not None], 100
        )
    panel.set_xticks(places, [str(column.shots) if along else f"{column.noise:g}" for column in block.columns])
    if along:  # regimes that have not been run have their place, and no point is cut off
        low, high = panel.get_xlim()
        panel.set_xlim(min(low, shifts(places[0], 0) / 1.1), max(high, shifts(places[-1], len(rows) - 1) * 1.1))
    panel.minorticks_off()
    panel.set_xlabel("training images per class" if along else "standard deviation of the input noise")
    panel.grid(axis="y", color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)


def draw_row(
    panel: Axes, grid: Grid, rows: Sequence[str], label: str, points: Sequence[tuple[float, Interval]], scale: float
) -> None:
    """A row's means and intervals, times ``scale``, in the colour, marker and line that it has among these rows."""
    if not points:  # nothing of it has been run here
        return
    _, colour, marker, line = row_styles(rows)[rows.index(label)]
    apart = label in grid.apart
    panel.errorbar(
        [place for place, _ in points],
        [scale * interval.mean for _, interval in points],
        yerr=[scale * (interval.half_width or 0.0) for _, interval in points],
        label=legend_name(grid)(label),
        color="#777777" if apart else colour,
        linestyle="--" if apart else line,
        marker=marker,
        markersize=5,
        linewidth=1.3,
        elinewidth=0.9,
        capsize=2,
    )


def legend_name(grid: Grid) -> Callable[[str], str]:
    """A row's name in a legend."""
    return lambda label: f"{label} (reference)" if label in grid.apart else label


def _single(grid: Grid, block: Block) -> Figure:
    """One column only: a dot and an interval a row, the best on top."""
    figure = Figure(figsize=(_WIDTH, 0.32 * len(grid.labels) + 1.3), layout="constrained")
    panel = figure.subplots()
    column = block.columns[0]
    for row, (label, colour, marker, _) in enumerate(row_styles(grid.labels)):
        found = grid.cell(label, column).interval
        if found is not None:
            width, mean = 100 * (found.half_width or 0.0), 100 * found.mean
            shade = "#777777" if label in grid.apart else colour
            panel.errorbar([mean], [row], xerr=[width], color=shade, marker=marker, capsize=2.5, linestyle="none")
    names = list(map(legend_name(grid), grid.labels))
    panel.set_yticks(range(len(names)), names)
    panel.invert_yaxis()
    panel.set_xlabel(f"{grid.split} accuracy in %, {per_class(column.shots)}")
    panel.grid(axis="x", color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)
    return figure


def regime_places(grid: Grid) -> list[float]:
    """Where the regimes stand: images per class; the full data at its average number, as the records say."""
    numbers = []
    for shots, counts in per_shots(grid, lambda r: round(r.data.train_images / r.data.classes) if r.data else None):
        if shots != "full":
            numbers.append(float(shots))
        else:
            below = max(numbers, default=0.5)
            numbers.append(max(float(counts[-1]) if counts else 0.0, 1.5 * below))
    return numbers


def sideways(places: Sequence[float], rows: int, log: bool) -> Callable[[float, int], float]:
    """A function (place, row) → shifted place."""
    scale = np.log(places) if log else np.asarray(places)
    nearest = float(np.diff(scale).min()) if len(places) > 1 else 1.0

    def shift(place: float, row: int) -> float:
        by = nearest * _SPREAD * (2 * row / max(rows - 1, 1) - 1)
        return float(place * np.exp(by)) if log else place + by

    return shift


def row_styles(labels: Sequence[str]) -> list[tuple[str, str, str, str]]:
    """A colour, a marker and a line for each row; rows that share a colour differ in both others."""
    lines = ["-", ":", "-."]
    return [
        (label, COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], lines[i // len(COLOURS) % len(lines)])
        for i, label in enumerate(labels)
    ]
