"""Rows over several data sets: mean ranks, the middle half of all scores, and which ranks can be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from jkbench.report.document import Drawing, Entry, Section, table
from jkbench.report.page import Page
from jkbench.report.wording import code, listed, measured
from jkbench.statistics import (
    CriticalDifference,
    Estimate,
    critical_difference,
    interquartile_mean,
    mean_ranks,
    probability_of_improvement,
)

Scores = NDArray[np.float64]


KINDS = {
    "tuned": "with parameters tuned alike within each task",
    "task": "with the parameters of the task files, which were not tuned alike",
}
"""The pages that may share a table, the better first; rows with equal time in place of equal steps stand in none."""


@dataclass(frozen=True)
class Scored:
    """The accuracies of one page by row, (columns, seeds) each, its data set, and which of `KINDS` it is, if any."""

    dataset: str
    rows: dict[str, Scores]
    kind: str | None = "task"


def scored(page: Page) -> Scored:
    """What the index needs of a page: its ranked rows without further parameters."""
    grid = page.grid
    labels = [label for label in (grid.rows[0].labels if grid.rows else ()) if "[" not in label]
    kind = "tuned" if page.choices is not None else "task" if page.name == page.task.name else None
    return Scored(
        page.task.target.dataset,
        {label: np.concatenate([grid.matrix([label], column) for column in grid.columns]) for label in labels},
        None if page.task.budget == "time" else kind,
    )


def families(every: Sequence[Scored]) -> tuple[list[str], dict[str, Scores]]:
    """The rows and data sets that are compared, (rows, columns, seeds) each: regimes of one data set are one family.

    Rows are those that stand together on a page of each data set; of all such sets the one with the largest
    (rows - 1)(data sets - 1), with more data sets where two are equal. So more rows in one task take none away.
    """
    sets: set[frozenset[str]] = set()
    for each in every:
        rows = frozenset(row for row, x in each.rows.items() if not np.isnan(x).all())
        sets |= {rows, *(rows & other for other in sets)}
    tried = [(sorted(rows), _blocks(every, sorted(rows))) for rows in sets if rows]
    best = max(tried, key=lambda one: ((len(one[0]) - 1) * (len(one[1]) - 1), len(one[1]), one[0]), default=([], {}))
    return best if best[1] else ([], {})


def _blocks(every: Sequence[Scored], rows: Sequence[str]) -> dict[str, Scores]:
    """What the pages that have all of these rows say of them, by data set."""
    found: dict[str, Scores] = {}
    for name in sorted({each.dataset for each in every}):
        of_data = [each.rows for each in every if each.dataset == name and each.rows.keys() >= set(rows)]
        tables = [np.array([task[row] for row in rows]) for task in of_data]
        tables = [x[:, ~np.isnan(x).all(axis=2).any(axis=0)] for x in tables]  # columns that every row has
        seeds = min((x.shape[2] for x in tables if x.size), default=0)
        if seeds:
            x = np.concatenate([x[:, :, :seeds] for x in tables if x.size], axis=1)
            x = x[:, :, ~np.isnan(x).any(axis=(0, 1))]
            found |= {name: x} if x.size else {}
    return found


def section(every: Sequence[Scored]) -> Section | None:
    """The section of the index, of pages of one kind; None where fewer than three rows or two data sets can be
    compared."""
    for kind, told in KINDS.items():
        rows, found = families([each for each in every if each.kind == kind])
        if len(rows) >= 3 and len(found) >= 2:
            return _section(rows, found, told)
    return None


def _section(rows: Sequence[str], found: dict[str, Scores], told: str) -> Section:
    of_family = {name: mean_ranks(x) for name, x in found.items()}
    difference = critical_difference(np.array([[-rank.mean for rank in ranks] for ranks in of_family.values()]).T)
    lines: list[list[str | Entry]] = []
    for at in np.argsort(difference.mean_ranks, kind="stable"):
        middle = interquartile_mean([x[at] for x in found.values()], np.random.default_rng(0))
        others = [(x[at] - np.delete(x, at, axis=0)).reshape(-1, x.shape[2]) for x in found.values()]
        ahead = probability_of_improvement(others, np.random.default_rng(0))
        ranks = [measured(of_family[name][at]) for name in found]
        overall = Entry(f"{difference.mean_ranks[at]:.2f}")
        lines.append([code(rows[at]), *ranks, overall, _in_percent(ahead), _in_percent(middle)])
    means = ["over data sets", "ahead of another row in %", "interquartile mean in %"]
    heads = ["method", *(f"mean rank, {name}" for name in found), *means]
    note = (
        f"Rows that {listed(found)} share, {told}, in the regimes that all of them have. "
        "Regimes and tasks of one data set are one family. Ranks within a data set: ± 95 % over seeds. "
        "Ahead of another row: probability of improvement on another row of this table, at one seed of one regime; "
        "ties count half. Interquartile mean: of the middle half of all accuracies. Brackets: 95 % over seeds. "
        f"With so few data sets, mean ranks that differ by less than {difference.difference:.2f} cannot be told apart "
        f"(Nemenyi, 5 %; Friedman: p = {difference.p:.2g})."
    )
    said = "Mean ranks over data sets; a bar joins methods that cannot be told apart"
    drawing = Drawing("across", said, lambda: draw(rows, difference))
    return Section("Over all data sets", (table(heads, lines, notes=[note]), drawing))


def _in_percent(found: Estimate) -> str:
    span = "" if found.low is None or found.high is None else f" [{100 * found.low:.1f}, {100 * found.high:.1f}]"
    return f"{100 * found.value:.1f}{span}"


def draw(rows: Sequence[str], found: CriticalDifference) -> Figure:
    """A critical-difference diagram: a mark a row at its mean rank, a bar a set that cannot be told apart."""
    order = np.argsort(found.mean_ranks, kind="stable")
    figure = Figure(figsize=(7.5, 0.3 * len(rows) + 0.25 * len(found.cliques) + 1.0), layout="constrained")
    panel = figure.subplots()
    for place, at in enumerate(order):
        panel.plot([found.mean_ranks[at]] * 2, [0, -1 - place], color="#aaaaaa", linewidth=0.8, zorder=1)
        panel.plot(found.mean_ranks[at], -1 - place, "o", color="#0072B2")
        panel.annotate(f"  {rows[at]}", (found.mean_ranks[at], -1 - place), va="center")
    for bar, clique in enumerate(found.cliques):
        ends = [found.mean_ranks[at] for at in clique]
        panel.plot([min(ends), max(ends)], [0.5 + 0.5 * bar] * 2, color="black", linewidth=3)
    panel.set_yticks([])
    panel.spines["left"].set_visible(False)
    panel.margins(x=0.2)
    panel.set_xlabel(f"mean rank over data sets (critical difference {found.difference:.2f})")
    return figure
