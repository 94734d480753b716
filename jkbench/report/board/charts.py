"""The board's figures as SVG: they stand in the page itself, follow its colours, and need no script."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from matplotlib.ticker import LogLocator, MaxNLocator

from jkbench.report.accuracy_figure import drawn, regime_places
from jkbench.report.analysis import LEVEL
from jkbench.report.figures import style
from jkbench.report.grid import Column, ColumnBlock
from jkbench.report.page import Page
from jkbench.report.render.html import scrolled, tag
from jkbench.report.wording import measured, p_value, signed, significant
from jkbench.statistics import Interval
from jkbench.tasks.shots import per_class

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 640.0, 300.0, 56.0, 12.0, 16.0, 44.0
LINE = 17.0
"""Height of a row of the forest plot."""


@dataclass(frozen=True)
class Axis:
    """Values on a line of the page, from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Where a value lies; one outside lies at the end."""
        scale = math.log if self.log else float
        value = min(max(value, self.low), self.high)
        share = (scale(value) - scale(self.low)) / ((scale(self.high) - scale(self.low)) or 1.0)
        return round(self.start + share * (self.end - self.start), 1)

    @property
    def ticks(self) -> list[float]:
        """Round values inside."""
        locator = LogLocator(subs=(1, 2, 5)) if self.log else MaxNLocator(5)
        return [float(t) for t in locator.tick_values(self.low, self.high) if self.low <= t <= self.high]


def across(low: float, high: float, log: bool = False) -> Axis:
    """The horizontal axis of a figure, with some room at its ends."""
    room = (high / low) ** 0.06 if log else 0.06 * ((high - low) or 1.0)
    ends = (low / (room if room > 1 else 1.2), high * (room if room > 1 else 1.2)) if log else (low - room, high + room)
    return Axis(*ends, LEFT, WIDTH - RIGHT, log)


def up(found: Iterable[Interval]) -> Axis:
    """The vertical axis for accuracies in %, which never leaves 0 to 100."""
    every = list(found)
    halves = sorted(i.half_width or 0.0 for i in every)
    most = 3 * halves[len(halves) // 2]  # of two seeds an interval may be wider than all that is to be seen
    ends = [100 * (i.mean + sign * min(i.half_width or 0.0, most)) for i in every for sign in (-1, 1)]
    room = 0.05 * (max(ends) - min(ends)) or 1.0
    return Axis(max(min(ends) - room, 0.0), min(max(ends) + room, 100.0), HEIGHT - BOTTOM, TOP)


def frame(x: Axis, y: Axis, label: str, side: str, names: Sequence[tuple[float, str]] | None = None) -> str:
    """Axes with ticks and labels; ``names`` are the ticks of the horizontal one, by default its own."""
    parts = []
    for tick in y.ticks:
        at = y.at(tick)
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=at, y2=at, class_="grid"))
        parts.append(tag("text", f"{tick:g}", x=LEFT - 6, y=at + 4, text_anchor="end"))
    shown = [(tick, f"{tick:g}") for tick in x.ticks] if names is None else names
    for value, name in shown:
        at = x.at(value)
        parts.append(tag("line", x1=at, x2=at, y1=y.start, y2=y.start + 4, class_="axis"))
        parts.append(tag("text", name, x=at, y=y.start + 17, text_anchor="middle"))
    parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y.start, y2=y.start, class_="axis"))
    parts.append(tag("text", label, x=(LEFT + WIDTH - RIGHT) / 2, y=y.start + 36, text_anchor="middle"))
    middle = (y.start + y.end) / 2
    parts.append(tag("text", side, x=14, y=middle, text_anchor="middle", transform=f"rotate(-90 14 {middle:g})"))
    return "".join(parts)


def figure(inside: str, title: str, height: float = HEIGHT) -> str:
    """An SVG with its caption."""
    drawing = tag("svg", inside, viewBox=f"0 0 {WIDTH:g} {height:g}", role="img", aria_label=title)
    return tag("figure", scrolled(drawing, title) + tag("figcaption", escape(title)))


def colour(label: str) -> str:
    """A row's colour on a light or a dark page."""
    found = style(label).colour
    return "currentColor" if found == "#000000" else found


