"""Several trials at once, in warm worker processes.

A worker imports torch once and keeps data and teacher. A worker that dies takes its pool with it: the trials that
were running are tried once more, each alone; one that kills its worker again becomes a ``failed`` record.

The pool is the standard library's. Workers live as long as their parent and a folder that it holds: removing the
folder ends them, in the middle of a trial too, and a parent that is killed leaves none behind. (loky, which joblib
ships, kills its workers through ``pgrep``, which a Ctrl-C in the same terminal interrupts.)
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from jkbench.execute import Setup, failed_record
from jkbench.plan import Trial
from jkbench.records.schema import Record

DIED = "the worker process died twice in this trial: it was killed from outside, or the machine ran out of memory"


def run(trials: Sequence[Trial], setup: Setup) -> Iterator[Record]:
    """Records in the order in which trials end. Closing the generator (Ctrl-C) ends all workers."""
    waiting = list(trials)
    while waiting:
        finished: set[str] = set()
        running: set[str] = set()
        for trial, record in _pool(waiting, setup, setup.jobs, running):
            finished.add(trial.id)
            yield record
        waiting = [trial for trial in waiting if trial.id not in finished]
        for trial in [trial for trial in waiting if trial.id in running] or waiting[:1]:
            alone = list(_pool([trial], setup, 1, set()))
            yield alone[0][1] if alone else failed_record(trial, DIED)
            waiting.remove(trial)


def _pool(trials: Sequence[Trial], setup: Setup, jobs: int, running: set[str]) -> Iterator[tuple[Trial, Record]]:
    """Trials and their records until all are done or the pool breaks; ``running`` then says which were under way."""
    jobs = min(jobs, len(trials))
    life = tempfile.TemporaryDirectory(prefix="jkbench-workers-")
    executor = ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=_begin, initargs=(setup.threads, os.getpid(), life.name)
    )
    try:
        pending: dict[Future[Any], Trial] = {executor.submit(_one, trial, setup, jobs): trial for trial in trials}
        for future in as_completed(pending):
            try:
                record = future.result()
            except BrokenProcessPool:
                running |= {_under_way(pending, index) for index in range(jobs)} - {""}
                return
            yield pending.pop(future), record
        executor.shutdown(wait=True)
    finally:
        life.cleanup()  # whoever still runs now ends
        executor.shutdown(wait=True, cancel_futures=True)


def _under_way(pending: dict[Future[Any], Trial], index: int) -> str:
    """Trials start in the order in which they were submitted: the first unfinished ones were under way."""
    waiting = list(pending.values())
    return waiting[index].id if index < len(waiting) else ""


def _begin(threads: int, parent: int, life: str) -> None:
    """A worker's start: Ctrl-C is the parent's business, and a worker outlives neither its parent nor ``life``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(parent, Path(life)), daemon=True).start()
    import torch

    torch.set_num_threads(threads)


def _watch(parent: int, life: Path) -> None:
    while os.getppid() == parent and life.is_dir():
        time.sleep(0.2)
    os._exit(1)


def _one(trial: Trial, setup: Setup, jobs: int) -> Record:
    from jkbench.engine import environment
    from jkbench.engine.trial import Where
    from jkbench.engine.trial import run as run_trial

    where = Where(environment.device(setup.device), setup.folder, alone=jobs == 1, timeout=setup.timeout)
    return run_trial(trial, where)
