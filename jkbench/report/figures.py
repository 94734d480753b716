"""How every figure looks: one style for a name wherever it is drawn, one way to draw means with intervals, one to save.

Nothing here depends on the order of rows: a method keeps its colour and its mark in all figures and versions.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.legend import Legend
from matplotlib.ticker import FixedLocator
from PIL import Image

from jkbench import hashing
from jkbench.statistics import Interval

# Okabe & Ito's colours, told apart with every kind of colour vision, without yellow, which is too faint on white; then
# three of Tol's
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#882255", "#999933", "#332288"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*", "<", ">"]
LINES = ["-", "--", "-.", ":"]
SHADES = [(0.5, 0.0), (0.25, 0.0), (0.2, 1.0), (0.4, 1.0)]
"""How much of black (0) or white (1) is mixed into a method's colour for its rows with other parameters."""
GREY = "#777777"
_SEED, _LINE_SEED = 56651, 6440213
"""The suite's first ten methods have colours of their own and solid lines; all of its methods differ."""
CONTENT = "Content"
"""The word in a PNG before the hash of what it shows."""
_SPREAD = 0.22  # of the distance between neighbours: rows are shifted sideways so that error bars stay readable
_MOST = 0.04  # of the axis: no mark stands farther from its place
_DPI = 130


class Style(NamedTuple):
    """How a name is drawn."""

    colour: str
    marker: str
    line: str


def style(name: str) -> Style:
    """The style of a name: the colour is the method's; its shade, the mark and the line are those of its parameters."""
    method, _, parameters = name.partition("[")
    colour, mark = COLOURS[_number(method) % len(COLOURS)], _number(name) // len(COLOURS)
    if not parameters:
        return Style(colour, MARKERS[mark % len(MARKERS)], LINES[_number(name, _LINE_SEED) % len(LINES)])
    shade, towards = SHADES[mark // 40 % len(SHADES)]
    mixed = (1 - shade) * np.array(to_rgb(colour)) + shade * towards
    return Style(to_hex((mixed[0], mixed[1], mixed[2])), MARKERS[mark % len(MARKERS)], LINES[mark // 10 % len(LINES)])


def numbered(place: int) -> Style:
    """The style of one of a few things that are not methods, by their order: such as the readings of a paper."""
    return Style(COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)], "none")


def _number(name: str, seed: int = _SEED) -> int:
    """A number of the name alone, the same everywhere."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {name}".encode(), digest_size=6).digest(), "big")


@contextmanager
def _own_style() -> Iterator[None]:
    """The suite's style, whatever the user's own."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams |= {
            "font.size": 9.5, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 9.5,
            "figure.titlesize": 11, "legend.frameon": False, "svg.hashsalt": "jkbench", "pdf.fonttype": 42,
        }  # fmt: skip
        yield


def save(make: Callable[[], Figure], kind: str = "png") -> bytes:
    """A figure made and saved in the suite's style: PNG, PDF or SVG without a date. A PNG holds its `content`."""
    with _own_style():
        figure = make()
        buffer = io.BytesIO()
        FigureCanvasAgg(figure)
        held = {
            "png": {"Software": None, CONTENT: _content(figure)},
            "pdf": {"CreationDate": None},
            "svg": {"Date": None},
        }
        figure.savefig(buffer, format=kind, dpi=_DPI, metadata=held[kind])
    return buffer.getvalue()


def content(make: Callable[[], Figure]) -> str:
    """A hash of what a figure shows: numbers to six digits, words and colours, whatever fonts a machine has."""
    with _own_style():
        return _content(make())


def held_content(png: Path) -> str:
    """The `content` that a PNG says it has; empty where it says nothing, or is damaged."""
    try:
        with Image.open(png) as opened:
            return str(opened.info.get(CONTENT, ""))
    except OSError:
        return ""


def _content(figure: Figure) -> str:
    words = [text.get_text() for text in figure.texts]
    words += [text.get_text() for legend in figure.findobj(Legend) for text in legend.get_texts()]
    return hashing.of_value([words, *map(_shown, figure.axes)])


