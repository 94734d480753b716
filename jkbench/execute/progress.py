"""What a run shows while it runs: a live line in a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Mapping
from typing import Any

from jkbench.records.schema import Record
from jkbench.records.timings import duration
from jkbench.tasks.shots import per_class


def outcome(record: Record) -> str:
    """A finished trial in one line."""
    head = f"{record.label}, {per_class(record.shots)}, seed {record.seed}"
    if record.status == "ok":
        took = f" in {record.cost.seconds:.1f} s" if record.cost else ""
        return f"{head}: {100 * record.metrics['accuracy']:.1f} %{took}"
    return f"{head}: {record.status}: {record.reason}"


def plain_warnings() -> None:
    """Warnings of the suite as a sentence for people; those of libraries as they are."""
    usual = warnings.formatwarning

    def plain(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> str:
        if category.__module__.startswith("jkbench."):
            return f"jkbench: warning: {message}\n"
        return usual(message, category, *rest, **more)

    warnings.formatwarning = plain


class Progress:
    """Counts finished trials; a context manager. Output goes to standard error, so that ``--json`` stays clean."""

    def __init__(self, show: bool = True) -> None:
        """``show``: False says nothing at all."""
        self.show = show
        self.waiting: dict[str, str] = {}
        self.total = self.done = 0
        self.began = time.monotonic()
        self._live: Any = None
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if self.show and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Live

            self._live = Live(
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._live is not None:
            self._live.console.print(text, highlight=False, markup=False)
        elif self.show:
            print(text, file=sys.stderr, flush=True)

    def hear(self, name: str, *words: Any) -> None:
        """What a worker tells: the name of a method here, and what to give it."""
        getattr(self, name)(*words)

    def training(self, what: str, step: int, steps: int) -> None:
        """A reference network's training: its steps in a terminal, its beginning and end in plain lines."""
        if self._live is None:
            if step in (1, steps):
                self.say(f"training the {what}: step {step} of {steps}")
            return
        if self._bar is None:
            self._bar = self._live.add_task(f"training the {what}", total=steps)
        self._live.update(self._bar, completed=step)
        if step == steps:
            self._live.remove_task(self._bar)
            self._bar = None

    def start(self, trials: Mapping[str, str]) -> None:
        """Trials begin now, names by id in the order in which they start: time left is counted from here."""
        self.waiting, self.total, self.done = dict(trials), len(trials), 0
        self.began = time.monotonic()
        if self._live is not None:
            self._bar = self._live.add_task(self._running(), total=self.total)

    def _running(self) -> str:
        """The trial that is under way; of several at a time the one that started first."""
        return next(iter(self.waiting.values()), "done")

    def finished(self, record: Record) -> None:
        """One more trial has ended."""
        self.done += 1
        self.waiting.pop(record.id, None)
        if self._live is not None:
            if record.status != "ok":
                self.say(outcome(record))
            self._live.update(self._bar, completed=self.done, description=self._running())
            return
        left = self.total - self.done
        per_trial = (time.monotonic() - self.began) / self.done
        self.say(
            f"[{self.done}/{self.total}] {outcome(record)}" + (f"; {duration(left * per_trial)} left" if left else "")
        )
