"""What is counted in the second figure of a transfer task: negative transfer and shots to target, a line a row."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.patches import Rectangle

from jkbench.report.figure import COLOURS, MARKERS
from jkbench.report.grid import Column
from jkbench.report.page import Page
from jkbench.report.transfer import Target, Transfer, images_per_class
from jkbench.statistics import Reached

_SHADES = LinearSegmentedColormap.from_list("below", ["#ffffff", "#D55E00"])


def has_below(page: Page) -> bool:
    """Whether any seed can be held against the baseline's."""
    return page.transfer is not None and bool(page.transfer.below)


def has_needed(page: Page) -> bool:
    """Whether images to a target are counted."""
    return page.transfer is not None and bool(page.transfer.needed)


def panels(page: Page) -> list[Callable[[Axes], None]]:
    """What fills each panel."""
    found = page.transfer
    if found is None:
        return []
    fills: list[Callable[[Axes], None]] = []
    if has_below(page):
        fills.append(partial(_below, page=page, found=found))
    if has_needed(page):
        fills.append(partial(_needed, page=page, found=found, names=not fills))
    return fills


def height(page: Page) -> float:
    """Of these panels, in inches."""
    return 0.25 * len(_rows(page)) + 1.1


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
    _lines(panel, page, rows, names=True)


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
        f"images per class for the accuracy of {page.task.baseline}\nat ten times the images; ◁ or fewer, ▷ not reached"
    )
    panel.grid(axis="x", color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, ncols=2, fontsize=8, handletextpad=0.1)
    _lines(panel, page, rows, names)


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


def _lines(panel: Axes, page: Page, rows: list[str], names: bool) -> None:
    """One line a row, the first on top, named where the panel is the first."""
    panel.set_ylim(len(rows) - 0.5, -0.5)
    apart = page.grid.apart
    panel.set_yticks(
        range(len(rows)), [f"{r} (reference)" if r in apart else r for r in rows] if names else [""] * len(rows)
    )