def _shown(panel: Axes) -> list[Any]:
    bars = [each.get_segments() if isinstance(each, LineCollection) else [] for each in panel.collections]
    return [
        panel.get_title(),
        _digits(panel.get_xlim(), panel.get_ylim()),
        [(axis.get_label_text(), _ticks(axis)) for axis in (panel.xaxis, panel.yaxis)],
        [(_digits(line.get_xydata()), to_hex(line.get_color()), str(line.get_marker())) for line in panel.lines],
        [_digits(*parts, each.get_offsets()) for parts, each in zip(bars, panel.collections, strict=True)],
        [_digits(patch.get_path().vertices) for patch in panel.patches],
        [(text.get_text(), _digits(text.get_position())) for text in panel.texts],
    ]


def _ticks(axis: Axis) -> list[str]:
    fixed = isinstance(axis.get_major_locator(), FixedLocator)
    return [text.get_text() for text in axis.get_ticklabels()] if fixed else []


def _digits(*parts: Any) -> list[str]:
    numbers = [float(number) for part in parts for number in np.ma.getdata(part).flat]
    return [f"{round(number, 9) + 0.0:.6g}" for number in numbers]


def means(
    panel: Axes, points: Sequence[tuple[float, Interval]], look: Style, label: str, scale: float = 1.0, **more: Any
) -> None:
    """Means and 95 % intervals times ``scale``, joined by a line."""
    if points:
        panel.errorbar(
            [place for place, _ in points],
            [scale * found.mean for _, found in points],
            yerr=[scale * (found.half_width or 0.0) for _, found in points],
            **{
                "label": label, "color": look.colour, "linestyle": look.line, "marker": look.marker, "markersize": 5,
                "linewidth": 1.3, "elinewidth": 0.9, "capsize": 2, **more,
            },
        )  # fmt: skip


def hold(panel: Axes, found: Iterable[Interval], scale: float, low: float, high: float) -> None:
    """Limits of the vertical axis: those of `limits`."""
    if (ends := limits(found, scale, low, high)) is not None:
        panel.set_ylim(*ends)


def limits(found: Iterable[Interval], scale: float, low: float, high: float) -> tuple[float, float] | None:
    """An axis that holds every mean and never leaves ``low`` to ``high``, what a number can be; None of nothing.

    An interval counts up to three times the median one: of two seeds it may be wider than all that is to be seen.
    """
    every = list(found)
    if not every:
        return None
    most = 3 * float(np.median([interval.half_width for interval in every if interval.half_width] or [0.0]))
    ends = [i.mean + sign * min(i.half_width or 0.0, most) for i in every for sign in (-1, 1)]
    margin = 0.05 * (max(ends) - min(ends)) or 0.01
    return max(scale * (min(ends) - margin), low), min(scale * (max(ends) + margin), high)


def dress(panel: Axes, places: Sequence[float], names: Sequence[str], label: str, log: bool = False) -> None:
    """The horizontal axis: a tick a place, and all that is drawn at the outer ones inside; a grid behind the lines."""
    if log:
        panel.set_xscale("log")
        steps = np.diff(np.log(places))
        room = float(1.2 * _SPREAD * min(steps, default=1.0) + 0.02 * steps.sum() + 0.02)
        panel.set_xlim(min(places) * np.exp(-room), max(places) * np.exp(room))
    panel.set_xticks(places, names)
    panel.minorticks_off()
    panel.set_xlabel(label)
    panel.grid(axis="y", color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)


def legend(
    figure: Figure | SubFigure,
    panels: Iterable[Axes],
    names: Sequence[str],
    where: Any = "outside right center",
    **more: Any,
) -> None:
    """One legend for all panels, outside of them, in the order of ``names``."""
    shown: dict[str, Any] = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    order = [name for name in names if name in shown]
    figure.legend([shown[name] for name in order], order, loc=where, handlelength=2.8, **more)


def sideways(places: Sequence[float], rows: int, log: bool) -> Callable[[float, int], float]:
    """A function (place, row) → shifted place."""
    scale = np.log(places) if log else np.asarray(places)
    several = len(places) > 1
    most = min(_SPREAD * float(np.diff(scale).min()), _MOST * float(np.ptp(scale))) if several else _SPREAD

    def shift(place: float, row: int) -> float:
        by = most * (2 * row / max(rows - 1, 1) - 1)
        return float(place * np.exp(by)) if log else place + by

    return shift