SHAPES: dict[str, list[tuple[float, float]]] = {
    "s": [(-1, -1), (1, -1), (1, 1), (-1, 1)], "^": [(0, -1.2), (1.1, 1), (-1.1, 1)],
    "v": [(0, 1.2), (1.1, -1), (-1.1, -1)], "D": [(0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)],
    "<": [(-1.2, 0), (1, -1.1), (1, 1.1)], ">": [(1.2, 0), (-1, -1.1), (-1, 1.1)],
    "P": [(-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4), (0.4, 1.2), (-0.4, 1.2),
          (-0.4, 0.4), (-1.2, 0.4), (-1.2, -0.4), (-0.4, -0.4)],
    "X": [(-1.2, -0.7), (-0.7, -1.2), (0, -0.5), (0.7, -1.2), (1.2, -0.7), (0.5, 0), (1.2, 0.7), (0.7, 1.2),
          (0, 0.5), (-0.7, 1.2), (-1.2, 0.7), (-0.5, 0)],
    "*": [(math.sin(k * math.pi / 5) * (1.5 if k % 2 == 0 else 0.6),
           -math.cos(k * math.pi / 5) * (1.5 if k % 2 == 0 else 0.6)) for k in range(10)],
}  # fmt: skip
"""The signs of rows: one shape for each of matplotlib's markers that rows have, a disc for any other."""
MARK = 4.5


def marks() -> str:
    """All signs, drawn once; `mark` refers to them."""
    drawn = [tag("circle", id="mark", r=MARK)]
    for at, corners in enumerate(SHAPES.values()):
        points = " ".join(f"{MARK * a:.1f},{MARK * b:.1f}" for a, b in corners)
        drawn.append(tag("polygon", id=f"mark{at}", points=points))
    return tag("svg", tag("defs", "".join(drawn)), width=0, height=0, aria_hidden="true", class_="signs")


def mark(label: str, x: float, y: float) -> str:
    """The sign of a row at a point."""
    marker = style(label).marker
    which = str(list(SHAPES).index(marker)) if marker in SHAPES else ""
    return tag("use", href=f"#mark{which}", x=x, y=y)


def row(label: str, told: str, inside: str, **more: str | float | None) -> str:
    """What is drawn of a row; ``told`` is shown where the pointer rests."""
    return tag("g", tag("title", escape(told)) + inside, data_row=label, style=f"--c:{colour(label)}", **more)


def against_images(page: Page, block: ColumnBlock) -> str:
    """Accuracy against images per class, or against noise: means and 95 % intervals, a line a row."""
    grid, along = page.grid, block.along == "shots"
    places = dict(zip(block.columns, regime_places(grid) if along else [c.noise for c in block.columns], strict=True))
    cells = {
        (label, column): found
        for label in drawn(grid, page.task.baseline)
        for column in block.columns
        if (found := grid.cell(label, column).interval) is not None
    }
    if not cells:
        return ""
    x, y = across(min(places.values()), max(places.values()), along), up(cells.values())
    names = [(at, str(c.shots) if along else f"{c.noise:g}") for c, at in places.items()]
    labels = list(dict.fromkeys(label for label, _ in cells))
    parts = [frame(x, y, "training images per class" if along else "std of the input noise", "accuracy in %", names)]
    for place, label in enumerate(labels):
        nudge = 10 * (place / max(len(labels) - 1, 1) - 0.5) if len(labels) > 1 else 0.0
        points = [(x.at(places[c]) + nudge, cells[label, c]) for c in block.columns if (label, c) in cells]
        line = " ".join(f"{at:.1f},{y.at(100 * found.mean):.1f}" for at, found in points)
        inside = tag("polyline", points=line, class_="line", stroke_dasharray="5 4" if label in grid.apart else None)
        inside += _upright(label, points, y)
        told = "; ".join(f"{measured(found.scaled(100))}" for _, found in points)
        parts.append(row(label, f"{label}: {told}", inside))
    where = "" if block.shots is None else f", {per_class(block.shots)}"
    against = "images per class" if along else "input noise"
    return figure("".join(parts), f"Accuracy against {against}{where}: means over seeds and 95 % intervals")


def _upright(label: str, points: Sequence[tuple[float, Interval]], y: Axis) -> str:
    """Vertical intervals, and a sign at each mean."""
    ends = [(found.mean - half, found.mean + half) for _, found in points for half in [found.half_width or 0.0]]
    reach = [f"M{x:.1f} {y.at(100 * low)}V{y.at(100 * high)}" for (x, _), (low, high) in zip(points, ends, strict=True)]
    signs = [mark(label, round(x, 1), y.at(100 * found.mean)) for x, found in points]
    return tag("path", d="".join(reach), class_="whisker") + "".join(signs)


def front(points: dict[str, tuple[float, float]]) -> list[str]:
    """The rows that no other is both cheaper and better than, cheapest first; points are (cost, accuracy)."""
    best, found = -math.inf, []
    for label, (_, accuracy) in sorted(points.items(), key=lambda item: (item[1][0], -item[1][1])):
        if accuracy > best:
            best = accuracy
            found.append(label)
    return found


