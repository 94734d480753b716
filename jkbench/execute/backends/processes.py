"""Several trials at once, in warm worker processes.

A worker imports torch once and keeps data and teacher. Each is a pool of one process, so that a worker that dies
takes no other trial with it: a new one is started, and the trial it had is tried once more, alone, when the others
are done. So is a trial that ran out of memory beside others. One that fails in the same way alone is recorded so.

The pool is the standard library's, for three reasons. A pool of several processes (of concurrent.futures or of loky,
which joblib ships) breaks as a whole when one of them dies, and every trial under way is lost with it. loky ends its
workers through ``pgrep``, which a Ctrl-C in the same terminal interrupts. And what is left to write is below. Workers
live as long as their parent and a folder that it holds: removing the folder ends them, in the middle of a trial too,
and a parent that is killed leaves none behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from jkbench.errors import UserError
from jkbench.execute import Machine, failed_record
from jkbench.execute.order import LongestFirst
from jkbench.plan import Trial
from jkbench.records.schema import Record

DIED = "the worker process died twice in this trial: it was killed from outside, or the machine ran out of memory"


@dataclass(frozen=True)
class Workers:
    """Warm processes, and the folder that they live as long as."""

    every: Sequence[_Worker]
    life: Path


@contextlib.contextmanager
def started(setup: Machine, jobs: int) -> Iterator[Workers]:
    """Processes that import what trials need while their parent does something else; they end with the block."""
    with tempfile.TemporaryDirectory(prefix="jkbench-workers-") as life:
        workers = Workers([_Worker(setup, life) for _ in range(jobs)], Path(life))
        try:
            for worker in workers.every:
                worker.warm()
            yield workers
        finally:
            with contextlib.suppress(FileNotFoundError):
                Path(life).rmdir()  # whoever still runs now ends
            for worker in workers.every:
                worker.end()
            Path(life).mkdir(exist_ok=True)  # for its own removal


def run(trials: Sequence[Trial], setup: Machine, workers: Workers | None = None) -> Iterator[Record]:
    """Records in the order in which trials end. Closing the generator (Ctrl-C) ends all workers that it started."""
    with contextlib.ExitStack() as held:
        if workers is None:
            workers = held.enter_context(started(setup, min(setup.jobs, len(trials))))
        yield from _run(trials, setup, workers)


def _run(trials: Sequence[Trial], setup: Machine, workers: Workers) -> Iterator[Record]:
    jobs = min(len(workers.every), len(trials))
    waiting = LongestFirst(trials, setup.expected)
    again: list[Trial] = []
    running: dict[Future[Record], tuple[Trial, _Worker]] = {}
    idle = list(workers.every)
    while waiting or running:
        while waiting and idle:
            trial, worker = waiting.take(), idle.pop()
            running[worker.submit(trial, alone=jobs == 1)] = (trial, worker)
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            trial, worker = running.pop(future)
            idle.append(worker)
            record = _outcome(future, trial, worker)
            if record is None and not workers.life.is_dir():
                raise UserError(
                    f"the workers' folder {workers.life} was removed, so they ended",
                    "run it again: finished trials are kept",
                )
            if record is None or (record.status == "oom" and jobs > 1):
                waiting.gave_up(trial)
                again.append(trial)
            else:
                waiting.took(trial, record)
                yield record
    for worker in workers.every[1:]:
        worker.end()
    for trial in again:
        record = _outcome(workers.every[0].submit(trial, alone=True), trial, workers.every[0])
        yield record or failed_record(trial, DIED)


def _outcome(future: Future[Record], trial: Trial, worker: _Worker) -> Record | None:
    """The record of a trial; None where the worker died in it, and a new one stands in its place.

    Whatever else comes out of a worker ends that trial alone.
    """
    wait([future])
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, BrokenProcessPool):
        worker.replace()
        return None
    return failed_record(trial, f"{type(error).__name__}: {error}")


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Ctrl-C waits until a worker is started: it inherits the mask, and prints no trace while it imports."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Worker:
    """One warm process."""

    def __init__(self, setup: Machine, life: str) -> None:
        self._setup = setup
        self._life = life
        self._pool = self._new()

    def _new(self) -> ProcessPoolExecutor:
        beginning = (self._setup.threads, os.getpid(), self._life)
        return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_begin, initargs=beginning)

    def warm(self) -> None:
        """Start it, and let it import."""
        with _deaf():
            self._pool.submit(_import)

    def submit(self, trial: Trial, alone: bool) -> Future[Record]:
        with _deaf():
            try:
                return self._pool.submit(_one, trial, self._setup, alone)
            except BrokenProcessPool:  # it was killed while it had nothing to do
                self.replace()
                return self._pool.submit(_one, trial, self._setup, alone)

    def replace(self) -> None:
        self.end()
        self._pool = self._new()

    def end(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def _begin(threads: int, parent: int, life: str) -> None:
    """A worker's start: Ctrl-C is the parent's business, and a worker outlives neither its parent nor ``life``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(parent, Path(life)), daemon=True).start()
    import torch

    from jkbench.execute.progress import plain_warnings

    plain_warnings()
    torch.set_num_threads(threads)


def _import() -> None:
    """What every trial needs of this package; torch is there already."""
    import jkbench.engine.trial  # noqa: F401


def _watch(parent: int, life: Path) -> None:
    while os.getppid() == parent and life.is_dir():
        time.sleep(0.2)
    os._exit(1)


def _one(trial: Trial, setup: Machine, alone: bool) -> Record:
    from jkbench.engine import environment
    from jkbench.engine.setup import Where
    from jkbench.engine.trial import run as run_trial

    where = Where(environment.device(setup.device), setup.folder, setup.cache, alone, setup.timeout)
    return run_trial(trial, where)
