"""``jkbench theory --bound TASK``: the transfer bound on a task's own images, teacher and students."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jkbench.cli import options
from jkbench.errors import UserError

if TYPE_CHECKING:
    from jkbench.engine.images import LoadedDataset
    from jkbench.execute.progress import Progress
    from jkbench.plugins.discovery import Index
    from jkbench.tasks.task import Images, Task

PATIENCE = 20.0
"""Seconds between two words about distances that take long."""


def measure(
    task_name: str, methods: str, shots: str | None, seeds: str | None, plugins: tuple[Path, ...], folder: Path,
    source: str | None, source_images: int, device_name: str, out: Path,
) -> int:  # fmt: skip
    """Measure the bound for the first of the methods, and write its page. Ends with 1 where the bound does not hold."""
    from jkbench.cli.run import check_device, train_teacher
    from jkbench.execute import Machine
    from jkbench.execute.progress import Progress
    from jkbench.files import cache_folder
    from jkbench.records import tasks as recorded_tasks
    from jkbench.records.store import Store
    from jkbench.tasks.task import builtin, load

    check_device(device_name)
    named = recorded_tasks.load(task_name, folder)
    if not named.family.other_labels:
        known = sorted(name for name in builtin() if load(name).family.other_labels)
        raise UserError(
            f"{named.name} is a {named.kind} task: the bound is of transfer, from a source to a target",
            f"transfer tasks: {', '.join(known)}",
        )
    plan, index = options.make_plan(task_name, methods, plugins, shots, seeds, "test", folder)
    row = plan.rows[0]
    if row.plugin.broken:
        raise UserError(str(row.plugin.broken), "name another method with --methods, or mend the file")
    trials = [trial for trial in plan.trials if trial.row == row]
    datasets = trials[0].datasets

    import torch

    from jkbench.engine import environment
    from jkbench.engine import images as image_sets
    from jkbench.engine.setup import Where
    from jkbench.papers.theory import bound, bound_page, measured
    from jkbench.report.render import write

    more = None if source is None else _more(source, plan.task, index)
    data = image_sets.of_task(plan.task, datasets)
    device = environment.device(device_name)
    torch.set_num_threads(1)  # as in the trials of `jkbench run`: the same bits
    large = measured.large_set(plan.task, data, source_images, device, more)
    setup = Machine(folder.resolve(), cache_folder(), device.type)
    train_teacher(plan, trials, setup)
    where = Where(device, setup.folder, setup.cache)
    students = []
    with Progress({}) as progress:
        if len(plan.rows) > 1:
            progress.say(f"of {len(plan.rows)} rows the first is measured: {row.label}")
        for student in measured.measure(trials, where, large, data, _Patient(progress)):
            students.append(student)
            progress.say(f"[{len(students)}/{len(trials)}] {student.trial.name}: {_told(student)}")
    loaded = Store(folder).read(plan.task.name)
    found = bound.recorded(plan.task, index, loaded, row.label)
    page = bound_page.document(plan.task, row.label, students, large, len(data.target.classes), found)
    for path in write(out, page):
        click.echo(path)
    for complaint in loaded.complaints():
        click.echo(f"warning: {complaint}", err=True)
    if not found.gains:
        click.echo(f"no gains: {folder} has no records of {row.label} beside {plan.task.baseline}", err=True)
    return 0 if all(side.holds for student in students for side in student.sides) else 1


def _more(name: str, task: Task, index: Index) -> tuple[Images, LoadedDataset]:
    """The images of ``--source DATASET``, in the target's size where the task names one and the set has several."""
    from jkbench.engine import images as image_sets
    from jkbench.plugins.loading import load
    from jkbench.tasks.task import Images

    source = index.find("dataset", name)
    sized = "size" in load(source).model_fields
    images = Images(dataset=name, size=task.target.size if sized else None)
    return images, image_sets.images(source, images)


def _told(student: object) -> str:
    from jkbench.papers.theory.measured import MeasuredStudent

    assert isinstance(student, MeasuredStudent)
    if student.accuracy is None:
        return f"diverged: {student.diverged}"
    return "; ".join(
        f"{side.space}: H {side.distance:.3g}, bound {side.right:.3g}, {side.factor:.3g} times E"
        for side in student.sides
    )


class _Patient:
    """Says how far a long computation has come, now and then."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._last = time.monotonic()
        self._what = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._last = what, now
        elif now - self._last > PATIENCE and done < total:
            self._last = now
            self._progress.say(f"{what}: {100 * done // total} %")
