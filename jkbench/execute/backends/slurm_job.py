"""What runs as a Slurm job, on a node: trials one after the other, or a function of `jkbench.execute.work`, each in a
process of `jkbench.execute.backends.processes`, as it would run without Slurm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jkbench.execute import Machine, Needs, node
from jkbench.execute.backends import processes
from jkbench.planning import Trial
from jkbench.records.schema import Record


@dataclass
class TrialsJob:
    """Trials of one job. What is done when the job is stopped is kept, and not run again."""

    trials: Sequence[Trial]
    machine: Machine
    versions: dict[str, str]
    done: list[Record] = field(default_factory=list)

    def __call__(self) -> list[Record] | str:
        """The records; or why none of them can run on this node."""
        if wrong := node.differences(self.versions) or node.lacks():
            return wrong
        with processes.Workers(self.machine.threads) as workers:
            if wrong := node.refusal(self.trials[0], workers):
                return wrong
            for trial in self.trials[len(self.done) :]:
                self.done += map(node.beside_others, workers.run([trial], self.machine))
        return self.done

    def checkpoint(self) -> Any:
        """What submitit puts into the queue when Slurm stops the job."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


@dataclass(frozen=True)
class CallJob:
    """A function of `jkbench.execute.work`."""

    function: Callable[..., Any]
    arguments: Sequence[Any]
    threads: int
    needs: Needs

    def __call__(self) -> Any:
        """Its result."""
        with processes.Workers(self.threads) as workers:
            return workers.call(self.function, *self.arguments, needs=self.needs)
