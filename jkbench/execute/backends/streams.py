"""Several trials at a time in this process, in turns step by step: on a GPU each on a stream of its own.

For networks so small that one of them leaves most of a GPU idle. A plugin that dies takes the command with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jkbench.execute import Machine, work
from jkbench.execute.backends import ignore, serial
from jkbench.planning import Trial
from jkbench.records.schema import Record

TAKES = serial.TAKES


class Workers(serial.Workers):
    """This process."""

    streams = True

    def run(self, trials: Sequence[Trial], machine: Machine) -> Iterator[Record]:
        """Records in the order in which the trials end, ``machine.jobs`` of them at a time."""
        work.begin(self._threads, ignore)
        yield from work.together(trials, machine)
