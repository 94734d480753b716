"""Which records a table rests on: those of the present task, code and revision, one split, one page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from jkbench import planning as plan
from jkbench.errors import UserError
from jkbench.plugins.discovery import Index
from jkbench.records.schema import Outline, Record
from jkbench.records.store import RecordSet
from jkbench.tasks.shots import Shots, SplitName
from jkbench.tasks.task import Task


@dataclass(frozen=True)
class Chosen:
    """The records that one page shows.

    records: of the test split, of the task's current protocol and code, one per (label, shots, seed), any status.
    stale: how many records were left out because their code, task or revision is an earlier one.
    expected: the (label, shots) cells that the task plans; one without records is shown as "–" and counted.
    """

    task: Task
    records: list[Record]
    stale: int = 0
    expected: list[tuple[str, Shots]] | None = None


def currency(task: Task, index: Index) -> Callable[[Outline], bool]:
    """What tells whether running a record's trial now would be the same trial.

    Where its plugin is not here (records of somebody else's method), the protocol alone is compared.
    """
    protocol, methods = task.protocol, index.methods()
    names = {task.target.dataset, task.teacher_images.dataset}
    datasets = {name: plugin for name in names if (plugin := index.datasets().get(name)) is not None}
    trial_id = plan.trial_ids(task, datasets)

    def is_current(record: Outline) -> bool:
        if record.protocol != protocol:
            return False
        method = methods.get(record.method)
        if method is None or len(datasets) < len(names):
            return True
        return record.id == trial_id(method, record.parameters, record.shots, record.seed, record.split)

    return is_current


def _naming(task: Task, index: Index) -> Callable[[Record], Record]:
    """Names a record as its parameters are called in the present task, which may have changed since."""

    @cache
    def usual(method: str) -> plan.Usual | None:
        plugin = index.methods().get(method)
        if plugin is None or not plugin.described:
            return None
        with suppress(UserError):  # the task's own parameters do not fit the plugin: planning says so
            return plan.usual(task, plugin)
        return None

    def named(record: Record) -> Record:
        found = usual(record.method)
        label = record.label if found is None else found.label(record.parameters)
        return record if label == record.label else record.model_copy(update={"label": label})

    return named


def choose(
    task: Task, index: Index, loaded: RecordSet[Record], split: SplitName = "test", labels: Sequence[str] | None = None
) -> Chosen:
    """The records of one page: of ``labels`` where given, else of every row that the task has records of.

    A row without records is shown, empty, where the task plans it: of the test split, and a method that the task's
    file names in ``[methods]`` or as its baseline. Any other method appears with its first record.
    """
    named, is_current = _naming(task, index), currency(task, index)
    of_split = [named(record) for record in loaded.records.values() if record.split == split]
    wanted = [record for record in of_split if labels is None or record.label in labels]
    current = [record for record in wanted if is_current(record)]
    there = {record.label for record in current}
    try:
        rows = plan.make(task, index).rows
    except UserError:
        rows = []
    # candidates on validation images are whatever was tried
    named_by_task = {*task.methods, task.baseline.partition("[")[0]} if split == "test" else set()
    planned = [row.label for row in rows if row.label in there or row.plugin.name in named_by_task]
    return Chosen(
        task=task,
        records=sorted(current, key=lambda record: record.sort_key),
        stale=len(wanted) - len(current),
        expected=[(row, shots) for row in planned if labels is None or row in labels for shots in task.shots],
    )
