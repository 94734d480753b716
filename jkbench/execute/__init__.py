"""Running trials: the application (`jkbench.execute.run`), and the back ends that it hands trials to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jkbench.planning import Trial, record_fields
from jkbench.records.schema import Record
from jkbench.records.timings import CellKey


@dataclass(frozen=True)
class Machine:
    """How trials are run on this machine. ``threads`` and ``jobs`` are numbers, ``device`` is cpu or cuda; the
    teacher's signals are kept in ``cache`` for other trials and processes, where there is one."""

    folder: Path
    cache: Path | None = None
    device: str = "cpu"
    jobs: int = 1
    threads: int = 1
    timeout: float | None = None
    expected: Mapping[CellKey, float] = field(default_factory=dict)
    """Seconds of a trial by row and regime, as far as records tell: the longest start first."""


def failed_record(trial: Trial, message: str, **changes: Any) -> Record:
    """The record of a trial that ended outside the engine."""
    return Record(**{**record_fields(trial), "status": "failed", "message": message, **changes})
