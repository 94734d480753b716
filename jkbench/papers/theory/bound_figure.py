"""The figure of the measured transfer bound: the bound and what it bounds, the distance, and the gain, by regime."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jkbench.papers.theory.bound import Regime
from jkbench.report.figures import Style, dress, hold, legend, means, numbered, style
from jkbench.tasks.task import Task


def draw(spaces: Mapping[str, Sequence[Regime]], label: str, task: Task) -> Figure:
    """Three panels over images per class."""
    figure = Figure(figsize=(9.8, 3.8), layout="constrained")
    both, distance, gain = figure.subplots(1, 3)
    one = next(iter(spaces.values()))
    for number, (space, held) in enumerate(spaces.items()):
        look = numbered(number)._replace(line="-")
        _line(both, held, "right", f"bound, {space}", look)
        first = held[0].mean("distance") or 1.0
        values = [regime.mean("distance") / first for regime in held]
        distance.plot(_places(held), values, color=look.colour, marker=look.marker, markersize=5, linewidth=1.3)
    _line(both, one, "source_mean", "E over the source", Style("black", "*", "-"))
    both.set_yscale("log")
    both.set_ylim(*_decades(spaces))
    both.set_title("the bound, and what it bounds")
    both.set_ylabel("squared distance of logits")
    distance.set_ylim(bottom=0)
    distance.set_title("H(source, target)")
    distance.set_ylabel("relative to the first regime")
    _gain(gain, one, label, task.baseline)
    for panel in (both, distance, gain):
        dress(panel, _places(one), [str(regime.shots) for regime in one], "training images per class", log=True)
    legend(figure, [both], both.get_legend_handles_labels()[1], "outside lower center", ncols=3)
    figure.suptitle(f"{task.title}: {label}")
    return figure


def _decades(spaces: Mapping[str, Sequence[Regime]]) -> tuple[float, float]:
    """Whole powers of ten around all that the first panel shows."""
    sides = [side for held in spaces.values() for regime in held for side in regime.sides]
    shown = [value for side in sides for value in (side.right, side.source_mean) if value > 0] or [1.0]
    low, high = math.floor(math.log10(min(shown))), math.ceil(math.log10(max(shown)))
    return 10.0**low, 10.0 ** max(high, low + 1)


def _places(held: Sequence[Regime]) -> list[float]:
    return [regime.images / regime.classes for regime in held]


def _line(panel: Axes, held: Sequence[Regime], name: str, label: str, look: Style) -> None:
    """The mean over seeds as a line, each seed as a faint dot."""
    for place, regime in zip(_places(held), held, strict=True):
        values = [getattr(side, name) for side in regime.sides]
        panel.plot([place] * len(values), values, look.marker, color=look.colour, markersize=3, alpha=0.35)
    values = [regime.mean(name) for regime in held]
    panel.plot(_places(held), values, color=look.colour, marker=look.marker, markersize=5, linewidth=1.3, label=label)


def _gain(panel: Axes, held: Sequence[Regime], label: str, baseline: str) -> None:
    known = [(place, r.gain) for place, r in zip(_places(held), held, strict=True) if r.gain is not None]
    panel.set_title(f"gain of {label} over {baseline}")
    panel.set_ylabel("points of accuracy")
    panel.axhline(0, color="#999999", linewidth=0.8)
    means(panel, known, style(label), label)
    hold(panel, [gain for _, gain in known], 1, -100, 100)
    if not known:
        panel.text(0.5, 0.6, "no records", transform=panel.transAxes, ha="center", color="#777777")
