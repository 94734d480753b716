"""The long table: one line for each row, regime and metric, in full precision and the records' own units."""

from __future__ import annotations

import pandas as pd

from jkbench.report import analysis
from jkbench.report.grid import Column, Grid
from jkbench.report.page import Page
from jkbench.statistics import share_interval

COLUMNS = [
    "task", "task_version", "protocol", "label", "method", "reference", "shots", "metric", "n", "mean", "half_width",
    "in_tie_group", "behind_best", "gain", "gain_half_width", "gain_images_half_width", "gain_n", "gain_p",
    "gain_test", "mean_rank", "mean_rank_half_width", "diverged", "failed", "out_of_memory", "timed_out", "step_ms",
    "seconds", "peak_memory_mb", "trainable_parameters", "timed_alone",
]  # fmt: skip
TRANSFER_COLUMNS = [
    "below_baseline", "below_baseline_low", "below_baseline_high", "images_to_baseline", "images_to_baseline_low",
    "images_to_baseline_high", "images_to_baseline_n",
]  # fmt: skip


def tidy(page: Page) -> pd.DataFrame:
    """The page as a data frame with the columns `COLUMNS`, a transfer task's with `TRANSFER_COLUMNS` after them.

    Shares lie in 0..1, nll in nats, gains in the metric's unit; half-widths are those of 95 % t-intervals over seeds,
    gain_images_half_width over seeds and test images; gain_p is adjusted for the page's family. A row that is neither
    in_tie_group nor behind_best lacks seeds. below_baseline counts seeds, of gain_n; low and high are the rate's exact
    interval. images_to_baseline are the images per class at which the row first has the accuracy that the baseline has
    in the line's regime, where that has ten times the images of another; the fewest that were run stand for "these or
    fewer", inf for "not within the regimes that were run", low and high are a bootstrap's. Empty: there is none
    (in_tie_group for references and for metrics that are not ranked).
    """
    grid = page.grid
    columns = [Column(shots, metric) for shots in grid.shots for metric in grid.metrics]
    columns = list(dict.fromkeys([*grid.columns, *columns]))
    shots = {value: place for place, value in enumerate(grid.shots)}
    columns.sort(key=lambda column: shots[column.shots])
    costs = {key: _costs(price) for key, price in page.prices.of.items()}
    lines = []
    for label in grid.labels:
        for column in columns:
            line = {"task": page.task.name, "task_version": page.task.version, "protocol": page.task.protocol}
            line |= _identity(grid, label, column) | _value(grid, label, column) | costs.get((label, column.shots), {})
            if column in page.ties and label in grid.ranked:
                ties = page.ties[column]
                line |= {"in_tie_group": label in ties.tied, "behind_best": label in ties.behind}
            lines.append(line | _gain(page, label, column) | _transfer(page, label, column))
    names = COLUMNS if page.transfer is None else [*COLUMNS, *TRANSFER_COLUMNS]
    return pd.DataFrame(lines, columns=names).astype(object)


def _identity(grid: Grid, label: str, column: Column) -> dict[str, object]:
    records = [record for shots in grid.shots for record in grid.records(label, shots)]
    return {
        "label": label,
        "method": records[0].method if records else None,
        "reference": label in grid.apart,
        "shots": column.shots,
        "metric": column.metric,
        "mean_rank": None if (rank := grid.ranks.get(label)) is None else rank.mean,
        "mean_rank_half_width": None if rank is None else rank.half_width,
    }


def _value(grid: Grid, label: str, column: Column) -> dict[str, object]:
    cell = grid.cell(label, column)
    names = {"diverged": "diverged", "failed": "failed", "oom": "out_of_memory", "timeout": "timed_out"}
    line: dict[str, object] = {name: cell.lost.get(status, 0) for status, name in names.items()}
    line["n"] = len(cell.values)
    if cell.interval is not None:
        line |= {"mean": cell.interval.mean, "half_width": cell.interval.half_width}
    return line


def _gain(page: Page, label: str, column: Column) -> dict[str, object]:
    gain = page.gains.get((label, column))
    if gain is None:
        return {}
    found = gain.interval
    return {
        "gain": found.mean,
        "gain_half_width": found.half_width,
        "gain_images_half_width": None if gain.both is None else gain.both.half_width,
        "gain_n": found.n,
        "gain_p": gain.p,
        "gain_test": None if gain.p is None else "shrunken t" if gain.assumes_normal else "sign flips",
    }


def _transfer(page: Page, label: str, column: Column) -> dict[str, object]:
    if page.transfer is None or column not in page.grid.columns:
        return {}
    line: dict[str, object] = {}
    if (count := page.transfer.below.get((label, column))) is not None:
        low, high = share_interval(count.hits, count.n)
        line |= {"below_baseline": count.hits, "below_baseline_low": low, "below_baseline_high": high}
    if (found := page.transfer.needed.get((label, column.shots))) is not None:
        name = "images_to_baseline"
        line |= {name: found.at, f"{name}_low": found.low, f"{name}_high": found.high, f"{name}_n": found.n}
    return line


def _costs(price: analysis.Price) -> dict[str, object]:
    return {
        "step_ms": price.step_ms,
        "seconds": price.seconds,
        "peak_memory_mb": price.peak_memory_mb,
        "trainable_parameters": price.trainable_parameters,
        "timed_alone": price.alone,
    }
