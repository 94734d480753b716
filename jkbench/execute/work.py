"""What a worker does: the functions here run where torch is, and are the only ones that run a plugin's code.

Each takes as its last argument ``tell``, which passes words on to the process that waits for the result.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from jkbench.data import photographs, prepared
from jkbench.data.arrays import Split
from jkbench.errors import UserError
from jkbench.execute import Machine, Needs, failed_record, memory
from jkbench.files import write_atomically
from jkbench.planning import Plan, Trial
from jkbench.plugins.describe import Plugin
from jkbench.records import teachers
from jkbench.records.schema import Record
from jkbench.records.weights import described
from jkbench.tasks import task as tasks
from jkbench.tasks.task import Task

if TYPE_CHECKING:
    from jkbench.engine.images import LoadedDataset
    from jkbench.engine.profile import Ceilings, StepCost
    from jkbench.engine.setup import Where

Tell = Callable[..., None]
EVERY = 0.1
"""Seconds between two words about steps, and between two signs of life."""
_loaded: set[tuple[str, ...]] = set()


def warm() -> None:
    """Import what trials need. Without torch each function says so when it is called."""
    with contextlib.suppress(ModuleNotFoundError):
        import torch

        import jkbench.engine.trial  # noqa: F401

        torch.set_num_threads(1)  # a process that is forked has none of the other threads


def load(needs: Needs) -> None:
    """Load the images of a task that are at hand, and import what its networks need, once. Tells of no mistake: the
    function that needs them does."""
    task, datasets = needs.task, dict(needs.datasets)
    if task is None or (key := (task.protocol, *(each.code for each in datasets.values()))) in _loaded:
        return
    with contextlib.suppress(Exception, SystemExit):
        if all(not each.broken and at_hand(each, task) for each in datasets.values()):
            from jkbench.engine import images
            from jkbench.models.network import body

            images.of_task(task, datasets)
            for network in (task.student, task.teacher):
                if network is not None:
                    body(network.architecture, 3, task.target.size or 224)
            _loaded.add(key)


def begin(threads: int, alive: Callable[[], None]) -> None:
    """Compute with so many threads; ``alive`` is called between steps, and between parts of what takes long."""
    with contextlib.suppress(ModuleNotFoundError):
        import torch

        from jkbench.engine import environment

        torch.set_num_threads(threads)
        environment.set_pulse(alive)


def machine_facts(device: str, tell: Tell) -> tuple[str, float | None]:
    """The kind of device that a name stands for here, and its free MiB where it is a GPU. `UserError` without one."""
    from jkbench.engine import environment

    kind = environment.device(device).type
    return kind, environment.free_memory_mb() if kind == "cuda" else None


def trial(wanted: Trial, machine: Machine, alone: bool, tell: Tell) -> Record:
    """The record of one trial."""
    from jkbench.engine.trial import run

    if message := changed(machine.task_file):
        return failed_record(wanted, message)
    return run(wanted, where(machine, alone))


def changed(task_file: tuple[Path, str] | None) -> str:
    """What is wrong where a task's file is no longer what was planned: without folders, as a record keeps it."""
    if task_file is None:
        return ""
    path, protocol = task_file
    try:
        if tasks.load(str(path)).protocol == protocol:
            return ""
        error = UserError(f"{path.name}: the file was changed after this trial was planned", "run the command again")
    except UserError as unreadable:
        error = unreadable
    return str(error).replace(f"{path.parent}/", "")


def together(wanted: Sequence[Trial], machine: Machine) -> Iterator[Record]:
    """The records of trials that run in turns in this process, ``machine.jobs`` at a time."""
    from jkbench.engine import together

    if message := changed(machine.task_file):
        yield from (failed_record(each, message) for each in wanted)
        return
    yield from together.run(wanted, where(machine, machine.jobs == 1), machine.jobs, _room(machine))


def _room(machine: Machine) -> Callable[[int], bool]:
    """Whether so many more trials fit into what is free of the GPU now."""
    from jkbench.engine import environment

    taken = machine.trial_mb
    return lambda count: taken is None or memory.fitting(environment.free_memory_mb(), taken) >= count


def where(machine: Machine, alone: bool = True) -> Where:
    """A machine as the engine knows it."""
    from jkbench.engine import environment, setup

    return setup.Where(environment.device(machine.device), machine.folder, machine.cache, alone, machine.timeout)


def profile(trials: Sequence[Trial], machine: Machine, tell: Tell) -> tuple[Ceilings, list[StepCost], str]:
    """The machine's ceilings, what a step of each trial costs, and the model of the machine."""
    from jkbench.engine import environment
    from jkbench.engine.profile import profile as measure

    place = environment.describe(where(machine).device)
    return *measure(trials, where(machine)), place.processor or place.device


def expected(trials: Sequence[Trial], machine: Machine, tell: Tell) -> list[float]:
    """Seconds that each of these trials of one method would train here, by a few timed steps."""
    from jkbench.engine import environment, images
    from jkbench.engine.profile import expected_seconds

    data = images.of_task(trials[0].task, trials[0].datasets)
    return expected_seconds(trials, data, environment.device(machine.device))


