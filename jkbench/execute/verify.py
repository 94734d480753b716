"""Whether records are what they say: held against themselves, scored again, and a sample trained again."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from jkbench import hashing, planning
from jkbench.errors import UserError
from jkbench.execute import backends, work
from jkbench.execute.progress import Progress
from jkbench.execute.session import Resources, prepare
from jkbench.planning import Plan, Row, Trial
from jkbench.plugins.discovery import Index
from jkbench.records import audit, choices, select, teachers, weights
from jkbench.records import tasks as recorded_tasks
from jkbench.records.audit import Known
from jkbench.records.repeats import Repeat, compared
from jkbench.records.schema import Record
from jkbench.records.store import RecordSet, Store, encode
from jkbench.report.checks import disagreements, one_protocol
from jkbench.tasks.shots import SplitName, per_class
from jkbench.tasks.task import Task

Level = Literal["schema", "rescore", "rerun"]
LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass(frozen=True)
class Fault:
    """What cannot be so: in a task, of a record (its id and its name; empty where it is of several)."""

    task: str
    what: str
    trial: str = ""
    name: str = ""

    def __str__(self) -> str:
        return ": ".join(
            part for part in (self.task, f"{self.name} ({self.trial})" if self.trial else "", self.what) if part
        )


@dataclass
class Verified:
    """How many records were looked at in which way, what is wrong, and what could not be looked at."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    repeats: list[Repeat] = field(default_factory=list)


@dataclass(frozen=True)
class Wanted:
    """Which records are verified, and how.

    ``tasks`` None: all. ``lacking``: only those that this folder lacks. ``sample`` records are trained again, among
    those that took at most ``longest`` seconds; on another machine metrics may differ by ``tolerance`` (see `Repeat`).
    """

    level: Level = "rescore"
    tasks: Collection[str] | None = None
    lacking: Path | None = None
    sample: int = 3
    longest: float = 60.0
    tolerance: float = 0.02


def verify(folder: Path, index: Index, wanted: Wanted, resources: Resources, show: bool = True) -> Verified:
    """Verify the records of a leaderboard folder; nothing is written there. `UserError` where it has none."""
    store, found = Store(folder), Verified()
    names = store.tasks()
    if not names:
        raise UserError(f"there are no records in {folder}", "name a leaderboard folder: it has records/ or inflight/")
    if unknown := sorted(set(wanted.tasks or ()) - set(names)):
        raise UserError(f"there are no records of {', '.join(unknown)} in {folder}", f"there are: {', '.join(names)}")
    found.faults += [Fault("", complaint) for complaint in store.complaints()]
    found.faults += _networks(folder)
    sound: list[tuple[Record, Known]] = []
    executor = "serial" if wanted.level == "schema" else resources.executor
    with backends.start(executor, resources.threads) as workers:
        for name in names if wanted.tasks is None else sorted(wanted.tasks):
            sound += _verify_task(store, name, index, wanted, found, workers)
    if wanted.level == "rerun":
        able = [(r, known) for r, known in sound if r.cost is not None and r.cost.seconds <= wanted.longest]
        for record, known in random.sample(able, min(wanted.sample, len(able))):
            repeat = repeated(folder, record, known, resources, wanted.tolerance, show)
            found.repeats.append(repeat)
            found.faults += [_fault(record, f"trained again: {what}") for what in repeat.faults]
        found.counts["trained again"] = len(found.repeats)
    return found


def _verify_task(
    store: Store, name: str, index: Index, wanted: Wanted, found: Verified, workers: backends.Workers
) -> list[tuple[Record, Known]]:
    """Look at the records of one task; those that can be trained again here."""
    loaded = store.read(name)
    found.faults += [Fault(name, complaint) for complaint in loaded.complaints()]
    records = _wanted(loaded, name, wanted.lacking)
    try:
        task = recorded_tasks.load(name, store.folder)
        known = Known.of(task, index, store.folder)
    except UserError as error:
        found.faults.append(Fault(name, f"cannot check its records against their task: {error.message}"))
        return []
    for record in records:
        found.faults += [_fault(record, what) for what in audit.faults(record, known)]
    found.faults += [Fault(name, what) for what in _among(task, index, loaded, store)]
    found.counts["checked against their schema and bounds"] += len(records)
    current = [record for record in records if record.protocol == task.protocol]
    if stale := len(records) - len(current):
        found.skipped.append(f"{name}: {stale} records of an earlier protocol are not checked against the task")
    if wanted.level == "schema" or not current:
        return []
    if absent := work.absent(task, known.datasets):
        found.skipped.append(f"{name}: not scored again: the images of {' and '.join(absent)} are missing")
        return []
    by_id = {record.id: record for record in current}
    told = workers.call(work.rescore, task, known.datasets, store.folder, current)
    found.faults += [_fault(by_id[trial], what) for trial, what in told]
    found.counts["scored again"] += sum(record.status == "ok" for record in current)
    ids = {fault.trial for fault in found.faults}
    return [(r, known) for r in current if r.status == "ok" and known.current_code(r) is not None and r.id not in ids]


