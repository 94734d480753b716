"""What would run: the trials of a command, with their ids, before anything is imported or trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jkbench import fingerprint
from jkbench.errors import Collector, UserError, unknown
from jkbench.plugins import parameters as plugin_parameters
from jkbench.plugins.discovery import Index
from jkbench.plugins.source import Source
from jkbench.records.schema import Shots, Split
from jkbench.task import Task


@dataclass(frozen=True)
class Row:
    """One row of a table: a method with all its parameters, as one task has it."""

    source: Source
    parameters: dict[str, Any]
    label: str


@dataclass(frozen=True)
class Trial:
    """The unit of work, of resume and of storage."""

    id: str
    task: Task
    row: Row
    datasets: dict[str, Source]
    shots: Shots
    seed: int
    split: Split = "test"

    @property
    def name(self) -> str:
        """The trial in a progress line's words."""
        shots = "full data" if self.shots == "full" else f"{self.shots} per class"
        return f"{self.row.label}, {shots}, seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """The trials of one command, and the methods that are not among them, with the reason."""

    task: Task
    rows: list[Row]
    trials: list[Trial]
    not_applicable: dict[str, str] = field(default_factory=dict)


def make(
    task: Task,
    index: Index,
    methods: str = "all",
    shots: Sequence[Shots] | None = None,
    seeds: Sequence[int] | None = None,
    split: Split = "test",
) -> Plan:
    """The plan; every misspelt name and wrong value of the command is told at once as `UserError`."""
    with Collector() as problems:
        datasets = {}
        for name in {task.target.dataset, task.teacher_images.dataset}:
            with problems.caught():
                datasets[name] = _sound(index.find("dataset", name))
        with problems.caught():
            check_names(task, index)
        regimes = task.shots if shots is None else tuple(shots)
        rows: list[Row] = []
        excluded: dict[str, str] = {}
        with problems.caught():
            for name, given in _chosen(task, index, methods):
                with problems.caught():
                    source = index.find("method", name)
                    reason = why_not(source, task)
                    if reason is None:
                        rows += [row for row in _rows(source, task, given) if row not in rows]
                    elif given or name in methods.split(","):
                        raise UserError(f"{name} is not defined on {task.kind} tasks: {reason}")
                    else:
                        excluded[name] = reason
            if not rows and not problems.problems:
                problems.add(UserError(f"none of these methods runs on {task.name}", "jkbench list names their tasks"))
    chosen_seeds = range(task.seeds) if seeds is None else seeds
    trials = [
        _trial(task, row, datasets, regime, seed, split) for regime in regimes for seed in chosen_seeds for row in rows
    ]
    return Plan(task, rows, trials, excluded)


def check_names(task: Task, index: Index) -> None:
    """Refuse a task that names methods which are not there, in ``[methods]`` or as its baseline."""
    with Collector() as problems:
        for where, name in [*(("methods", name) for name in task.methods), ("baseline", task.baseline)]:
            if name.partition("[")[0] not in index.methods():
                error = unknown("method", name, index.methods())
                problems.add(UserError(f"{task.name}: {where}: {error.message}", error.hint))


def check_methods(index: Index, methods: str) -> None:
    """What is wrong with a ``--methods`` text whatever the task is, told at once."""
    with Collector() as problems:
        for name, given in plugin_parameters.parse(methods):
            if name != "all":
                with problems.caught():
                    source = index.find("method", name)
                    if source.described:
                        plugin_parameters.validate(source, given)


def why_not(source: Source, task: Task) -> str | None:
    """Why a method does not run on a task; None where it does, or where its file cannot even be read."""
    if not source.described:
        return None
    if source.facts.get("starts_pretrained") and task.kind in source.tasks and not task.has_pretrained_student:
        return f"there are no weights of {task.student.architecture} that have learnt what the teacher has"
    if task.kind in source.tasks:
        return None
    reason = source.facts.get("elsewhere", {}).get(task.kind)
    if reason:
        return str(reason)
    if task.kind == "robustness":
        return "it learns from a teacher, and a robustness task has none"
    return f"its file names {', '.join(sorted(source.tasks))} alone"


def _sound(source: Source) -> Source:
    if source.broken:
        raise UserError(f"data set {source.name!r} is broken: {source.broken}")
    return source


def _chosen(task: Task, index: Index, methods: str) -> list[tuple[str, dict[str, Any]]]:
    """What a ``--methods`` text names; ``all`` is every method, and may stand among others."""
    chosen: list[tuple[str, dict[str, Any]]] = []
    for name, given in plugin_parameters.parse(methods):
        if name == "all" and not given:
            chosen += [(each, {}) for each in index.methods()]
        else:
            chosen.append((name, given))
    if not chosen:
        raise UserError("no method is named", "give --methods all, or names with commas")
    return chosen


def _rows(source: Source, task: Task, given: dict[str, Any]) -> list[Row]:
    """A plain name takes the task's rows of the method; given parameters are set on the task's own."""
    if not source.described:
        return [Row(source, {}, source.name)]
    usual = task.rows(source.name)
    several = len(usual) > 1
    where = f"{task.name}: methods.{source.name}"
    wanted = [{**({} if several else usual[0]), **given}] if given or not several else usual
    rows = []
    for parameters in wanted:
        full = plugin_parameters.validate(source, parameters, source.name if given else where)
        rows.append(Row(source, full, label(task, source, full)))
    return rows


def label(task: Task, source: Source, parameters: dict[str, Any]) -> str:
    """The name of a row in a task's table: the method, and the parameters that are not the task's usual ones."""
    usual = task.rows(source.name)
    several = len(usual) > 1
    where = f"{task.name}: methods.{source.name}"
    base = plugin_parameters.validate(source, {} if several else usual[0], where)
    shown = {key for each in usual for key in each} if several else set()
    return plugin_parameters.label(source.name, parameters, base, shown)


def _trial(task: Task, row: Row, datasets: dict[str, Source], shots: Shots, seed: int, split: Split) -> Trial:
    name = trial_id(task, row.source, row.parameters, datasets, shots, seed, split)
    return Trial(name, task, row, datasets, shots, seed, split)


def trial_id(
    task: Task,
    method: Source,
    parameters: dict[str, Any],
    datasets: dict[str, Source],
    shots: Shots,
    seed: int,
    split: Split,
) -> str:
    """The hash of all that decides a trial's numbers. The task's protocol holds the teacher's recipe."""
    identity = {
        "task": task.name,
        "protocol": task.protocol,
        "method": method.name,
        "code": method.code,
        "parameters": parameters,
        "datasets": {name: source.code for name, source in sorted(datasets.items())},
        "shots": shots,
        "seed": seed,
        "split": split,
    }
    return fingerprint.of_value(identity)
