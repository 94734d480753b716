"""How long trials took, and how much memory, by the records of a task."""

from __future__ import annotations

from collections.abc import Iterable

from jkbench.records.schema import Outline, Record
from jkbench.tasks.shots import Shots

CellKey = tuple[str, Shots]
"""A row's label and the regime: trials of one cell take about the same time."""


def seconds_by_cell(records: Iterable[Outline]) -> dict[CellKey, float]:
    """Mean seconds of training of the finished trials of each cell."""
    times: dict[CellKey, list[float]] = {}
    for record in records:
        if record.cost is not None and record.status == "ok":
            times.setdefault((record.label, record.shots), []).append(record.cost.seconds)
    return {cell: sum(values) / len(values) for cell, values in times.items()}


def peak_memory_mb(records: Iterable[Record], on_gpu: bool) -> float | None:
    """The largest memory that a trial of these records took (MiB, of the process or of the device); None unknown.

    Of a GPU only from trials that ran alone: what several on its streams took cannot be told apart.
    """
    peaks = [
        record.cost.peak_memory_mb
        for record in records
        if record.cost is not None
        and record.environment is not None
        and record.environment.device.startswith("cpu") != on_gpu
        and (record.cost.alone or not on_gpu)
    ]
    return max(peaks, default=None)
