"""Running trials: the application (`jkbench.execute.run`), and the back ends that it hands trials to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jkbench.planning import Trial, record_fields
from jkbench.plugins.describe import Plugin
from jkbench.records.schema import Record
from jkbench.records.timings import CellKey
from jkbench.tasks.task import Task


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
    peak_mb: float | None = None
    """Main memory of a trial's process, as far as records tell."""
    task_file: tuple[Path, str] | None = None
    """Where the trials' task was read, and the protocol that the file had: a trial is not run where it has another."""
    trial_mb: float | None = None
    """MiB that a trial takes of a GPU, where that was measured."""


@dataclass(frozen=True)
class Needs:
    """What a function needs of the process that it runs in: that no other ``plugins`` than these have run in it, and
    the images of a ``task``, loaded before."""

    plugins: tuple[Plugin, ...] = ()
    task: Task | None = None
    datasets: Mapping[str, Plugin] = field(default_factory=dict)

    @classmethod
    def of(cls, trials: Sequence[Trial]) -> Needs:
        """Of trials of one task."""
        plugins = {trial.row.plugin.name: trial.row.plugin for trial in trials}
        return cls(tuple(plugins.values()), trials[0].task, trials[0].datasets)


NOTHING = Needs()


def failed_record(trial: Trial, message: str, **changes: Any) -> Record:
    """The record of a trial that ended outside the engine."""
    return Record(**{**record_fields(trial), "status": "failed", "message": message, **changes})
