"""The page of the loss terms of a task: a figure over training, the ends of the terms, and their gradients by depth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure

from jkbench.papers.theory.terms import Curve, Reach, conclusions, verdict
from jkbench.plugins.parameters import method_of
from jkbench.report.document import Bullets, Document, Drawing, Section, table
from jkbench.report.figures import legend, style
from jkbench.report.wording import code, plural
from jkbench.tasks.task import Task


def document(
    task: Task, regime: str, seeds: int, curves: Sequence[Curve], reaches: Sequence[Reach], protocol: Sequence[str]
) -> Document:
    """``terms-TASK``: the same numbers give the same page."""
    name = f"terms-{task.name}"
    ends = [(code(c.row), code(c.term), f"{c.first:.3g}", f"{c.end:.3f}") for c in curves]
    norms = [(code(r.row), code(r.term), *(f"{norm:.2e}" for norm in (*r.start, *r.end))) for r in reaches]
    depths = [f"{where}, {when}" for when in ("start", "end") for where in ("first", "middle", "last")]
    blocks = (
        "The paper matches Jacobians of attention maps because the optimiser could not reduce the Jacobian of a deep "
        "network's outputs. This page shows how the loss terms of some rows change over training, and how much of each "
        f"term's gradient reaches the student's early layers: at {regime}, mean over {plural(seeds, 'seed')}.",
        verdict(curves),
        _swept(curves),
        Drawing(name, "Loss terms over training, in units of their first value", partial(draw, curves)),
        Bullets(tuple(conclusions(curves, reaches))),
        Section(
            "Terms at the end of training",
            (
                table(["row", "term", "first value", "end, relative to the first"], ends, left=(0, 1)),
                "First value: weighted as in training. End: the mean of the last tenth of the recorded steps, relative "
                "to the first value, so that the term's weight cancels. Rows measure differently: some compare plain "
                "gradients (a squared distance), some unit vectors, which are √2 apart (squared: 2) where they are "
                "orthogonal; the parameters below and the methods' files say which. The task's page in the leaderboard "
                "has these values for all regimes, rows and seeds that were run.",
            ),
        ),
        Section(
            "Gradients by depth",
            (
                table(["row", "term", *depths], norms, left=(0, 1)),
                "Norm of the gradient of the weighted term with respect to the weights of the student's first, middle "
                "and last convolution, on the first batch, before the first step and after the last.",
            ),
        ),
        Section("Protocol", (Bullets(tuple(protocol)),)),
    )
    return Document(name, f"Which loss terms train the student? {task.title}", "`jkbench theory`", blocks)


def _swept(curves: Sequence[Curve]) -> str:
    """That a term's end depends on its weight, where a method stands on the page with several parameters."""
    rows = Counter(method_of(row) for row in dict.fromkeys(curve.row for curve in curves))
    several = [code(method) for method, count in rows.items() if count > 1]
    parts = f"{' and '.join(several)} {'have' if len(several) > 1 else 'has'} several rows"
    return f"{parts}: how far a term falls depends on its weight beside the others." if several else ""


def draw(curves: Sequence[Curve]) -> Figure:
    """A panel a term, a line a row, in units of the first value; a term that falls below a tenth has a logarithmic
    axis."""
    terms = list(dict.fromkeys(curve.term for curve in curves))
    figure = Figure(figsize=(3.1 * len(terms) + 0.6, 3.4), layout="constrained")
    panels = figure.subplots(1, len(terms), squeeze=False)[0]
    for panel, term in zip(panels, terms, strict=True):
        shown = [curve for curve in curves if curve.term == term]
        for curve in shown:
            look = style(curve.row)
            panel.plot(
                curve.steps, curve.values, color=look.colour, linestyle=look.line, marker=look.marker, markersize=3.5,
                markevery=max(1, len(curve.steps) // 12), linewidth=1.3, label=curve.row,
            )  # fmt: skip
        panel.axhline(1, color="#bbbbbb", linewidth=0.8, zorder=0)
        lowest = min(min(curve.values) for curve in shown)
        if 0 < lowest < 0.1:
            panel.set_yscale("log")
            panel.yaxis.set_major_formatter("{x:g}")
        else:
            panel.set_ylim(bottom=min(0.0, lowest))
        panel.set_title(f"term {term}")
        panel.set_xlabel("step")
    panels[0].set_ylabel("value, relative to the first step")
    legend(figure, panels, list(dict.fromkeys(curve.row for curve in curves)), "outside lower center", ncols=3)
    return figure
