"""Worker processes: one at least, so that a plugin that dies, hangs or exits never takes the command with it.

A worker is a clean process that imports torch, loads a task's images, and runs no method's code. It forks a process
that does, and forks a new one for another method: whatever a method's code patches, ends with its process. Where
forking is not safe (all but Linux), another method gets a new worker.

A worker that dies takes no other trial with it: a new one is started, and the trial that it had runs once more, alone,
after the others. So does a trial that ran out of memory beside others. One that ends in the same way alone is recorded
so.

Pools are not used: one of several processes (of concurrent.futures, or of loky, which joblib ships) breaks as a whole
when one of them dies, and none says by which signal, or can end one worker that hangs. Nor is the standard library's
fork server: it loads nothing between two forks. A worker here ends with its parent, also where that is killed.
"""

from __future__ import annotations

import contextlib
import gc
import mmap
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
from typing import Any, Literal, Never, Self

from jkbench.errors import UserError
from jkbench.execute import NOTHING, Machine, Needs, failed_record, work
from jkbench.execute.backends import Heard, ignore
from jkbench.execute.order import LongestFirst
from jkbench.execute.request import NO_REQUEST, Request
from jkbench.planning import Trial
from jkbench.plugins.describe import Plugin
from jkbench.records.schema import Record

GRACE, START = 10.0, 60.0
"""Seconds that a silent worker has beyond the limit, in which the trial's own clock stops it at the end of a step; and
before its first sign of life, while it loads images and networks."""
FORKS = sys.platform == "linux"
"""Elsewhere, forking is missing, or unsafe after system libraries are loaded."""

TAKES: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Answer:
    """How a function ended: its result, the error that it raised, how its worker died, or how long it was silent."""

    kind: Literal["done", "refused", "failed", "died", "late"]
    value: Any


class Workers:
    """Warm processes."""

    streams = False

    def __init__(self, threads: int = 1, request: Request = NO_REQUEST) -> None:
        self._threads = threads
        self._every: list[_Worker] = []

    def __enter__(self) -> Self:
        self.grow(1)
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._every:
            worker.end()

    def facts(self, device: str) -> tuple[str, float | None]:
        """Of this machine."""
        found: tuple[str, float | None] = self.call(work.machine_facts, device)
        return found

    def slots(self) -> None:
        """As many as this machine holds."""

    def grow(self, jobs: int) -> None:
        """Start workers until there are ``jobs``: they import while others compute."""
        self._every += [_Worker(self._threads) for _ in range(jobs - len(self._every))]

    def call(
        self, function: Callable[..., Any], *arguments: Any, needs: Needs = NOTHING, heard: Heard = ignore,
        limit: float | None = None,
    ) -> Any:  # fmt: skip
        """The result of a function in the first worker; however else it ends is a `UserError`."""
        worker = self._every[0]
        worker.submit(function, *arguments, needs=needs, heard=heard, limit=limit)
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
                trial = waiting.take()
                worker = max(idle, key=lambda each: each.suits(trial))
                idle.remove(worker)
                worker.start(trial, machine, jobs == 1)
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
            self._every[0].start(trial, machine, True)
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
    """One warm process, and the one that it has forked; new ones stand in their place where one has died."""

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
        self._ran: tuple[Plugin, ...] | None = None
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

    def suits(self, trial: Trial) -> bool:
        """Whether its process has run no other method's code."""
        return self._ran == (trial.row.plugin,)

    def start(self, trial: Trial, machine: Machine, alone: bool) -> None:
        """Have a trial run; `poll` tells its record."""
        self.submit(work.trial, trial, machine, alone, needs=Needs.of([trial]), limit=machine.timeout)

    def submit(
        self, function: Callable[..., Any], *arguments: Any, needs: Needs, heard: Heard = ignore,
        limit: float | None = None,
    ) -> None:  # fmt: skip
        """Have a function run, in a process that has run no other plugins' code; `poll` tells how it ended."""
        self._heard, self._limit, self._last, self._alive = heard, limit, time.monotonic(), False
        if not self._process.is_alive():  # it was killed while it had nothing to do
            self._replace()
        with contextlib.suppress(OSError):  # it dies now: `poll` tells
            if self._ran not in (None, (), needs.plugins):
                self._renew()
            if self._ran is None:
                self._connection.send(needs)
            self._connection.send((function, arguments))
        self._ran = needs.plugins

    def _renew(self) -> None:
        """End the process that has run a plugin's code."""
        if FORKS:
            self._connection.send(None)
            self._ran = None
        else:
            self.end()
            self._start()

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
        """Stop its processes, whatever they do."""
        with contextlib.suppress(ProcessLookupError):
            if FORKS:
                os.killpg(self._process.pid, signal.SIGKILL)  # type: ignore[arg-type]
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


def _serve(connection: Connection, threads: int, parent: int) -> Never:
    """A worker's life: Ctrl-C is its parent's business, and it does not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if FORKS:
        os.setpgid(0, 0)  # so that one signal ends it and what it has forked
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    from jkbench.execute.progress import plain_warnings

    plain_warnings()
    work.warm()
    _send(connection, "ready")
    while True:
        work.load(_received(connection))
        gc.freeze()  # memory that no process writes into is shared
        renewed = mmap.mmap(-1, 1)
        forked = os.fork() if FORKS else 0
        if not forked:
            _work(connection, threads)
            renewed[0] = 1
            os._exit(0)
        _, status = os.waitpid(forked, 0)
        if not renewed[0]:
            _end_like(os.waitstatus_to_exitcode(status))


def _received(connection: Connection) -> Any:
    """The parent's next message; without a parent, this process ends."""
    try:
        return connection.recv()
    except (EOFError, OSError):
        os._exit(0)


def _send(connection: Connection, kind: str, value: Any = None) -> None:
    """Tell the parent; without one, this process ends."""
    try:
        connection.send((kind, value))
    except OSError:
        os._exit(0)


def _work(connection: Connection, threads: int) -> None:
    """Run one function after the other, until there is none."""
    last = 0.0

    def alive() -> None:
        nonlocal last
        if time.monotonic() - last > work.EVERY:
            last = time.monotonic()
            _send(connection, "alive")

    def tell(*words: Any) -> None:
        _send(connection, "told", words)

    work.begin(threads, alive)
    while (wanted := _received(connection)) is not None:
        function, arguments = wanted
        _send(connection, *_answer(function, (*arguments, tell)))


def _end_like(code: int) -> Never:
    """End as the forked process has ended: the parent tells how."""
    if code < 0:
        with contextlib.suppress(OSError):  # not to be caught anyway
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


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
    if FORKS:
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
