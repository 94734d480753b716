"""What a step of each method costs: ``costs/TASK.json``, measured by ``jkbench profile --keep``.

Costs are in steps of cross-entropy, taken in turns with the methods' own, so that ratios of several measurements go
together. The dearest method of the first measurement of a regime stays its measure: one that is measured later gets
the same time, and moves no other's steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field

from jkbench.files import write_atomically
from jkbench.planning import Lengths
from jkbench.plugins.describe import Plugin
from jkbench.records import written
from jkbench.records.written import OfTask, Portion
from jkbench.tasks.shots import Shots
from jkbench.tasks.task import Task

Ratio = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class StepRatio(Portion):
    """One method in one regime. ``code``: of the plugin that was measured."""

    code: str
    ratio: Ratio = Field(description="relative to a step of cross-entropy")
    machine: str


class RegimeCosts(Portion):
    """One number of images per class."""

    dearest: Ratio = Field(description="the largest ratio of the first measurement: its time is every method's budget")
    methods: dict[str, StepRatio]


class Costs(OfTask):
    """What `run` reads to give every method of a task the same time."""

    regimes: dict[str, RegimeCosts]

    def steps(self, plugin: Plugin, shots: Shots, steps: int) -> int | None:
        """As many as take the time of ``steps`` of the dearest; None where the plugin, as it is now, has no cost."""
        regime = self.regimes.get(str(shots))
        found = regime.methods.get(plugin.name) if regime else None
        if regime is None or found is None or found.code != plugin.code:
            return None
        return max(1, round(steps * regime.dearest / found.ratio))


def path_of(folder: Path, task: str) -> Path:
    """Where a task's costs are stored."""
    return written.path_of(folder, "costs", task)


def read(task: Task, *folders: Path) -> Costs | None:
    """The costs of a task, of the first folder that has them; None without. `UserError` for a damaged file."""
    return written.read(Costs, "costs", "jkbench profile --keep", task, *folders)


def add(task: Task, folder: Path, shots: Shots, measured: Mapping[str, StepRatio]) -> Path:
    """Keep what was measured in one regime beside what is there; the file."""
    there = read(task, folder) or Costs(task=task.name, protocol=task.protocol, regimes={})
    before = there.regimes.get(str(shots))
    dearest = before.dearest if before else max(each.ratio for each in measured.values())
    methods = {**(before.methods if before else {}), **measured}
    regime = RegimeCosts(dearest=dearest, methods=dict(sorted(methods.items())))
    path = path_of(folder, task.name)
    stored = there.model_copy(update={"regimes": {**there.regimes, str(shots): regime}})
    write_atomically(path, stored.model_dump_json(indent=1) + "\n")
    return path


def lengths(task: Task, *folders: Path) -> Lengths | None:
    """What gives a plan its steps where the task's budget is time; None where all methods take the task's steps."""
    if task.budget is None:
        return None
    costs, steps = read(task, *folders), task.student.training.steps or 0
    return lambda plugin, shots: None if costs is None else costs.steps(plugin, shots, steps)
