"""What a run may use, and its workers once they are warm: on a device that is known, beside a teacher that is there."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jkbench.errors import Collector, UserError, unknown
from jkbench.execute import Machine, Needs, backends, forecast, memory, work
from jkbench.execute.backends import Workers
from jkbench.execute.progress import Progress
from jkbench.execute.request import NO_REQUEST, Request
from jkbench.files import cache_folder, checkpoint_of
from jkbench.planning import Plan, Row, Trial
from jkbench.records.schema import Record
from jkbench.records.store import RecordSet, Store, dated_after
from jkbench.records.timings import peak_memory_mb, seconds_by_cell
from jkbench.tasks.shots import size


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Resources:
    """What a run may use: ``jobs`` trials at a time (None: as many as cores and memory allow), ``timeout`` seconds a
    trial, and the back end. `UserError` tells all that is wrong."""

    device: str = "auto"
    jobs: int | None = None
    threads: int = 1
    timeout: float | None = None
    executor: str = backends.DEFAULT
    request: Request = NO_REQUEST

    def __post_init__(self) -> None:
        most = max(cores(), 64)
        with Collector() as problems:
            if self.device not in ("auto", "cpu", "cuda"):
                problems.add(unknown("device", self.device, ("auto", "cpu", "cuda")))
            if self.jobs is not None and self.jobs < 1:
                problems.add(UserError(f"--jobs: {self.jobs} is not a number of trials", "write a number, or auto"))
            if not 1 <= self.threads <= most:
                problems.add(UserError(f"--threads: {self.threads} is not a number of threads from 1 to {most}"))
            if self.timeout is not None and not 0 < self.timeout < math.inf:
                problems.add(UserError(f"--timeout: {self.timeout:g} is not a number of seconds above 0"))
            with problems.caught():
                backends.check(self.executor)


@dataclass(frozen=True)
class Session:
    """Workers that are warm, on a device that is known, beside a teacher that is there."""

    workers: Workers
    progress: Progress
    resources: Resources
    folder: Path
    cache: Path | None
    device: str
    free_mb: float | None
    """Free MiB of a GPU; None on CPU."""
    task_file: tuple[Path, str] | None = None

    def machine(self, trials: Sequence[Trial], known: Mapping[str, Record]) -> Machine:
        """How these trials run here: as many at a time as are wanted, or as cores and memory allow.

        ``known`` records tell what a trial takes. `UserError` where more are wanted than memory holds.
        """
        wanted, most = self.resources.jobs, max(1, cores() // self.resources.threads)
        peak, trial_mb = peak_memory_mb(known.values(), self.free_mb is not None), None
        if (slots := self.workers.slots()) is not None:
            number = min(wanted or slots, slots)
        elif self.free_mb is None:
            number = memory.jobs(wanted, most, memory.available_mb(), peak or memory.ASSUMED_MB, "the machine's memory")
        else:  # one at a time until a record tells what a trial takes
            context, most = (0.0, memory.QUEUES) if self.workers.streams else (memory.CONTEXT_MB, most)
            trial_mb = peak + context if peak else memory.CONTEXT_MB
            number = memory.jobs(wanted, most if peak else 1, self.free_mb, trial_mb, "the GPU")
        threads, timeout = self.resources.threads, self.resources.timeout
        jobs, seconds = min(number, max(len(trials), 1)), seconds_by_cell(known.values())
        main = peak_memory_mb(known.values(), on_gpu=False)
        folder, file = self.folder.resolve(), self.task_file
        return Machine(folder, self.cache, self.device, jobs, threads, timeout, seconds, main, file, trial_mb)

    def measuring(self, trials: Sequence[Trial], known: Mapping[str, Record]) -> list[Trial]:
        """The trials that run alone first: on a GPU whose memory is to be shared, one of every row, of its largest
        regime, until records tell how much a trial takes."""
        if self.free_mb is None or self.resources.jobs is not None or peak_memory_mb(known.values(), on_gpu=True):
            return []
        largest: dict[str, Trial] = {}
        for trial in trials:
            other = largest.get(trial.row.label)
            if other is None or size(trial.shots) > size(other.shots):
                largest[trial.row.label] = trial
        return list(largest.values())

    def run(self, trials: Sequence[Trial], known: Mapping[str, Record], store: Store | None) -> Iterator[Record]:
        """Run these trials, keep each record as it comes, and show how far they are."""
        progress = self.progress
        progress.start({trial.id: trial.name for trial in trials})
        try:
            for record in self.workers.run(trials, self.machine(trials, known)):
                if store is not None:
                    store.put(dated_after(record, known.get(record.id)))
                    if self.cache is not None:
                        with contextlib.suppress(OSError):
                            checkpoint_of(self.cache, record.id).unlink(missing_ok=True)
                progress.finished(record)
                yield record
        except KeyboardInterrupt:
            kept = "finished trials are stored; run the same command to resume" if store else "nothing was stored"
            progress.say(f"interrupted: {progress.done} of {progress.total} trials are done, {kept}")
            raise


def prepare(
    plan: Plan, folder: Path, resources: Resources, workers: Workers, progress: Progress, loaded: RecordSet,
    cached: bool = True, begin: Callable[[Machine], None] = backends.ignore,
) -> Session:  # fmt: skip
    """See that the task's networks and images fit together, and that its teacher is there: trained now, or kept.

    ``begin`` is called before anything is trained. The other workers start meanwhile. `UserError` where the plan cannot
    run.
    """
    cache = cache_folder() if cached else None
    fit(plan, True, workers, resources.timeout or forecast.PATIENCE)
    device, free = workers.facts(resources.device)
    session = Session(workers, progress, resources, folder, cache, device, free)
    machine = session.machine(plan.trials, loaded.records)
    workers.grow(machine.jobs)
    begin(machine)
    recipes = forecast.recipes(plan)
    told = workers.call(work.train, plan.task, plan.trials[0].datasets, recipes, machine, heard=progress.hear)
    for recipe, network in zip(recipes, told, strict=True):
        progress.say(f"{'teacher' if recipe.role == 'teacher' else 'pre-trained student'} {network}")
    return session


def fit(plan: Plan, fetch: bool, workers: Workers, patience: float) -> str:
    """Refuse what cannot run, before anything is trained: `UserError`. A sentence about what is not checked, as
    without ``fetch`` nothing is downloaded.

    A method's first loss is tried in a process of its own, once for all rows that differ in the size of weights alone.
    One that dies, or is silent for ``patience`` seconds, is left to its trials.
    """
    unchecked = workers.call(work.fit, plan, fetch, needs=replace(Needs.of(plan.trials), plugins=()))
    if unchecked:
        return str(unchecked)
    with Collector() as problems:
        rows: dict[str, Row] = {}
        for row in plan.rows:
            rows.setdefault(forecast.costs_alike(row), row)
        for row in rows.values():
            trials = [trial for trial in plan.trials if trial.row == row]
            with contextlib.suppress(UserError):
                refused = workers.call(work.first_loss, trials, needs=Needs.of(trials), limit=patience)
                if refused is not None:
                    problems.add(refused)
    return ""
