"""The figure of the measured transfer bound: the bound and what it bounds, the distance, and the gain, by regime."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jkbench.report.figures import COLOURS, MARKERS
from jkbench.tasks.task import Task

if TYPE_CHECKING:
    from jkbench.papers.theory.bound_page import Regime


def draw(spaces: Mapping[str, Sequence[Regime]], label: str, task: Task) -> bytes:
    """A PNG of three panels over images per class. The same numbers give the same bytes."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams |= {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
        figure = Figure(figsize=(9.8, 3.8), layout="constrained")
        both, distance, gain = figure.subplots(1, 3)
        for (space, held), colour, marker in zip(spaces.items(), COLOURS, MARKERS, strict=False):
            _line(both, held, "right", f"bound, {space}", colour, marker)
            first = held[0].mean("distance") or 1.0
            places, values = _places(held), [regime.mean("distance") / first for regime in held]
            distance.plot(places, values, color=colour, marker=marker, markersize=5, linewidth=1.3)
        _line(both, next(iter(spaces.values())), "source_mean", "E over the source", "black", "*")
        both.set_yscale("log")
        both.set_ylim(*_decades(spaces))
        both.set_title("the bound, and what it bounds")
        both.set_ylabel("squared distance of logits")
        distance.set_ylim(bottom=0)
        distance.set_title("H(source, target)")
        distance.set_ylabel("share of its value at the first regime")
        _gain(gain, next(iter(spaces.values())), label, task.baseline)
        for panel in (both, distance, gain):
            _axes(panel, next(iter(spaces.values())))
        figure.legend(*both.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
        figure.suptitle(f"{task.title}: {label}", fontsize=10)
        content = io.BytesIO()
        FigureCanvasAgg(figure).print_png(content, metadata={"Software": None})
    return content.getvalue()


def _decades(spaces: Mapping[str, Sequence[Regime]]) -> tuple[float, float]:
    """Whole powers of ten around all that the first panel shows."""
    sides = [side for held in spaces.values() for regime in held for side in regime.sides]
    shown = [value for side in sides for value in (side.right, side.source_mean) if value > 0] or [1.0]
    low, high = math.floor(math.log10(min(shown))), math.ceil(math.log10(max(shown)))
    return 10.0**low, 10.0 ** max(high, low + 1)


def _places(held: Sequence[Regime]) -> list[float]:
    return [regime.images / regime.classes for regime in held]


def _line(panel: Axes, held: Sequence[Regime], name: str, label: str, colour: str, marker: str) -> None:
    """The mean over seeds as a line, each seed as a faint dot."""
    for place, regime in zip(_places(held), held, strict=True):
        values = [getattr(side, name) for side in regime.sides]
        panel.plot([place] * len(values), values, marker, color=colour, markersize=3, alpha=0.35)
    means = [regime.mean(name) for regime in held]
    panel.plot(_places(held), means, color=colour, marker=marker, markersize=5, linewidth=1.3, label=label)


def _gain(panel: Axes, held: Sequence[Regime], label: str, baseline: str) -> None:
    known = [(place, r.gain) for place, r in zip(_places(held), held, strict=True) if r.gain is not None]
    panel.set_title(f"gain of {label} over {baseline}")
    panel.set_ylabel("points of accuracy")
    panel.axhline(0, color="#999999", linewidth=0.8)
    if not known:
        panel.text(0.5, 0.6, "no records", transform=panel.transAxes, ha="center", color="#777777")
        return
    panel.errorbar(
        [place for place, _ in known], [gain.mean for _, gain in known],
        yerr=[gain.half_width or 0.0 for _, gain in known],
        color=COLOURS[2], marker="o", markersize=5, linewidth=1.3, elinewidth=0.9, capsize=2,
    )  # fmt: skip


def _axes(panel: Axes, held: Sequence[Regime]) -> None:
    places = _places(held)
    panel.set_xscale("log")
    panel.set_xticks(places, [str(regime.shots) for regime in held])
    panel.set_xlim(min(places) / 1.4, max(places) * 1.4)
    panel.minorticks_off()
    panel.set_xlabel("training images per class")
    panel.grid(axis="y", color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)
