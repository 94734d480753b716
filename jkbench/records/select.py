"""Which records a table rests on: those of the present task, code and revision, one split, one page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from jkbench import plan
from jkbench.errors import UserError
from jkbench.plugins.discovery import BUILT_IN, Index
from jkbench.records.schema import Record
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


def is_current(record: Record, task: Task, index: Index) -> bool:
    """Whether running the record's trial now would be the same trial.

    Where its plugin is not here (records of somebody else's method), the protocol alone is compared.
    """
    if record.protocol != task.protocol:
        return False
    method = index.methods().get(record.method)
    names = {task.target.dataset, task.teacher_images.dataset}
    datasets = {name: source for name in names if (source := index.datasets().get(name)) is not None}
    if method is None or len(datasets) < len(names):
        return True
    return record.id == plan.trial_id(
        task, method, record.parameters, datasets, record.shots, record.seed, record.split
    )


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
    task: Task, index: Index, loaded: RecordSet, split: SplitName = "test", labels: Sequence[str] | None = None
) -> Chosen:
    """The records of one page: of ``labels`` where given, else of every row that the task has records of.

    On the test split a row without records is shown, empty, where it is a built-in method's: the page says what has
    not been run. A method of the user's own appears with its first record.
    """
    named = _naming(task, index)
    of_split = [named(record) for record in loaded.records.values() if record.split == split]
    wanted = [record for record in of_split if labels is None or record.label in labels]
    current = [record for record in wanted if is_current(record, task, index)]
    there = {record.label for record in current}
    try:
        rows = plan.make(task, index).rows
    except UserError:
        rows = []
    empty = split == "test"  # candidates on validation images are whatever was tried
    planned = [row.label for row in rows if row.label in there or (empty and row.plugin.origin == BUILT_IN)]
    return Chosen(
        task=task,
        records=sorted(current, key=lambda record: record.sort_key),
        stale=len(wanted) - len(current),
        expected=[(row, shots) for row in planned if labels is None or row in labels for shots in task.shots],
    )
