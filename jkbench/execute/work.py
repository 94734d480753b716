"""What a worker does: the functions here run where torch is, and are the only ones that run a plugin's code.

Each takes as its last argument ``tell``, which passes words on to the process that waits for the result.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from jkbench.data import photographs, prepared
from jkbench.data.arrays import Split
from jkbench.errors import UserError
from jkbench.execute import Machine
from jkbench.planning import Plan, Trial
from jkbench.plugins.describe import Plugin
from jkbench.records import teachers
from jkbench.records.schema import Record
from jkbench.tasks.task import Task

if TYPE_CHECKING:
    from jkbench.engine.images import LoadedDataset

Tell = Callable[..., None]
EVERY = 0.1
"""Seconds between two words about steps, and between two signs of life."""


def warm(threads: int) -> None:
    """Import what trials need. Without torch each function says so when it is called."""
    with contextlib.suppress(ModuleNotFoundError):
        import torch

        import jkbench.engine.trial  # noqa: F401

        torch.set_num_threads(threads)


def hear(alive: Callable[[], None]) -> None:
    """Have ``alive`` called while the engine computes: between steps, and between parts of what takes long."""
    with contextlib.suppress(ModuleNotFoundError):
        from jkbench.engine import environment

        environment.set_pulse(alive)


def machine_facts(device: str, tell: Tell) -> tuple[str, float | None]:
    """The kind of device that a name stands for here, and its free MiB where it is a GPU. `UserError` without one."""
    from jkbench.engine import environment

    kind = environment.device(device).type
    return kind, environment.free_memory_mb() if kind == "cuda" else None


def trial(wanted: Trial, machine: Machine, alone: bool, tell: Tell) -> Record:
    """The record of one trial."""
    from jkbench.engine import environment
    from jkbench.engine.setup import Where
    from jkbench.engine.trial import run

    where = Where(environment.device(machine.device), machine.folder, machine.cache, alone, machine.timeout)
    return run(wanted, where)


def fit(plan: Plan, fetch: bool, tell: Tell) -> str:
    """Refuse what cannot run, before anything is trained: architectures, sizes, regimes, depths.

    Without ``fetch``, images that are not here stay where they are: a sentence says what is not checked then.
    """
    from jkbench.engine import images
    from jkbench.engine.setup import check_fit
    from jkbench.models.network import body

    task, datasets = plan.task, plan.trials[0].datasets
    absent = [] if fetch else [each.name for each in datasets.values() if each.broken or not at_hand(each, task)]
    if absent:
        for network in (task.student, task.teacher):
            if network is not None:
                body(network.architecture, 3, task.target.size or 224)
        return f"the images of {' and '.join(absent)} are not here: sizes and regimes are not checked"
    depths = {
        str(row.parameters[parameter.name])
        for row in plan.rows
        for parameter in row.plugin.parameters
        if parameter.annotation == "Depth"
    }
    check_fit(task, images.of_task(task, datasets), {each.shots for each in plan.trials}, depths)
    return ""


def at_hand(plugin: Plugin, task: Task) -> bool:
    """Whether a data set's images are here, at the task's size, or come with the plugin."""
    fetched = plugin.facts.get("content") or plugin.facts.get("fetched")
    sizes = {images.size for images in (task.target, task.teacher_images) if images.dataset == plugin.name}
    return not fetched or prepared.is_prepared(plugin.name) or sizes <= set(photographs.sizes(plugin.name))


def train(
    task: Task, datasets: dict[str, Plugin], roles: Sequence[teachers.Role], machine: Machine, tell: Tell
) -> dict[teachers.Role, str]:
    """See that a task's networks of these roles are kept: trained or fetched now where they are not. What they are."""
    from jkbench.engine import environment
    from jkbench.engine import teacher as networks

    environment.prepare()
    described: dict[teachers.Role, str] = {}
    for role in roles:
        found = recipe_and_images(task, datasets, role)
        if found is None:
            continue
        device = environment.device(machine.device)
        described[role] = networks.obtain(machine.folder, *found, device, _Steps(tell, role)).describe()
    return described


def recipe_and_images(
    task: Task, datasets: dict[str, Plugin], role: teachers.Role = "teacher"
) -> tuple[teachers.Recipe, LoadedDataset] | None:
    """The recipe of a task's network, and the images that it goes with; None where the task has no such network.

    The images that a pre-trained one has seen are not here, and the target's need not be: what counts is their size.
    """
    import numpy as np

    from jkbench.engine import images

    made = teachers.of_task(task, datasets, role)
    if made is None:
        return None
    size = task.target.size
    if made.pretrained is not None and size is not None:
        none = Split(np.empty((0, size, size, 3), np.uint8), np.empty(0, np.int64))
        return made, images.LoadedDataset({"train": none}, (), "")
    return made, images.of_task(task, datasets).source


def check(path: Path, tell: Tell) -> None:
    """Tell each finding about a plugin file, as the fields of `jkbench.engine.check.Finding`."""
    from jkbench.engine.check import check as findings_of

    for finding in findings_of(path):
        tell(asdict(finding))


class _Steps:
    """Tells of a training's first and last step, and of some between."""

    def __init__(self, tell: Tell, role: str) -> None:
        self._tell, self._role, self._last = tell, role, 0.0

    def __call__(self, step: int, steps: int) -> None:
        now = time.monotonic()
        if step in (1, steps) or now - self._last > EVERY:
            self._last = now
            self._tell("training", self._role, step, steps)


def missing_torch(error: BaseException) -> UserError | None:
    """What to tell where a function stopped because torch is not installed; None of any other error."""
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in ("torch", "torchvision"):
        return UserError(f"{error.name} is not installed here", "plan here, and run on a machine that has it")
    return None
