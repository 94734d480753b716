"""How long trials took, and how much memory, by the records of a task."""

from __future__ import annotations

from collections.abc import Iterable

from jkbench.records.schema import Outline, Record
from jkbench.tasks.shots import Shots

CellKey = tuple[str, Shots]
"""A row's label and the regime: trials of one cell take about the same time."""


def duration(seconds: float) -> str:
    """Seconds in words: ``42 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 days 4 h``, ``41 days``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    if whole < 2 * 86400:
        return f"{whole // 3600} h" + (f" {whole % 3600 // 60} min" if whole % 3600 // 60 else "")
    days, hours = whole // 86400, whole % 86400 // 3600
    return f"{days} days" + (f" {hours} h" if hours and days < 10 else "")


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
