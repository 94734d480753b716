"""The transfer bound on a task's own images, teacher and students: from a plan to its page."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from jkbench.engine import images as image_sets
from jkbench.engine.images import LoadedDataset
from jkbench.errors import UserError
from jkbench.execute import Machine, Needs, backends
from jkbench.execute.progress import Progress
from jkbench.execute.run import Planned
from jkbench.execute.session import Resources, prepare
from jkbench.execute.work import Tell, where
from jkbench.papers.theory import bound, bound_page, measured
from jkbench.papers.theory.measured import MeasuredStudent
from jkbench.planning import Plan
from jkbench.plugins.describe import Plugin
from jkbench.plugins.loading import load
from jkbench.records import tasks as recorded_tasks
from jkbench.records.store import RecordSet
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
    """Measure the bound for the plan's first row, and write its page into ``out``."""
    plan = planned.plan
    row = plan.rows[0]
    plan = replace(plan, rows=[row], trials=[trial for trial in plan.trials if trial.row == row])
    stands_in = None if source is None else planned.index.find("dataset", source)
    with Progress() as progress, backends.start(resources.executor, resources.threads) as workers:
        workers.call(_source, plan, stands_in, needs=Needs.of(plan.trials))
        session = prepare(plan, folder, resources, workers, progress, RecordSet())
        if len(planned.plan.rows) > 1:
            progress.say(f"measuring the first of {len(planned.plan.rows)} rows: {row.label}")
        planned, machine = replace(planned, plan=plan), session.machine(plan.trials, {})
        found: Measured = workers.call(
            _measured, planned, machine, stands_in, source_images, out,
            needs=Needs.of(plan.trials), heard=progress.hear,
        )  # fmt: skip
    return found


def _source(plan: Plan, stands_in: Plugin | None, tell: Tell) -> None:
    """Refuse a broken row, and a source that is not at hand, before anything is trained."""
    load(plan.rows[0].plugin)
    data = image_sets.of_task(plan.task, plan.trials[0].datasets)
    measured.large_set(plan.task, data, 1, torch.device("cpu"), _more(stands_in, plan.task))


def _measured(
    planned: Planned, machine: Machine, stands_in: Plugin | None, source_images: int, out: Path, tell: Tell
) -> Measured:
    """In a worker: the students one after the other, and their page."""
    plan, store = planned.plan, planned.store
    row, here = plan.rows[0], where(machine)
    data = image_sets.of_task(plan.task, plan.trials[0].datasets)
    large = measured.large_set(plan.task, data, source_images, here.device, _more(stands_in, plan.task))
    students: list[MeasuredStudent] = []
    for student in measured.measure(plan.trials, here, large, data, _Patient(tell)):
        students.append(student)
        tell("say", f"[{len(students)}/{len(plan.trials)}] {student.trial.name}: {_told(student)}")
    loaded = store.read(plan.task.name)
    found = bound.recorded(plan.task, planned.index, loaded, row.label)
    page = bound_page.document(plan.task, row.label, students, large, len(data.target.classes), found)
    warnings = [f"warning: {complaint}" for complaint in loaded.complaints()]
    if not found.gains:
        warnings.append(f"no gains: {store.folder} has no records of {row.label} beside {plan.task.baseline}")
    return Measured(write(out, page), warnings, all(side.holds for student in students for side in student.sides))


def _more(source: Plugin | None, task: Task) -> tuple[Images, LoadedDataset] | None:
    """The images of another data set, in the target's size where the task names one and the set has several."""
    if source is None:
        return None
    sized = "size" in load(source).model_fields
    images = Images(dataset=source.name, size=task.target.size if sized else None)
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

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._last = time.monotonic()
        self._what = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._last = what, now
        elif now - self._last > PATIENCE and done < total:
            self._last = now
            self._tell("say", f"{what}: {100 * done // total} %")
