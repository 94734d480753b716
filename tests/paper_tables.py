"""Records of a paper's table, for tests of what is made of them."""

from __future__ import annotations

from typing import Any

from jkbench import planning as plan
from jkbench.papers import table as papers
from jkbench.papers.compare import Read, Reproduction
from jkbench.papers.page import document
from jkbench.planning import record_fields
from jkbench.plugins.discovery import Index
from jkbench.records.schema import Record
from jkbench.records.store import RecordSet
from jkbench.report.render import markdown
from jkbench.tasks import task as tasks

PAPER = papers.load("jacobian-matching")


def table(name: str) -> papers.PaperTable:
    return PAPER.tables[name]


def records(index: Index, name: str, cells: dict[tuple[str, str], list[float]], task: str | None = None) -> RecordSet:
    """Records of these accuracies in % by (row, column); seeds count from zero."""
    loaded, chosen, used = RecordSet(), table(name), tasks.load(task or table(name).task)
    for (row, column), values in cells.items():
        shots: Any = int(column) if chosen.column == "per_class" else "full"
        for seed, value in enumerate(values):
            (trial,) = plan.make(used, index, chosen.methods[row], shots=[shots], seeds=[seed]).trials
            metric = "accuracy" if chosen.column == "per_class" or not float(column) else f"accuracy@{float(column):g}"
            held = loaded.records.get(trial.id)
            metrics = {**(held.metrics if held else {"accuracy": 0.5}), metric: value / 100}
            loaded.records[trial.id] = Record(**{**record_fields(trial), "status": "ok", "metrics": metrics})
    return loaded


def the_only(page: Reproduction) -> Read:
    (read,) = page.readings
    return read


def render(page: Reproduction) -> str:
    return markdown.render(document(page, "page"))
