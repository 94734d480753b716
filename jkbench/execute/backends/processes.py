"""Worker processes: one at least, so that a plugin that dies, hangs or exits never takes the command with it.

A worker imports torch once and keeps data and teacher. One that dies takes no other trial with it: a new one is
started, and the trial that it had runs once more, alone, after the others. So does a trial that ran out of memory
beside others. One that ends in the same way alone is recorded so.

Pools are not used: one of several processes (of concurrent.futures, or of loky, which joblib ships) breaks as a whole
when one of them dies, and none says by which signal, or can end one worker that hangs. A worker here is a process and
a pipe. It ends with its parent, also where that is killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from types import ModuleType
from typing import Any, Literal, Self

from jkbench.errors import UserError
from jkbench.execute import Machine, failed_record, work
from jkbench.execute.backends import Heard, ignore
from jkbench.execute.order import LongestFirst
from jkbench.planning import Trial
from jkbench.records.schema import Record

GRACE, START = 10.0, 60.0
"""Seconds that a silent worker has beyond the limit, in which the trial's own clock stops it at the end of a step; and
before its first sign of life, while it loads images and networks."""


@dataclass(frozen=True)
class Answer:
    """How a function ended: its result, the error that it raised, how its worker died, or how long it was silent."""

    kind: Literal["done", "refused", "failed", "died", "late"]
    value: Any


class Workers:
    """Warm processes."""

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._every: list[_Worker] = []

    def __enter__(self) -> Self:
        self.grow(1)
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._every:
            worker.end()

    def grow(self, jobs: int) -> None:
        """Start workers until there are ``jobs``: they import while others compute."""
        self._every += [_Worker(self._threads) for _ in range(jobs - len(self._every))]

    def call(
        self, function: Callable[..., Any], *arguments: Any, heard: Heard = ignore, limit: float | None = None
    ) -> Any:
        """The result of a function in the first worker; however else it ends is a `UserError`."""
        worker = self._every[0]
        worker.submit(function, *arguments, heard=heard, limit=limit)
        ((_, answer),) = _answers([worker])
        if answer.kind == "done":
            return answer.value
        raise answer.value if isinstance(answer.value, UserError) else UserError(in_words(answer))

    def run(self, trials: Sequence[Trial], machine: Machine) -> Iterator[Record]:
        """Records in the order in which trials end."""
        jobs = max(1, min(machine.jobs, len(trials)))
        self.grow(jobs)
        waiting, again = LongestFirst(trials, machine.expected), list[Trial]()
        idle, busy = self._every[:jobs], dict[_Worker, Trial]()
        while waiting or busy:
            while waiting and idle:
                trial, worker = waiting.take(), idle.pop()
                worker.submit(work.trial, trial, machine, jobs == 1, limit=machine.timeout)
                busy[worker] = trial
            for worker, answer in _answers(list(busy)):
                trial = busy.pop(worker)
                idle.append(worker)
                record = _record(trial, answer)
                if answer.kind == "died" or (record.status == "oom" and jobs > 1):
                    waiting.gave_up(trial)
                    again.append(trial)
                else:
                    waiting.took(trial, record)
                    yield record
        for worker in self._every[1:] if again else ():
            worker.end()
        for trial in again:
            self._every[0].submit(work.trial, trial, machine, True, limit=machine.timeout)
            yield _record(trial, _answers(self._every[:1])[0][1])


def in_words(answer: Answer) -> str:
    """What an answer without a result says."""
    match answer.kind:
        case "died":
            return f"the worker {answer.value}"
        case "late":
            return f"stopped: no step ended within {answer.value:g} s"
    return str(answer.value)


def _record(trial: Trial, answer: Answer) -> Record:
    if isinstance(answer.value, Record):
        return answer.value
    twice = ", twice: the trial was tried again alone" if answer.kind == "died" else ""
    status = "timeout" if answer.kind == "late" else "failed"
    return failed_record(trial, in_words(answer) + twice, status=status)


def _answers(busy: Sequence[_Worker]) -> list[tuple[_Worker, Answer]]:
    """What the first of these workers to end say; waits until one does."""
    while True:
        found = [(worker, answer) for worker in busy if (answer := worker.poll()) is not None]
        if found:
            return found
        rest = max(0.0, min(worker.due for worker in busy) - time.monotonic())
        wait([each for worker in busy for each in worker.sources], None if rest == float("inf") else rest)


class _Worker:
    """One warm process; a new one stands in its place where it has died."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._heard: Heard = ignore
        self._limit: float | None = None
        self._last, self._alive = 0.0, False
        self._start()

    def _start(self) -> None:
        self._connection, theirs = get_context("spawn").Pipe()
        beginning = (theirs, self._threads, os.getpid())
        self._process = get_context("spawn").Process(target=_serve, args=beginning)
        self._ready = False
        with _deaf(), _no_main():
            self._process.start()
        theirs.close()

    @property
    def sources(self) -> tuple[Connection, int]:
        """What to wait for."""
        return self._connection, self._process.sentinel

    @property
    def due(self) -> float:
        """When it will have been silent for too long."""
        if not self._limit or not self._ready:
            return float("inf")
        return self._last + self._limit + (GRACE if self._alive else START)

    def submit(
        self, function: Callable[..., Any], *arguments: Any, heard: Heard = ignore, limit: float | None = None
    ) -> None:
        """Have a function run; `poll` tells how it ended."""
        self._heard, self._limit, self._last, self._alive = heard, limit, time.monotonic(), False
        if not self._process.is_alive():  # it was killed while it had nothing to do
            self._replace()
        with contextlib.suppress(OSError):  # it dies now: `poll` tells
            self._connection.send((function, arguments))

    def poll(self) -> Answer | None:
        """How the function ended; None while it runs."""
        while True:
            dead = not self._process.is_alive()
            try:
                if not self._connection.poll():
                    break
                kind, value = self._connection.recv()
            except (EOFError, OSError):
                dead = True
                break
            self._last = time.monotonic()
            if kind == "told":
                self._heard(*value)
            elif kind == "ready":
                self._ready = True
            elif kind == "alive":
                self._alive = True
            else:
                return Answer(kind, value)
        if dead:
            return Answer("died", self._replace())
        if time.monotonic() > self.due:
            self._replace()
            return Answer("late", self._limit)
        return None

    def _replace(self) -> str:
        """Start a new process; how the old one ended."""
        self._process.join(1.0)
        code = self._process.exitcode
        self.end()
        self._start()
        return f"exited with status {code}" if code is None or code >= 0 else f"died by {_signal(-code)}"

    def end(self) -> None:
        """Stop the process, whatever it does."""
        self._process.kill()
        self._process.join()
        self._connection.close()


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


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


@contextlib.contextmanager
def _no_main() -> Iterator[None]:
    """A worker does not import the script that starts it, which need not be guarded by ``if __name__ == ...``."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _serve(connection: Connection, threads: int, parent: int) -> None:
    """A worker's life: Ctrl-C is its parent's business, and it does not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    from jkbench.execute.progress import plain_warnings

    plain_warnings()
    last = 0.0

    def alive() -> None:
        nonlocal last
        if time.monotonic() - last > work.EVERY:
            last = time.monotonic()
            connection.send(("alive", None))

    def tell(*words: Any) -> None:
        connection.send(("told", words))

    work.warm(threads)
    work.hear(alive)
    connection.send(("ready", None))
    while True:
        try:
            function, arguments = connection.recv()
        except (EOFError, OSError):
            os._exit(0)
        connection.send(_answer(function, (*arguments, tell)))


def _answer(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[str, Any]:
    try:
        return "done", function(*arguments)
    except UserError as error:
        return "refused", error
    except BaseException as error:
        return "failed", work.missing_torch(error) or f"{type(error).__name__}: {error}"


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)
