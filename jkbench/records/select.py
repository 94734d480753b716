"""Which records a table rests on: those of the present task, code and revision, one split, one page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from jkbench import planning as plan
from jkbench.errors import UserError
from jkbench.plugins.discovery import Index
from jkbench.plugins.parameters import method_of
from jkbench.records import choices
from jkbench.records import tasks as recorded_tasks
from jkbench.records.choices import Choices, Origin
from jkbench.records.repeats import Repeat
from jkbench.records.schema import Outline, Record
from jkbench.records.store import RecordSet, Store
from jkbench.tasks.shots import Shots, SplitName
from jkbench.tasks.task import Task


@dataclass(frozen=True)
class Chosen:
    """The records that one page shows.

    records: of the test split, of the task's current protocol and code, one per (label, shots, seed), any status.
    stale: how many records were left out because their code, task or revision is an earlier one.
    expected: the (label, shots) cells that the task plans; one without records is shown as "–" and counted.
    repeats: further results of the same trials, each beside the record.
    """

    task: Task
    records: list[Record]
    stale: int = 0
    expected: list[tuple[str, Shots]] | None = None
    origin: Origin = "task"
    choices: Choices | None = None
    repeats: Sequence[Repeat] = ()

    @property
    def name(self) -> str:
        """The page's name: rows with parameters of another origin than the task's have a page of their own."""
        return self.task.name if self.origin == "task" else f"{self.task.name}-{self.origin}"


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
        if task.budget and (record.status != "ok" or record.cost is None):  # its steps are not those that were planned
            return True
        steps = record.cost.steps if task.budget and record.cost else None
        return record.id == trial_id(method, record.parameters, record.shots, record.seed, record.split, steps)

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
    task: Task, index: Index, loaded: RecordSet[Record], split: SplitName = "test",
    labels: Sequence[str] | None = None, choices: Choices | None = None,
) -> Chosen:  # fmt: skip
    """The records of one page: of ``labels`` where given, else of every row that the task has records of, without the
    rows of the pages that ``choices`` have.

    A row without records is shown, empty, where the task plans it: of the test split, and a method that the task's
    file names in ``[methods]`` or as its baseline, unless its only row was run with other parameters. Any other method
    appears with its first record.
    """
    named, is_current = _naming(task, index), currency(task, index)
    of_split = [named(record) for record in loaded.records.values() if record.split == split]
    try:
        rows = plan.make(task, index).rows
    except UserError:
        rows = []
    own = {row.label for row in rows}

    def elsewhere(record: Record) -> bool:
        """Whether it belongs to the page of the defaults or of the tuned rows, and not to the task's own."""
        return choices is not None and record.label not in own and any(_is_of(choices, each, record) for each in BLOCKS)

    wanted = [r for r in of_split if (r.label in labels if labels is not None else not elsewhere(r))]
    current = [record for record in wanted if is_current(record)]
    there = {record.label for record in current}
    # candidates on validation images are whatever was tried
    named_by_task = {*task.methods, method_of(task.baseline)} if split == "test" else set()
    named_by_task -= {name for name in {record.method for record in current} if len(task.rows(name)) == 1}
    planned = [row.label for row in rows if row.label in there or row.plugin.name in named_by_task]
    return Chosen(
        task=task,
        records=sorted(current, key=lambda record: record.sort_key),
        stale=len(wanted) - len(current),
        expected=[(row, shots) for row in planned if labels is None or row in labels for shots in task.shots],
        choices=choices,
        repeats=_repeats(loaded, current),
    )


def _repeats(loaded: RecordSet[Record], shown: Sequence[Record]) -> list[Repeat]:
    ids = {record.id for record in shown}
    return [repeat for repeat in loaded.compared() if repeat.first.id in ids]


BLOCKS: tuple[Origin, Origin] = ("default", "tuned")


def _is_of(choices: Choices, origin: Origin, record: Record) -> bool:
    return choices.parameters(origin, record.method, record.shots) == record.parameters


def block(
    task: Task, index: Index, loaded: RecordSet[Record], choices: Choices, origin: Origin, split: SplitName = "test"
) -> Chosen:
    """The page of all methods that were tuned, with their own defaults or with what tuning chose."""
    is_current, text = currency(task, index), "every method has its own defaults; nothing was chosen."
    if origin == "tuned":
        text = f"every row with a parameter to tune has the best of {choices.budget} configurations. {choices.in_words}"
    records = [
        record.model_copy(update={"label": record.method})
        for record in loaded.records.values()
        if record.split == split and _is_of(choices, origin, record) and is_current(record)
    ]
    return Chosen(
        task=task.model_copy(update={"title": f"{task.title}: {_TITLES[origin]}", "selection": text}),
        records=sorted(records, key=lambda record: record.sort_key),
        expected=[(name, shots) for name in choices.methods for shots in task.shots],
        origin=origin,
        choices=choices,
        repeats=_repeats(loaded, records),
    )


_TITLES: dict[Origin, str] = {"default": "default parameters", "tuned": "parameters tuned alike"}


def pages(
    task: Task, index: Index, loaded: RecordSet[Record], choices: Choices | None, split: SplitName = "test"
) -> Iterator[Chosen]:
    """A task's pages: as its file has the methods, and, where they were tuned, by default and as tuned."""
    yield choose(task, index, loaded, split, choices=choices)
    if choices is not None and split == "test":
        for origin in BLOCKS:
            found = block(task, index, loaded, choices, origin)
            if found.records:
                yield found


def every(
    store: Store, index: Index, split: SplitName, complaints: list[str], read: Callable[[str], RecordSet[Record]],
    names: Iterable[str] | None = None,
) -> Iterator[Chosen]:  # fmt: skip
    """The pages of all tasks, or of these, that have records of a split; what is left out is added to ``complaints``.

    ``read`` gives the records of a task; those of one page at a time are held.
    """
    for name in store.tasks() if names is None else names:
        try:
            task = recorded_tasks.load(name, *store.folders)
        except UserError as error:
            complaints.append(f"records of {name!r} are left out: {error}")
            continue
        loaded = read(name)
        complaints.extend(loaded.complaints())
        if any(record.split == split for record in loaded.records.values()):
            found = list(pages(task, index, loaded, choices.read(task, *store.folders), split))[::-1]
            del loaded
            while found:
                yield found.pop()