def expected_training(
    task: Task, datasets: dict[str, Plugin], recipe: teachers.Recipe, machine: Machine, tell: Tell
) -> float:
    """Seconds that a network of a task would train here, by a few timed steps."""
    from jkbench.engine import environment
    from jkbench.engine import profile as timing

    return timing.expected_training(recipe, images_of(recipe, task, datasets), environment.device(machine.device))


def fit(plan: Plan, fetch: bool, tell: Tell) -> str:
    """Refuse what cannot run, before anything is trained: architectures, sizes, regimes.

    Without ``fetch``, images that are not here stay where they are: a sentence says what is not checked then.
    """
    from jkbench.engine import images
    from jkbench.engine.setup import check_fit
    from jkbench.models.network import body

    task, datasets = plan.task, plan.trials[0].datasets
    if not fetch and (missing := absent(task, datasets)):
        for network in (task.student, task.teacher):
            if network is not None:
                body(network.architecture, 3, task.target.size or 224)
        return f"the images of {' and '.join(missing)} are not here: sizes and regimes are not checked"
    check_fit(task, images.of_task(task, datasets), {each.shots for each in plan.trials})
    return ""


def first_loss(trials: Sequence[Trial], tell: Tell) -> UserError | None:
    """Why a row cannot run: its first loss is computed with untrained networks. None where it can."""
    from jkbench.engine import images
    from jkbench.engine.first_loss import refusal

    return refusal(trials, images.of_task(trials[0].task, trials[0].datasets))


def absent(task: Task, datasets: Mapping[str, Plugin]) -> list[str]:
    """The data sets of a task whose images are not here."""
    return [each.name for each in datasets.values() if each.broken or not at_hand(each, task)]


def at_hand(plugin: Plugin, task: Task) -> bool:
    """Whether a data set's images are here, at the task's size, or come with the plugin."""
    fetched = plugin.facts.get("content") or plugin.facts.get("fetched")
    sizes = {images.size for images in (task.target, task.teacher_images) if images.dataset == plugin.name}
    return not fetched or prepared.is_prepared(plugin.name) or sizes <= set(photographs.sizes(plugin.name))


def rescore(
    task: Task, datasets: dict[str, Plugin], folder: Path, records: Sequence[Record], tell: Tell
) -> list[tuple[str, str]]:
    """The id of a record and a sentence, for each number that its predictions or the images contradict."""
    from jkbench.engine import rescore

    return rescore.faults(task, datasets, folder, records)


def train(
    task: Task, datasets: dict[str, Plugin], recipes: Iterable[teachers.Recipe], machine: Machine, tell: Tell
) -> list[str]:
    """See that networks of a task are kept: trained or fetched now where they are not. Describes each."""
    from jkbench.engine import environment
    from jkbench.engine import teacher as networks

    environment.prepare(environment.device(machine.device))
    sentences = []
    for recipe in recipes:
        images, device = images_of(recipe, task, datasets), environment.device(machine.device)
        trained = networks.obtain(machine.folder, recipe, images, device, _Steps(tell, recipe.role))
        if recipe.role == "teacher":
            teachers.check_accuracy(task, trained.accuracy)
        sentences.append(trained.describe())
    return sentences


def images_of(recipe: teachers.Recipe, task: Task, datasets: dict[str, Plugin]) -> LoadedDataset:
    """The images that a task's network goes with.

    The images that a pre-trained one has seen are not here, and the target's need not be: what counts is their size.
    """
    import numpy as np

    from jkbench.engine import images

    size = task.target.size
    if recipe.pretrained is not None and size is not None:
        none = Split(np.empty((0, size, size, 3), np.uint8), np.empty(0, np.int64))
        return images.LoadedDataset({"train": none}, (), "")
    return images.of_task(task, datasets).source


def export_network(
    task: Task, datasets: dict[str, Plugin], recipe: teachers.Recipe, folder: Path, file: Path, tell: Tell
) -> str:
    """Copy a kept network to a file, after a look at it; what it is, in words."""
    from jkbench.engine import environment
    from jkbench.engine import teacher as networks

    images = images_of(recipe, task, datasets)
    told = networks.load(folder, recipe, images, environment.device("cpu")).describe()
    write_atomically(file, teachers.path(folder, recipe).read_bytes())
    return told


def import_network(
    task: Task, datasets: dict[str, Plugin], recipe: teachers.Recipe, folder: Path, file: Path, tell: Tell
) -> str:
    """Keep a task's network from a file; what it is, in words."""
    from jkbench.engine import environment
    from jkbench.engine import teacher as networks

    if recipe.role == "teacher" and (told := described(file)) is not None:
        teachers.check_accuracy(task, told.accuracy)
    images = images_of(recipe, task, datasets)
    return networks.adopt(file, folder, recipe, images, environment.device("cpu")).describe()


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
