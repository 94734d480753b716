"""The second figure of a transfer task: gain over the baseline, the source head's distance to the teacher, negative
transfer and shots to target."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from jkbench.report import transfer_panels
from jkbench.report.figure import draw_row, drawn, legend, png, regime_places, sideways
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
    base = page.task.baseline
    shown = [words for words, there in _parts(page) if there]
    text = " and ".join(shown)
    text = f"{text[:1].upper()}{text[1:]}, with 95 % intervals, one line per method"
    below = [
        words
        for words, there in (
            (f"how many seeds are below {base}", transfer_panels.has_below(page)),
            (f"images per class for the accuracy of {base} at ten times the images", transfer_panels.has_needed(page)),
        )
        if there
    ]
    return f"{text}; below, one line per row: {' and '.join(below)}" if below else text


def _parts(page: Page) -> list[tuple[str, Points]]:
    return [
        (f"gain over {page.task.baseline} in points", _gains(page)),
        ("distance of the source head from the teacher", _drift(page)),
    ]


def _gains(page: Page) -> Points:
    return {key: gain.interval for key, gain in page.gains.cells.items()}


def _drift(page: Page) -> Points:
    grid = page.grid
    cells = {(label, c): grid.cell(label, c) for label in grid.labels for c in (Column(s, DRIFT) for s in grid.shots)}
    return {key: cell.interval for key, cell in cells.items() if cell.interval is not None and cell.interval.mean > 0}


def _panels(page: Page) -> list[Points]:
    return [points for _, points in _parts(page) if points] if page.transfer is not None else []


def _figure(page: Page) -> Figure:
    """Lines above; below them, a line a row, what is counted."""
    gains, drift = _gains(page), _drift(page)
    rows = drawn(page.grid, page.task.baseline)
    above, under = _panels(page), transfer_panels.panels(page)
    tops = max(3.3, 0.24 * len(rows) + 1.2)
    feet = transfer_panels.height(page) if under else 0.0
    figure = Figure(figsize=(_WIDTH, tops + feet + 0.5), layout="constrained")
    grid = figure.add_gridspec(2 if under else 1, 1, height_ratios=[tops + 0.5, feet] if under else None)
    upper = figure.add_subfigure(grid[0])
    panels = upper.subplots(1, len(above), squeeze=False)[0]
    for panel, points in zip(panels, above, strict=True):
        _rows(panel, page, rows, points, 100 if points == gains else 1)
    if gains:
        panels[0].axhline(0, color="black", linewidth=0.8, zorder=1)
        panels[0].set_ylabel(f"gain over {page.task.baseline} in points")
    if drift:
        _log(panels[-1], drift)
        panels[-1].set_ylabel("source head: squared distance to the teacher")
    legend(upper, page.grid, panels)
    upper.suptitle(page.task.title, fontsize=11)
    if under:
        for panel, fill in zip(
            figure.add_subfigure(grid[1]).subplots(1, len(under), squeeze=False)[0], under, strict=True
        ):
            fill(panel)
    return figure


def _rows(panel: Axes, page: Page, rows: tuple[str, ...], points: Points, scale: float) -> None:
    """These rows against images per class, shifted sideways so that their intervals stay readable."""
    grid = page.grid
    places = regime_places(grid)
    panel.set_xscale("log")
    shift = sideways(places, len(rows), log=True)
    for row, label in enumerate(rows):
        columns = {column.shots: interval for (name, column), interval in points.items() if name == label}
        there = [(shift(p, row), columns[s]) for p, s in zip(places, grid.shots, strict=True) if s in columns]
        draw_row(panel, grid, rows, label, there, scale)
    panel.set_xticks(places, list(map(str, grid.shots)))
    panel.set_xlim(shift(places[0], 0) / 1.15, shift(places[-1], len(rows) - 1) * 1.15)
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
