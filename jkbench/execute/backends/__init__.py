"""Back ends by name. Each is a module here with a class ``Workers``: another one is another file and its line below."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, Self

from jkbench.errors import UserError, unknown
from jkbench.execute import NOTHING, Machine, Needs
from jkbench.execute.request import NO_REQUEST, Request
from jkbench.planning import Trial
from jkbench.records.schema import Record

DEFAULT = "processes"
BACK_ENDS = {name: f"jkbench.execute.backends.{name}" for name in (DEFAULT, "serial", "streams", "ray", "slurm")}

Heard = Callable[..., None]
"""Is given what a function of `jkbench.execute.work` tells while it runs."""


def ignore(*told: Any) -> None:
    """Hears nothing."""


class Workers(Protocol):
    """Where the functions of `jkbench.execute.work` run. A context: leaving it ends what still runs."""

    streams: bool
    """Whether trials on a GPU are streams of one process."""

    def __init__(self, threads: int = 1, request: Request = NO_REQUEST) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def facts(self, device: str) -> tuple[str, float | None]:
        """The kind of device that trials run on, and its free MiB where it is a GPU of this machine."""

    def slots(self) -> int | None:
        """Trials to hand out at a time; None where this machine's cores and memory say it."""

    def grow(self, jobs: int) -> None:
        """Prepare for so many trials at a time."""

    def call(
        self, function: Callable[..., Any], *arguments: Any, needs: Needs = NOTHING, heard: Heard = ignore,
        limit: float | None = None,
    ) -> Any:  # fmt: skip
        """The result of one function. `UserError` where it fails, dies, or is silent for ``limit`` seconds."""

    def run(self, trials: Sequence[Trial], machine: Machine) -> Iterator[Record]:
        """The records of the trials, in the order in which they end: one for each, whatever happens in it."""


def start(executor: str = DEFAULT, threads: int = 1, request: Request = NO_REQUEST) -> Workers:
    """The workers of a back end. `UserError` for an unknown name, and for a request that it does not take."""
    check(executor)
    module = importlib.import_module(BACK_ENDS[executor])
    if wrong := sorted(request.model_fields_set - module.TAKES):
        takes = f"it takes {', '.join(sorted(module.TAKES))}" if module.TAKES else "leave it out"
        raise UserError(f"--executor {executor} takes no {', '.join(wrong)}", takes)
    found: Workers = module.Workers(threads, request)
    return found


def check(executor: str) -> None:
    """`UserError` for the name of no back end."""
    if executor not in BACK_ENDS:
        raise unknown("executor", executor, BACK_ENDS)


def run(trials: Sequence[Trial], machine: Machine, executor: str = DEFAULT) -> Iterator[Record]:
    """The records of the trials, by the back end of that name."""
    with start(executor, machine.threads) as workers:
        yield from workers.run(trials, machine)
