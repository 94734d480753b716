"""The figure of loss terms over training: a panel a term, a line a row."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jkbench.report.figures import COLOURS, MARKERS

if TYPE_CHECKING:
    from jkbench.papers.theory.terms import Curve


def draw(curves: Sequence[Curve]) -> bytes:
    """A PNG; the same curves give the same bytes. Terms are in units of their first value; one that falls
    below a tenth of it has a logarithmic axis."""
    terms = list(dict.fromkeys(curve.term for curve in curves))
    rows = list(dict.fromkeys(curve.row for curve in curves))
    figure = Figure(figsize=(3.1 * len(terms) + 0.6, 3.4), layout="constrained")
    for at, term in enumerate(terms):
        panel = figure.add_subplot(1, len(terms), at + 1)
        for curve in (c for c in curves if c.term == term):
            style = rows.index(curve.row)
            panel.plot(
                curve.steps, curve.values, color=COLOURS[style % len(COLOURS)], marker=MARKERS[style % len(MARKERS)],
                markersize=3.5, linewidth=1.3, label=curve.row,
            )  # fmt: skip
        panel.axhline(1, color="#bbbbbb", linewidth=0.8, zorder=0)
        lowest = min(min(curve.values) for curve in curves if curve.term == term)
        if 0 < lowest < 0.1:
            panel.set_yscale("log")
            panel.yaxis.set_major_formatter("{x:g}")
        else:
            panel.set_ylim(bottom=min(0.0, lowest))
        panel.set_title(f"term {term}", fontsize=9.5)
        panel.set_xlabel("step", fontsize=9)
        if not at:
            panel.set_ylabel("value, of the first step's", fontsize=9)
        panel.tick_params(labelsize=8)
    handles: dict[str, Artist] = {}
    for panel in figure.axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend([handles[row] for row in rows], rows, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content, metadata={"Software": None})
    return content.getvalue()
