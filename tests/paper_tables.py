"""Records of a paper's table, for tests of what is made of them."""

from __future__ import annotations

from typing import Any

from jkbench import plan, preset
from jkbench import task as tasks
from jkbench.plugins.discovery import Index
from jkbench.records.blank import blank
from jkbench.records.schema import Record
from jkbench.records.store import Loaded
from jkbench.report.reproduction import Read, Reproduction

PAPER = preset.load("jacobian-matching")


def table(name: str) -> preset.PaperTable:
    return PAPER.tables[name]


def records(index: Index, name: str, cells: dict[tuple[str, str], list[float]], task: str | None = None) -> Loaded:
    """Records of these accuracies in % by (row, column); seeds count from zero."""
    loaded, chosen, used = Loaded(), table(name), tasks.load(task or table(name).task)
    for (row, column), values in cells.items():
        shots: Any = int(column) if chosen.column == "per_class" else "full"
        for seed, value in enumerate(values):
            (trial,) = plan.make(used, index, chosen.methods[row], shots=[shots], seeds=[seed]).trials
            metric = "accuracy" if chosen.column == "per_class" or not float(column) else f"accuracy@{float(column):g}"
            held = loaded.records.get(trial.id)
            metrics = {**(held.metrics if held else {"accuracy": 0.5}), metric: value / 100}
            loaded.records[trial.id] = Record(**{**blank(trial), "status": "ok", "metrics": metrics})
    return loaded


def the_only(page: Reproduction) -> Read:
    (read,) = page.readings
    return read
