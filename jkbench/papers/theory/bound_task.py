"""The transfer bound on a task's own images, teacher and students: from a plan to its page."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from jkbench.engine import environment
from jkbench.engine import images as image_sets
from jkbench.engine.images import LoadedDataset
from jkbench.engine.setup import Where
from jkbench.errors import UserError
from jkbench.execute import backends
from jkbench.execute.progress import Progress
from jkbench.execute.run import Planned, Resources, prepare
from jkbench.papers.theory import bound, bound_page, measured
from jkbench.papers.theory.measured import MeasuredStudent
from jkbench.plugins.discovery import Index
from jkbench.plugins.loading import load
from jkbench.records import tasks as recorded_tasks
from jkbench.records.store import RecordSet, Store
from jkbench.report.render import write
from jkbench.tasks import task as tasks
from jkbench.tasks.task import Images, Task

PATIENCE = 20.0
"""Seconds between two words about distances that take long."""


@dataclass(frozen=True)
class Measured:
    """The files of the page, what was wrong on the way, and whether the bound holds for every student."""

    written: list[Path]
    warnings: list[str]
    holds: bool


def check_task(name: str, folder: Path) -> None:
    """`UserError` for a task that is not of transfer."""
    task = recorded_tasks.load(name, folder)
    if not task.family.other_labels:
        known = sorted(each for each in tasks.builtin() if tasks.load(each).family.other_labels)
        raise UserError(
            f"{task.name} is a {task.kind} task: the bound is of transfer, from a source to a target",
            f"transfer tasks: {', '.join(known)}",
        )


def measure(
    planned: Planned, folder: Path, resources: Resources, source: str | None, source_images: int, out: Path
) -> Measured:
    """Measure the bound for the plan's first row, and write its page into ``out``; in this process."""
    plan = planned.plan
    row = plan.rows[0]
    plan = replace(plan, rows=[row], trials=[trial for trial in plan.trials if trial.row == row])
    load(row.plugin)  # a broken one is refused before anything is trained
    more = None if source is None else _more(source, plan.task, planned.index)
    data = image_sets.of_task(plan.task, plan.trials[0].datasets)
    device = environment.device(resources.device)
    students: list[MeasuredStudent] = []
    with Progress() as progress, backends.start("serial", resources.threads) as workers:
        large = measured.large_set(plan.task, data, source_images, device, more)
        session = prepare(plan, folder, resources, workers, progress, RecordSet())
        where = Where(device, folder.resolve(), session.cache)
        if len(planned.plan.rows) > 1:
            progress.say(f"of {len(planned.plan.rows)} rows the first is measured: {row.label}")
        for student in measured.measure(plan.trials, where, large, data, _Patient(progress)):
            students.append(student)
            progress.say(f"[{len(students)}/{len(plan.trials)}] {student.trial.name}: {_told(student)}")
    loaded = Store(folder).read(plan.task.name)
    found = bound.recorded(plan.task, planned.index, loaded, row.label)
    page = bound_page.document(plan.task, row.label, students, large, len(data.target.classes), found)
    written = write(out, page)
    warnings = [f"warning: {complaint}" for complaint in loaded.complaints()]
    if not found.gains:
        warnings.append(f"no gains: {folder} has no records of {row.label} beside {plan.task.baseline}")
    return Measured(list(written), warnings, all(side.holds for student in students for side in student.sides))


def _more(name: str, task: Task, index: Index) -> tuple[Images, LoadedDataset]:
    """The images of another data set, in the target's size where the task names one and the set has several."""
    source = index.find("dataset", name)
    sized = "size" in load(source).model_fields
    images = Images(dataset=name, size=task.target.size if sized else None)
    return images, image_sets.images(source, images)


def _told(student: MeasuredStudent) -> str:
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
