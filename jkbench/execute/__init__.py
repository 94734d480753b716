"""Running trials: a back end is a name behind one function that yields records as they end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from jkbench.plan import Trial, record_fields
from jkbench.records.schema import Record
from jkbench.records.timings import CellKey

if TYPE_CHECKING:
    from jkbench.execute.backends.processes import Workers


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


@contextmanager
def started(trials: Sequence[Trial], setup: Machine) -> Iterator[Workers | None]:
    """Workers for `run`, where these trials take more than one: they import while their parent trains the teacher."""
    from jkbench.execute.backends import processes

    jobs = min(setup.jobs, len(_sound(trials)))
    if jobs < 2:
        yield None
        return
    with processes.started(setup, jobs) as workers:
        yield workers


def run(trials: Sequence[Trial], setup: Machine, workers: Workers | None = None) -> Iterator[Record]:
    """The records of the trials, in the order in which they end. A broken plugin's trials end as ``failed`` at once."""
    from jkbench.execute.backends import processes, serial

    sound = _sound(trials)
    yield from map(broken_record, (trial for trial in trials if trial.row.plugin.broken))
    if setup.jobs > 1 and len(sound) > 1:
        yield from processes.run(sound, setup, workers)
    else:
        yield from serial.run(sound, setup)


def _sound(trials: Sequence[Trial]) -> list[Trial]:
    return [trial for trial in trials if not trial.row.plugin.broken]


def broken_record(trial: Trial) -> Record:
    """The record of a trial whose plugin cannot even be read."""
    source = trial.row.plugin
    # records are committed: a folder may hold a user's name
    return failed_record(trial, str(source.broken).replace(f"{source.path.parent}/", ""))


def failed_record(trial: Trial, message: str) -> Record:
    """The record of a trial that ended outside the engine."""
    return Record(**record_fields(trial), status="failed", message=message)
