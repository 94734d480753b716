"""The second figure of a transfer task: gain over the baseline and the source head's distance to the teacher; below
them, a line a row, negative transfer and shots to target."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from jkbench.report.accuracy_figure import draw_rows, drawn, legend_name, regime_places
from jkbench.report.figures import COLOURS, MARKERS, dress, hold, legend
from jkbench.report.grid import Column, images_per_class
from jkbench.report.page import Page
from jkbench.report.transfer import Target, Transfer
from jkbench.statistics import Interval, Reached

DRIFT = "source_distance"
_WIDTH = 9.4
_SHADES = LinearSegmentedColormap.from_list("below", ["#ffffff", "#D55E00"])

Intervals = dict[tuple[str, Column], Interval]


def says(page: Page) -> str:
    """What the figure shows, for those who do not see it."""
    base, found = page.task.baseline, page.transfer
    lines = [f"gain over {base} in points"] if _gains(page) else []
    lines += ["squared distance of the source head from the teacher"] if _drift(page) else []
    counted = [f"seeds below {base}"] if found and found.below else []
    counted += [f"images per class to match {base} at ten times the images"] if found and found.needed else []
    text = " and ".join(lines)
    text = f"{text[:1].upper()}{text[1:]}, with 95 % intervals, one line per method"
    return f"{text}; below, one line per row: {' and '.join(counted)}" if counted else text


def panels(page: Page) -> list[Intervals]:
    """What the upper panels show: none for other kinds of task, and where there is nothing to draw."""
    return [points for points in (_gains(page), _drift(page)) if points] if page.transfer is not None else []


def _gains(page: Page) -> Intervals:
    return {key: gain.interval for key, gain in page.gains.items()}


def _drift(page: Page) -> Intervals:
    grid = page.grid
    cells = {(label, c): grid.cell(label, c) for label in grid.labels for c in (Column(s, DRIFT) for s in grid.shots)}
    return {key: cell.interval for key, cell in cells.items() if cell.interval is not None and cell.interval.mean > 0}


def draw(page: Page) -> Figure:
    """Lines above; below them, a line a row, what is counted."""
    rows = drawn(page.grid, page.task.baseline)
    under = counted(page)
    tops = max(3.3, 0.24 * len(rows) + 1.2)
    feet = 0.25 * len(_rows(page)) + 1.1 if under else 0.0
    figure = Figure(figsize=(_WIDTH, tops + feet + 0.5), layout="constrained")
    grid = figure.add_gridspec(2 if under else 1, 1, height_ratios=[tops + 0.5, feet] if under else None)
    upper = figure.add_subfigure(grid[0])
    above = upper.subplots(1, len(panels(page)), squeeze=False)[0]
    if gains := _gains(page):
        _lines(above[0], page, rows, gains, 100)
        above[0].axhline(0, color="black", linewidth=0.8, zorder=1)
        above[0].set_ylabel(f"gain over {page.task.baseline} in points")
        hold(above[0], [found for (label, _), found in gains.items() if label in rows], 100, -100, 100)
    if drift := _drift(page):
        _lines(above[-1], page, rows, drift, 1)
        _log(above[-1], {key: found for key, found in drift.items() if key[0] in rows})
        above[-1].set_ylabel("source head: squared distance to the teacher")
    legend(upper, above, [legend_name(page.grid, label) for label in page.grid.labels])
    upper.suptitle(page.task.title)
    if under:
        lower = figure.add_subfigure(grid[1]).subplots(1, len(under), squeeze=False)[0]
        for panel, fill in zip(lower, under, strict=True):
            fill(panel)
    return figure


def _lines(panel: Axes, page: Page, rows: Sequence[str], points: Intervals, scale: float) -> None:
    """These rows against images per class."""
    grid, places = page.grid, regime_places(page.grid)
    metric = next(iter(points))[1].metric
    columns = {Column(shots, metric): place for shots, place in zip(grid.shots, places, strict=True)}
    draw_rows(panel, grid, rows, columns, points, scale, log=True)
    dress(panel, places, list(map(str, grid.shots)), "training images per class", log=True)


def _log(panel: Axes, points: Intervals) -> None:
    """A logarithmic scale that holds every mean; an interval that reaches zero leaves at the bottom."""
    panel.set_yscale("log")
    means = [interval.mean for interval in points.values()]
    tops = [interval.mean + (interval.half_width or 0.0) for interval in points.values()]
    bottoms = [b for interval in points.values() if (b := interval.mean - (interval.half_width or 0.0)) > 0]
    panel.set_ylim(max(min(bottoms + means), min(means) / 3) / 1.3, max(tops) * 1.3)
    plain = FuncFormatter(lambda value, _: f"{value:g}" if 1e-3 <= value < 1e5 else f"{value:.0e}")
    panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if max(tops) < 1e3 * min(means) else (1.0,)))
    panel.yaxis.set_major_formatter(plain)
    panel.yaxis.set_minor_formatter(NullFormatter())


def counted(page: Page) -> list[Callable[[Axes], None]]:
    """What fills each lower panel."""
    found = page.transfer
    if found is None:
        return []
    fills: list[Callable[[Axes], None]] = [partial(_below, page=page, found=found)] if found.below else []
    if found.needed:
        fills.append(partial(_needed, page=page, found=found, names=not fills))
    return fills


def _rows(page: Page) -> list[str]:
    """All rows of the page with a number, in the order of the table: both panels have the same."""
    found = page.transfer
    counted = {label for label, _ in [*found.below, *found.needed]} if found is not None else set()
    return [label for label in page.grid.labels if label in counted]


def _below(panel: Axes, page: Page, found: Transfer) -> None:
    """Seeds below the baseline of the seeds that have both: a number a regime, the darker the more."""
    rows, columns = _rows(page), page.grid.columns
    for y, label in enumerate(rows):
        for x, column in enumerate(columns):
            count = found.below.get((label, column))
            text = "–" if count is None else f"{count.hits} of {count.n}"
            shade = "#f2f2f2" if count is None else to_hex(_SHADES(0.75 * count.hits / count.n))
            panel.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=shade, edgecolor="white", linewidth=1.5))
            panel.text(x, y, text, ha="center", va="center", fontsize=8)
    panel.set_xlim(-0.5, len(columns) - 0.5)
    panel.set_xticks(range(len(columns)), [str(column.shots) for column in columns])
    panel.tick_params(length=0)
    panel.set_xlabel(f"training images per class\nseeds below {page.task.baseline} (negative transfer)")
    for side in ("left", "bottom"):
        panel.spines[side].set_visible(False)
    _names(panel, page, rows, names=True)


def _needed(panel: Axes, page: Page, found: Transfer, names: bool) -> None:
    """Images per class at which each row is where the baseline is with ten times the images; targets as lines."""
    rows, images = _rows(page), images_per_class(page.grid)
    panel.set_xscale("log")
    for number, goal in enumerate(found.targets):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        panel.axvline(goal.images, color=colour, linewidth=0.8, linestyle="--", zorder=1)
        panel.plot([], [], color=colour, marker=marker, linestyle="none", label=_goal(page, goal))
        for y, label in enumerate(rows):
            reached = found.needed.get((label, goal.many))
            if reached is not None:
                shift = 0.3 * (number - (len(found.targets) - 1) / 2)
                run = [images[s] for s in images if page.grid.cell(label, Column(s, "accuracy")).values]
                _mark(panel, reached, y + shift, run, colour, marker, own=label == page.task.baseline)
    places = sorted(images.values())
    panel.set_xticks(places, [str(shots) for shots in images])
    panel.minorticks_off()
    panel.set_xlim(places[0] / 1.3, places[-1] * 1.3)
    panel.set_xlabel(
        f"images per class to match {page.task.baseline}\nat ten times the images; ◁ or fewer, ▷ not reached"
    )
    panel.grid(axis="x", color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, ncols=2, fontsize=8, handletextpad=0.1)
    _names(panel, page, rows, names)


def _goal(page: Page, goal: Target) -> str:
    return f"as at {goal.many} ({100 * goal.accuracy:.1f} %)"


def _mark(panel: Axes, reached: Reached, y: float, run: list[float], colour: str, marker: str, own: bool) -> None:
    """A row's place and, where there are seeds enough, its interval; an open triangle where the curve ends before."""
    least, most = run[0], run[-1]
    if reached.low is not None and reached.high is not None and not own:
        panel.plot([min(reached.low, most), min(reached.high, most)], [y, y], color=colour, linewidth=0.9)
        ends = [(most, ">")] * math.isinf(reached.high) + [(least, "<")] * (reached.low == least)
        for place, shape in ends:  # the interval goes on
            panel.plot([place], [y], marker=shape, color=colour, markerfacecolor="white", markersize=3.5)
    shape = ">" if math.isinf(reached.at) else "<" if reached.at == least and not own else marker
    fill = "white" if shape in "<>" and shape != marker else colour
    panel.plot([min(reached.at, most)], [y], marker=shape, color=colour, markerfacecolor=fill, markersize=5.5)


def _names(panel: Axes, page: Page, rows: list[str], names: bool) -> None:
    """One line a row, the first on top, named where the panel is the first."""
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_yticks(range(len(rows)), [legend_name(page.grid, row) if names else "" for row in rows])
