"""Back ends by name. Each is a module here with a class ``Workers``: another one is another file and its line below."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, Self

from jkbench.errors import unknown
from jkbench.execute import NOTHING, Machine, Needs
from jkbench.planning import Trial
from jkbench.records.schema import Record

DEFAULT = "processes"
BACK_ENDS = {
    DEFAULT: "jkbench.execute.backends.processes",
    "serial": "jkbench.execute.backends.serial",
    "streams": "jkbench.execute.backends.streams",
}

Heard = Callable[..., None]
"""Is given what a function of `jkbench.execute.work` tells while it runs."""


def ignore(*told: Any) -> None:
    """Hears nothing."""


class Workers(Protocol):
    """Where the functions of `jkbench.execute.work` run. A context: leaving it ends what still runs."""

    def __init__(self, threads: int = 1) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def grow(self, jobs: int) -> None:
        """Prepare for so many trials at a time."""

    def call(
        self, function: Callable[..., Any], *arguments: Any, needs: Needs = NOTHING, heard: Heard = ignore,
        limit: float | None = None,
    ) -> Any:  # fmt: skip
        """The result of one function. `UserError` where it fails, dies, or is silent for ``limit`` seconds."""

    def run(self, trials: Sequence[Trial], machine: Machine) -> Iterator[Record]:
        """The records of the trials, in the order in which they end: one for each, whatever happens in it."""


def start(executor: str = DEFAULT, threads: int = 1) -> Workers:
    """The workers of a back end. `UserError` for an unknown name."""
    check(executor)
    found: Workers = importlib.import_module(BACK_ENDS[executor]).Workers(threads)
    return found


def check(executor: str) -> None:
    """`UserError` for the name of no back end."""
    if executor not in BACK_ENDS:
        raise unknown("executor", executor, BACK_ENDS)


def run(trials: Sequence[Trial], machine: Machine, executor: str = DEFAULT) -> Iterator[Record]:
    """The records of the trials, by the back end of that name."""
    with start(executor, machine.threads) as workers:
        yield from workers.run(trials, machine)