def against_cost(page: Page, column: Column) -> str:
    """Accuracy against the cost of a step, with the Pareto front of the ranked rows."""
    grid = page.grid
    prices = {label: price for label in grid.labels if (price := page.prices.of.get((label, column.shots)))}
    cells = {label: found for label in prices if (found := grid.cell(label, column).interval) is not None}
    if len(cells) < 2 or len({price.machines for price in prices.values()}) > 1:
        return ""  # times compare on one kind of machine alone
    costs = {label: prices[label].step_ms for label in cells}
    x, y = across(min(costs.values()), max(costs.values()), log=True), up(cells.values())
    on_front = front({label: (costs[label], cells[label].mean) for label in cells if label in grid.ranked})
    corners: list[str] = []
    for label in on_front:
        at = x.at(costs[label])
        corners += [f"{at},{corners[-1].partition(',')[2]}"] if corners else []
        corners.append(f"{at},{y.at(100 * cells[label].mean)}")
    parts = [
        frame(x, y, "milliseconds a step", "accuracy in %"),
        tag("polyline", points=" ".join(corners), class_="front"),
    ]
    named: list[tuple[float, float]] = []
    for label, found in cells.items():
        at, high = x.at(costs[label]), y.at(100 * found.mean) - 6
        free = all(abs(at - a) > 90 or abs(high - b) > 12 for a, b in named)
        named += [(at, high)] if (said := label in on_front and free) else []
        left = at > 0.7 * WIDTH
        told = f"{label}: {measured(found.scaled(100))} %, {significant(costs[label])} ms a step"
        anchor = {"x": at - 8 if left else at + 8, "y": high, "text_anchor": "end" if left else None}
        name = tag("text", escape(label), **anchor) if said else ""
        parts.append(row(label, told, _upright(label, [(at, found)], y) + name))
    where = per_class(column.shots)
    return figure("".join(parts), f"Accuracy against cost, {where}; the line is the Pareto front of the ranked rows")


def forest(page: Page) -> str:
    """Paired gains over the baseline with 95 % intervals, a line a row and regime; filled where p < 0.05."""
    grid, parts = page.grid, []
    shown = [key for key in page.gains if key[1] in grid.columns]
    if not shown:
        return ""
    halves = sorted(page.gains[key].interval.half_width or 0.0 for key in shown)
    most = 3 * halves[len(halves) // 2]
    found = [page.gains[key].interval for key in shown]
    ends = [100 * (i.mean + s * min(i.half_width or 0.0, most)) for i in found for s in (-1, 1)] + [0.0]
    names, top = 230.0, TOP
    room = 0.04 * (max(ends) - min(ends)) or 1.0
    x = Axis(min(ends) - room, max(ends) + room, names, WIDTH - RIGHT)
    for column in grid.columns:
        rows = [label for label in grid.labels if (label, column) in page.gains]
        if not rows:
            continue
        head = per_class(column.shots) + (f", noise std {column.noise:g}" if column.noise else "")
        lines = [tag("text", head, x=0, y=top + 13, class_="head")]
        top += LINE + 4
        for label in rows:
            gain = page.gains[label, column]
            half, mean, y = gain.interval.half_width or 0.0, 100 * gain.interval.mean, top + LINE / 2
            told = f"{measured(gain.interval.scaled(100), sign=True)} points"
            told += "" if gain.p is None else f", {p_value(gain.p)}"
            sure = gain.p is not None and gain.p < LEVEL
            inside = tag("text", escape(label if len(label) < 38 else label[:36] + "…"), x=names - 8, y=y + 4)
            reach = f"M{x.at(mean - 100 * half)} {y}H{x.at(mean + 100 * half)}"
            inside += tag("path", d=reach, class_="whisker")
            lines.append(row(label, told, inside + mark(label, x.at(mean), y), class_="sure" if sure else "unsure"))
            top += LINE
        parts.append(tag("g", "".join(lines), data_shots=str(column.shots)))
    zero = tag("line", x1=x.at(0), x2=x.at(0), y1=TOP, y2=top, class_="axis")
    ticks = "".join(
        tag("text", signed(t, 0) if t else "0", x=x.at(t), y=top + 16, text_anchor="middle") for t in x.ticks
    )
    label = tag("text", "gain in points", x=(names + WIDTH) / 2, y=top + 34, text_anchor="middle")
    title = f"Paired gains over {page.task.baseline} with 95 % intervals; filled: p < {LEVEL:g}, adjusted for the page"
    return figure(zero + "".join(parts) + ticks + label, title, top + BOTTOM)
