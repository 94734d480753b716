"""How long the empty cells of a paper's table would take here, by the steps that records timed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from statistics import median

from jkbench.plugins.discovery import Index
from jkbench.records.schema import Outline
from jkbench.tasks.shots import Shots
from jkbench.tasks.task import Task

Cell = tuple[str, Shots]
"""A row's label and the regime."""


@dataclass(frozen=True)
class Missing:
    """The trials that a regime of the table lacks."""

    shots: int
    trials: int
    seconds: float
    """Of training on one core, one trial after the other; without the teacher's own training."""


def missing(
    task: Task, index: Index, wanted: Mapping[Cell, str], done: Collection[Cell], timed: Iterable[Outline]
) -> list[Missing]:
    """A line for each regime that has an empty cell. ``wanted``: the method of each cell; ``timed``: records of this
    student.

    A step takes the median of the recorded steps of its row, or of its method where the row has none, at any regime;
    nothing is said where a method has none, and of regimes without a size.
    """
    steps = _step_seconds(timed)
    classes = len(task.target.classes or index.find("dataset", task.target.dataset).facts.get("classes", ()))
    found: dict[int, list[float]] = {}
    for (label, shots), method in wanted.items():
        if (label, shots) not in done:
            step = steps.get(label, steps.get(method))
            if step is None or isinstance(shots, str) or not classes:
                return []
            found.setdefault(shots, []).append(step * task.student.training.length(shots * classes))
    return [Missing(shots, task.seeds * len(found[shots]), task.seeds * sum(found[shots])) for shots in sorted(found)]


def _step_seconds(records: Iterable[Outline]) -> dict[str, float]:
    """Median seconds of a step by row, and by method."""
    times: dict[str, list[float]] = {}
    for record in records:
        if record.status == "ok" and record.cost is not None and record.cost.steps:
            for name in {record.label, record.method}:
                times.setdefault(name, []).append(record.cost.seconds / record.cost.steps)
    return {name: median(each) for name, each in times.items()}
