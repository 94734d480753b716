"""The measured transfer bound by regime and space, next to the gain in the records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean

from jkbench.papers.theory.measured import MeasuredStudent, Side
from jkbench.plugins.discovery import Index
from jkbench.records.select import choose
from jkbench.records.store import RecordSet
from jkbench.report import analysis
from jkbench.report.checks import one_protocol
from jkbench.report.grid import Column, arrange
from jkbench.statistics import Interval
from jkbench.tasks.shots import Shots
from jkbench.tasks.task import Task


@dataclass(frozen=True)
class Recorded:
    """What the records say of a row: gains over the baseline by regime, and each trial's accuracy by its id."""

    gains: dict[Shots, Interval] = field(default_factory=dict)
    accuracies: dict[str, float] = field(default_factory=dict)


def recorded(task: Task, index: Index, loaded: RecordSet, label: str) -> Recorded:
    """The row's gains over the task's baseline, in points, and its accuracies, from current records on test images."""
    chosen = choose(task, index, loaded, labels=[label, task.baseline])
    records, _ = one_protocol(task, chosen.records)
    cells = analysis.gains(arrange(task, records), task.baseline)
    gains = {
        column.shots: gain.interval.scaled(100)
        for (row, column), gain in cells.items()
        if row == label and column == Column(column.shots, "accuracy")
    }
    accuracies = {
        record.id: record.metrics["accuracy"] for record in records if record.label == label and record.status == "ok"
    }
    return Recorded(gains, accuracies)


@dataclass(frozen=True)
class Regime:
    """One regime in one space: its students' bounds, and the gain that records have."""

    shots: Shots
    images: int
    classes: int
    sides: tuple[Side, ...]
    gain: Interval | None

    def mean(self, name: str) -> float:
        """The mean of a side's number over seeds."""
        return fmean(float(getattr(side, name)) for side in self.sides)


def regimes(students: Iterable[MeasuredStudent], classes: int, found: Recorded) -> dict[str, list[Regime]]:
    """By space, the regimes that have a student, in the order they were measured."""
    groups: dict[str, dict[Shots, list[tuple[int, Side]]]] = {}
    for student in students:
        for side in student.sides:
            groups.setdefault(side.space, {}).setdefault(student.shots, []).append((student.images, side))
    return {
        space: [
            Regime(shots, held[0][0], classes, tuple(side for _, side in held), found.gains.get(shots))
            for shots, held in by_shots.items()
        ]
        for space, by_shots in groups.items()
    }