def _fault(record: Record, what: str) -> Fault:
    return Fault(record.task, what, record.id, f"{record.label}, {per_class(record.shots)}, seed {record.seed}")


def _wanted(loaded: RecordSet[Record], task: str, lacking: Path | None) -> list[Record]:
    """The records of a task, or those that another folder lacks or has with other content."""
    records = [*loaded.records.values(), *loaded.repeats]
    held = Store(lacking).read(task).records if lacking is not None else {}
    return [r for r in records if r.id not in held or encode(held[r.id]) != encode(r)]


def _among(task: Task, index: Index, loaded: RecordSet[Record], store: Store) -> Iterator[str]:
    """What the records of one page should share and do not."""
    splits: tuple[SplitName, ...] = ("test", "validation")
    for split in splits:
        for chosen in select.pages(task, index, loaded, choices.read(task, *store.folders), split):
            kept, left_out = one_protocol(task, chosen.records)
            yield from [*left_out, *disagreements(task, kept)]


def _networks(folder: Path) -> Iterator[Fault]:
    """Stored networks that are damaged, or lie under a name that is not their recipe's."""
    for file in sorted((folder / "teachers").glob("*.safetensors")):
        told = weights.described(file)
        if told is None or not weights.is_whole(file):
            yield Fault("", f"the network in {file} is damaged")
        elif not file.stem.endswith(f"-{hashing.of_value(told.recipe)}"):
            yield Fault("", f"the network in {file} does not have the recipe in its name")


def of_id(folder: Path, index: Index, trial: str) -> tuple[Record, Known]:
    """The record of an id, or of the beginning of one; and what it is held against. `UserError` for none or several."""
    store = Store(folder)
    every = [record for name in store.tasks() for record in store.read(name).records.values()]
    found = [record for record in every if record.id.startswith(trial)]
    if len(found) != 1:
        several = f"{len(found)} records begin with {trial!r}" if found else f"there is no record {trial!r} in {folder}"
        raise UserError(several, "jkbench verify --json lists ids; the pages of jkbench leaderboard --html show them")
    return found[0], Known.of(recorded_tasks.load(found[0].task, folder), index, folder)


def repeated(
    folder: Path, record: Record, known: Known, resources: Resources, tolerance: float, show: bool = True
) -> Repeat:
    """Train a record's trial again, from the record alone, and compare. The networks are those of ``folder``.

    `UserError` where the task, the method's code, or the teacher is no longer that of the record.
    """
    plan = _plan(record, known)
    with tempfile.TemporaryDirectory(prefix="jkbench-rerun-") as made, Progress(show) as progress:
        teachers.bring(Path(made), [folder], plan.task, known.datasets)
        with backends.start(resources.executor, resources.threads) as workers:
            session = prepare(plan, Path(made), resources, workers, progress, RecordSet(), cached=False)
            (again,) = session.run(plan.trials, {}, None)
    return compared(record, again, tolerance)


def _plan(record: Record, known: Known) -> Plan:
    """The plan of one recorded trial."""
    task, plugin = known.task, known.current_code(record)
    if record.protocol != task.protocol or plugin is None:
        what = f"task {task.name}" if record.protocol != task.protocol else f"method {record.method}"
        raise UserError(f"{record.id}: the {what} has changed since, or is not here", "check out the record's commit")
    if (
        (made := known.recipes.get("teacher")) is not None
        and made.pretrained is None
        and "teacher" not in known.networks
    ):
        raise UserError(f"{record.id}: its teacher is not stored here", f"jkbench teacher train --task {task.name}")
    row, where = Row(plugin, record.parameters, record.label), (record.shots, record.seed, record.split)
    steps = record.cost.steps if record.cost and task.budget else None
    trial_id = planning.trial_ids(task, known.datasets)(plugin, row.parameters, *where, steps)
    return Plan(task, [row], [Trial(trial_id, task, row, known.datasets, *where, steps)])
