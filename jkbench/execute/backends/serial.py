"""Everything in this process, one after the other: for a debugger. Nothing is isolated: what a plugin patches reaches
later trials, and a plugin that dies takes the command with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

from jkbench.execute import NOTHING, Machine, Needs, failed_record, work
from jkbench.execute.backends import Heard, ignore
from jkbench.execute.request import NO_REQUEST, Request
from jkbench.planning import Trial
from jkbench.records.schema import Record

TAKES: frozenset[str] = frozenset()


class Workers:
    """This process."""

    streams = False

    def __init__(self, threads: int = 1, request: Request = NO_REQUEST) -> None:
        self._threads = threads

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """There is nothing to end."""

    def facts(self, device: str) -> tuple[str, float | None]:
        """Of this machine."""
        found: tuple[str, float | None] = self.call(work.machine_facts, device)
        return found

    def slots(self) -> None:
        """As many as this machine holds."""

    def grow(self, jobs: int) -> None:
        """There is one process."""

    def call(
        self, function: Callable[..., Any], *arguments: Any, needs: Needs = NOTHING, heard: Heard = ignore,
        limit: float | None = None,
    ) -> Any:  # fmt: skip
        """The function's result; nothing ends it here, whatever ``limit`` says."""
        work.begin(self._threads, ignore)
        return function(*arguments, heard)

    def run(self, trials: Sequence[Trial], machine: Machine) -> Iterator[Record]:
        """Records in the order of the trials."""
        for trial in trials:
            try:
                record = self.call(work.trial, trial, machine, True)
            except Exception as error:  # outside of what a trial answers for: it ends this one alone
                record = failed_record(trial, f"{type(error).__name__}: {error}")
            yield record
