"""The figure of a paper's table: what it claims of differences, and what each reading gives, with 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jkbench.papers.compare import PaperGain, Read, Reproduction
from jkbench.report.figures import COLOURS, MARKERS, sideways
from jkbench.report.figures import save as png

_AXES = {"per_class": "training images per class", "noise_std": "standard deviation of the input noise"}


def draw(page: Reproduction) -> bytes | None:
    """The figure as PNG without metadata; None where no difference has been run."""
    return png(lambda: _figure(page)) if _pairs(page) else None


def says(page: Reproduction) -> str:
    """What the figure shows, for those who do not see it."""
    whose = "published (dashed, without intervals) and measured" if page.known else "measured"
    return f"Differences of rows in points, {whose} with 95 % intervals, one panel a difference"


def _pairs(page: Reproduction) -> list[tuple[str, str]]:
    """Differences that some reading has measured, in the paper's order."""
    there = {(gain.row, gain.over) for read in page.readings for gain in read.gains if gain.ours is not None}
    return [pair for pair in page.table.gains if pair in there]


def _figure(page: Reproduction) -> Figure:
    pairs = _pairs(page)
    across = min(len(pairs), 4 if len(pairs) > 3 else 3)
    down = math.ceil(len(pairs) / across)
    figure = Figure(figsize=(max(3.0 * across, 5.0) + 0.4, 2.9 * down + 0.7), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharey=True)
    for panel, pair in zip(panels.flat, pairs, strict=False):
        _panel(panel, page, pair)
    for panel in panels.flat[len(pairs) :]:
        panel.set_axis_off()
    for row in panels:
        row[0].set_ylabel("difference in points")
    handles = {
        label: handle for panel in panels.flat for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    names = ["published", *(f"{_name(read)}{seeds}" for read in page.readings for seeds in ("", " (one seed)"))]
    order = [name for name in names if name in handles]
    widest = 0.7 + 0.085 * max(map(len, order))  # inches of an entry, its marker and its gap
    ncols = max(1, min(len(order), int(figure.get_figwidth() // widest)))
    figure.legend([handles[name] for name in order], order, loc="outside lower center", ncols=ncols, frameon=False)
    return figure


def _panel(panel: Axes, page: Reproduction, pair: tuple[str, str]) -> None:
    """One difference: the paper's numbers as a line, each reading's with intervals, shifted sideways."""
    of = [[gain for gain in read.gains if (gain.row, gain.over) == pair] for read in page.readings]
    columns = [gain.column for gain in of[0]]
    panel.axhline(0, color="black", linewidth=0.8, zorder=1)
    known = [(place, gain.published) for place, gain in enumerate(of[0]) if gain.published is not None]
    if known:
        panel.plot(
            *zip(*known, strict=True), color="#555555", linestyle="--", marker="_", markersize=11, label="published"
        )
    shift = sideways(list(range(len(columns))), len(of), log=False)
    for number, (read, gains) in enumerate(zip(page.readings, of, strict=True)):
        places = [shift(place, number) if len(of) > 1 else float(place) for place in range(len(columns))]
        _reading(panel, read, number, list(zip(places, gains, strict=True)))
    panel.set_xticks(range(len(columns)), columns)
    panel.set_xlim(-0.5, len(columns) - 0.5)
    panel.set_xlabel(_AXES.get(page.table.column, page.table.column))
    panel.set_title(" − ".join(pair), fontsize=9.5)
    panel.grid(axis="y", color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)


def _reading(panel: Axes, read: Read, number: int, gains: Sequence[tuple[float, PaperGain]]) -> None:
    """A reading's means and intervals; hollow where there is one seed, and so no interval."""
    for hollow in (False, True):
        there = [(place, ours) for place, gain in gains if (ours := gain.ours) and (ours.half_width is None) == hollow]
        if there:
            panel.errorbar(
                [place for place, _ in there],
                [ours.mean for _, ours in there],
                yerr=[ours.half_width or 0.0 for _, ours in there],
                label=_name(read) + (" (one seed)" if hollow else ""),
                color=COLOURS[number % len(COLOURS)],
                markerfacecolor="white" if hollow else None,
                marker=MARKERS[number % len(MARKERS)],
                linestyle="none",
                markersize=5,
                elinewidth=1.1,
                capsize=0 if hollow else 2.5,
            )


def _name(read: Read) -> str:
    return read.name or "measured"
