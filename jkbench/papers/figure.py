"""The figure of a paper's table: what it claims of differences, and what each reading gives, with 95 % intervals."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jkbench.papers.compare import Read, Reproduction
from jkbench.report.figures import dress, hold, legend, means, numbered, sideways
from jkbench.statistics import Interval

_AXES = {"per_class": "training images per class", "noise_std": "standard deviation of the input noise"}


def says(page: Reproduction) -> str:
    """What the figure shows, for those who do not see it."""
    whose = "published (dashed, without intervals) and measured" if page.known else "measured"
    return f"Differences of rows in points, {whose} with 95 % intervals, one panel per difference"


def pairs(page: Reproduction) -> list[tuple[str, str]]:
    """Differences that some reading has measured, in the paper's order."""
    there = {(gain.row, gain.over) for read in page.readings for gain in read.gains if gain.ours is not None}
    return [pair for pair in page.table.gains if pair in there]


def draw(page: Reproduction) -> Figure:
    """A panel a difference: the paper's numbers as a line, each reading's with intervals; hollow where one seed gives
    no interval."""
    shown = pairs(page)
    across = min(len(shown), 4 if len(shown) > 3 else 3)
    down = math.ceil(len(shown) / across)
    figure = Figure(figsize=(max(3.0 * across, 5.0) + 0.4, 2.9 * down + 0.7), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharey=True)
    for panel, pair in zip(panels.flat, shown, strict=False):
        _panel(panel, page, pair)
    for panel in panels.flat[len(shown) :]:
        panel.set_axis_off()
    every = [gain for read in page.readings for gain in read.gains if (gain.row, gain.over) in shown]
    published = [Interval(gain.published, None, 1) for gain in every if gain.published is not None]
    hold(panels[0, 0], [*published, *(gain.ours for gain in every if gain.ours)], 1, -100, 100)
    for row in panels:
        row[0].set_ylabel("difference in points")
    names = ["published", *(f"{_name(read)}{seeds}" for read in page.readings for seeds in ("", " (one seed)"))]
    widest = 0.7 + 0.085 * max(map(len, names))  # inches of an entry, its marker and its gap
    ncols = max(1, min(len(names), int(figure.get_figwidth() // widest)))
    legend(figure, panels.flat, names, "outside lower center", ncols=ncols)
    return figure


def _panel(panel: Axes, page: Reproduction, pair: tuple[str, str]) -> None:
    of = [[gain for gain in read.gains if (gain.row, gain.over) == pair] for read in page.readings]
    columns = [gain.column for gain in of[0]]
    places = list(range(len(columns)))
    panel.axhline(0, color="black", linewidth=0.8, zorder=1)
    known = [(place, gain.published) for place, gain in enumerate(of[0]) if gain.published is not None]
    if known:
        panel.plot(
            *zip(*known, strict=True), color="#555555", linestyle="--", marker="_", markersize=11, label="published"
        )
    shift = sideways(places, len(of), log=False)
    for number, (read, gains) in enumerate(zip(page.readings, of, strict=True)):
        own = [shift(place, number) if len(of) > 1 else float(place) for place in places]
        found = [(place, gain.ours) for place, gain in zip(own, gains, strict=True) if gain.ours is not None]
        several = [(place, ours) for place, ours in found if ours.half_width is not None]
        alone = [(place, ours) for place, ours in found if ours.half_width is None]
        look = numbered(number)
        means(panel, several, look, _name(read))
        means(panel, alone, look, f"{_name(read)} (one seed)", markerfacecolor="white", capsize=0)
    dress(panel, places, columns, _AXES.get(page.table.column, page.table.column))
    panel.set_xlim(-0.5, len(columns) - 0.5)
    panel.set_title(" − ".join(pair))


def _name(read: Read) -> str:
    return read.name or "measured"
