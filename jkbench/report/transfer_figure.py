"""The second figure of a transfer task: gain over the baseline, and the source head's distance to the teacher."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from jkbench.report.figure import draw_row, legend, png, regime_places, sideways
from jkbench.report.grid import Column
from jkbench.report.page import Page
from jkbench.statistics import Interval

_WIDTH = 9.4
DRIFT = "source_distance"

Points = dict[tuple[str, Column], Interval]


def draw(page: Page) -> bytes | None:
    """The figure as PNG without metadata; None for other kinds of task and where there is nothing to draw."""
    return png(lambda: _figure(page)) if _panels(page) else None


def says(page: Page) -> str:
    """What the figure shows, for those who do not see it."""
    left, right = f"gain over {page.task.baseline} in points", "distance of the source head from the teacher"
    shown = [words for words, there in ((left, _gains(page)), (right, _drift(page))) if there]
    text = " and ".join(shown)
    return f"{text[:1].upper()}{text[1:]}, with 95 % intervals, one line per method"


def _gains(page: Page) -> Points:
    return {key: gain.interval for key, gain in page.gains.cells.items()}


def _drift(page: Page) -> Points:
    grid = page.grid
    cells = {(label, c): grid.cell(label, c) for label in grid.labels for c in (Column(s, DRIFT) for s in grid.shots)}
    return {key: cell.interval for key, cell in cells.items() if cell.interval is not None and cell.interval.mean > 0}


def _panels(page: Page) -> list[Points]:
    return [points for points in (_gains(page), _drift(page)) if points] if page.transfer is not None else []


def _figure(page: Page) -> Figure:
    gains, drift = _gains(page), _drift(page)
    count = len(_panels(page))
    height = max(3.5, 0.24 * len(page.grid.labels) + 1.8)
    figure = Figure(figsize=(_WIDTH if count == 2 else 0.87 * _WIDTH, height), layout="constrained")
    panels = figure.subplots(1, count, squeeze=False)[0]
    for panel, points in zip(panels, _panels(page), strict=True):
        _rows(panel, page, points, 100 if points == gains else 1)
    if gains:
        panels[0].axhline(0, color="black", linewidth=0.8, zorder=1)
        panels[0].set_ylabel(f"gain over {page.task.baseline} in points")
    if drift:
        _log(panels[-1], drift)
        panels[-1].set_ylabel("source head: squared distance to the teacher")
    legend(figure, page.grid, panels)
    figure.suptitle(page.task.title, fontsize=11)
    return figure


def _rows(panel: Axes, page: Page, points: Points, scale: float) -> None:
    """All rows against images per class, shifted sideways so that their intervals stay readable."""
    grid = page.grid
    places = regime_places(grid)
    panel.set_xscale("log")
    shift = sideways(places, len(grid.labels), log=True)
    for row, label in enumerate(grid.labels):
        columns = {column.shots: interval for (name, column), interval in points.items() if name == label}
        there = [(shift(p, row), columns[s]) for p, s in zip(places, grid.shots, strict=True) if s in columns]
        draw_row(panel, grid, label, there, scale)
    panel.set_xticks(places, list(map(str, grid.shots)))
    panel.set_xlim(shift(places[0], 0) / 1.15, shift(places[-1], len(grid.labels) - 1) * 1.15)
    panel.minorticks_off()
    panel.set_xlabel("training images per class")
    panel.grid(axis="y", color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)


def _log(panel: Axes, points: Points) -> None:
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
