"""The trials of a command, with their ids, before anything is imported or trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from jkbench import hashing
from jkbench.errors import Collector, UserError, unknown
from jkbench.plugins import parameters as plugin_parameters
from jkbench.plugins.describe import Plugin
from jkbench.plugins.discovery import Index
from jkbench.tasks.shots import Shots, SplitName, per_class
from jkbench.tasks.task import Task, Training

Own = Callable[[Plugin, Shots], dict[str, Any]]
"""A method's parameters in a regime."""
Lengths = Callable[[Plugin, Shots], int | None]
"""A method's steps in a regime, where the budget is time; None where its cost is not known."""


@dataclass(frozen=True)
class Row:
    """One row of a table: a method with all its parameters, as one task has it."""

    plugin: Plugin
    parameters: dict[str, Any]
    label: str


@dataclass(frozen=True)
class Trial:
    """The unit of work, of resume and of storage."""

    id: str
    task: Task
    row: Row
    datasets: dict[str, Plugin]
    shots: Shots
    seed: int
    split: SplitName = "test"
    steps: int | None = None
    """Where they are not the task's: its budget is time."""

    @property
    def training(self) -> Training:
        """How its student is trained."""
        training = self.task.student.training
        return training if self.steps is None else training.lasting(self.steps)

    @property
    def name(self) -> str:
        """The trial as progress lines call it."""
        return f"{self.row.label}, {per_class(self.shots)}, seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """The trials of one command, and why the other methods are not among them."""

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
    split: SplitName = "test",
    own: Own | None = None,
    lengths: Lengths | None = None,
) -> Plan:
    """The plan of a command; ``own`` says which parameters a method has where they are not the task's, ``lengths``
    how many steps.

    One `UserError` tells every misspelt name and wrong value.
    """
    with Collector() as problems:
        datasets = {}
        for name in {task.target.dataset, task.teacher_images.dataset}:
            with problems.caught():
                datasets[name] = _sound(index.find("dataset", name))
        with problems.caught():
            check_names(task, index)
        regimes = task.shots if shots is None else tuple(shots)
        rows: dict[Shots, list[Row]] = {regime: [] for regime in regimes}
        excluded: dict[str, str] = {}
        with problems.caught():
            for name, given in _chosen(task, index, methods):
                with problems.caught():
                    plugin = index.find("method", name)
                    reason = why_not(plugin, task)
                    if reason is None:
                        for regime, there in rows.items():
                            found = _rows(plugin, task, given, own and own(plugin, regime))
                            there += [row for row in found if row not in there]
                    elif given or name in methods.split(","):
                        raise UserError(f"{name} is not defined on {task.kind} tasks: {reason}")
                    else:
                        excluded[name] = reason
            if not any(rows.values()) and not problems.problems:
                problems.add(UserError(f"none of these methods runs on {task.name}", "jkbench list names their tasks"))
    return of_rows(task, datasets, rows, range(task.seeds) if seeds is None else seeds, split, excluded, lengths)


def of_rows(
    task: Task, datasets: dict[str, Plugin], rows: Mapping[Shots, Sequence[Row]], seeds: Sequence[int],
    split: SplitName, excluded: Mapping[str, str] | None = None, lengths: Lengths | None = None,
) -> Plan:  # fmt: skip
    """The plan of these rows, regime by regime."""
    trial_id, trials = trial_ids(task, datasets), []
    for regime, there in rows.items():
        steps = {row.plugin.name: lengths(row.plugin, regime) if lengths else None for row in there}
        for seed in seeds:
            for row in there:
                length = steps[row.plugin.name]
                named = trial_id(row.plugin, row.parameters, regime, seed, split, length)
                trials.append(Trial(named, task, row, datasets, regime, seed, split, length))
    every = [row for there in rows.values() for row in there]
    return Plan(task, [row for at, row in enumerate(every) if row not in every[:at]], trials, dict(excluded or {}))


def check_names(task: Task, index: Index) -> None:
    """Refuse a task that names unknown methods, in ``[methods]`` or as its baseline."""
    with Collector() as problems:
        for where, name in [*(("methods", name) for name in task.methods), ("baseline", task.baseline)]:
            if plugin_parameters.method_of(name) not in index.methods():
                error = unknown("method", name, index.methods())
                problems.add(UserError(f"{task.name}: {where}: {error.message}", error.hint))


def check_methods(index: Index, methods: str) -> None:
    """Refuse a ``--methods`` text that is wrong for every task; one `UserError` tells all."""
    with Collector() as problems:
        for name, given in plugin_parameters.parse(methods):
            if name != "all":
                with problems.caught():
                    plugin = index.find("method", name)
                    if plugin.described:
                        plugin_parameters.validate(plugin, given)


def why_not(plugin: Plugin, task: Task) -> str | None:
    """Why a method does not run on a task; None where it does, or where its file cannot be read."""
    if not plugin.described:
        return None
    if plugin.facts.get("starts_pretrained") and task.kind in plugin.tasks and not task.has_pretrained_student:
        return f"{task.student.architecture} has no weights trained on the teacher's images"
    if task.kind in plugin.tasks:
        return None
    reason = plugin.facts.get("elsewhere", {}).get(task.kind)
    if reason:
        return str(reason)
    return task.family.why_not or f"it is defined on {', '.join(sorted(plugin.tasks))} only"


def _sound(plugin: Plugin) -> Plugin:
    if not plugin.described:  # whether it can be imported is found where it runs
        raise UserError(f"data set {plugin.name!r} is broken: {plugin.broken}")
    return plugin


def _chosen(task: Task, index: Index, methods: str) -> list[tuple[str, dict[str, Any]]]:
    """The methods that a ``--methods`` text names; ``all`` is every method."""
    chosen: list[tuple[str, dict[str, Any]]] = []
    for name, given in plugin_parameters.parse(methods):
        if name == "all" and not given:
            chosen += [(each, {}) for each in index.methods()]
        else:
            chosen.append((name, given))
    if not chosen:
        raise UserError("--methods names no method", "give --methods all, or names separated by commas")
    return chosen


@dataclass(frozen=True)
class Usual:
    """What a task gives a method: its rows with all parameters, and how a row is named."""

    plugin: Plugin
    rows: list[dict[str, Any]]
    base: dict[str, Any]
    """The parameters that go without saying: the task's one row, or the plugin's defaults where there are several."""
    shown: set[str]

    def label(self, parameters: dict[str, Any]) -> str:
        """The name of a row in the task's table: the method, and the parameters that are not the usual ones."""
        return plugin_parameters.label(self.plugin.name, parameters, self.base, self.shown)


def usual(task: Task, plugin: Plugin) -> Usual:
    """A method's rows in a task, checked here once; `UserError` names the task's wrong parameters."""
    given = task.rows(plugin.name)
    where = f"{task.name}: methods.{plugin.name}"
    rows = [plugin_parameters.validate(plugin, each, where) for each in given]
    if len(rows) == 1:
        return Usual(plugin, rows, rows[0], set())
    return Usual(plugin, rows, plugin_parameters.validate(plugin, {}), {key for each in given for key in each})


def _rows(plugin: Plugin, task: Task, given: dict[str, Any], own: dict[str, Any] | None) -> list[Row]:
    """A plain name takes its ``own`` parameters, or the task's rows of the method; given ones are set on these."""
    if not plugin.described:
        return [Row(plugin, {}, plugin.name)]
    found = usual(task, plugin)
    if own is not None:
        parameters = plugin_parameters.validate(plugin, {**own, **given})
        return [Row(plugin, parameters, found.label(parameters))]
    rows = [plugin_parameters.validate(plugin, {**found.base, **given})] if given else found.rows
    return [Row(plugin, parameters, found.label(parameters)) for parameters in rows]


def trial_ids(
    task: Task, datasets: Mapping[str, Plugin]
) -> Callable[[Plugin, dict[str, Any], Shots, int, SplitName, int | None], str]:  # fmt: skip
    """What names the trials of a task: the hash of everything that decides a trial's numbers.

    The task's protocol includes the teacher's recipe.
    """
    codes = {name: plugin.code for name, plugin in datasets.items()}

    codes = {name: plugin.code for name, plugin in datasets.items()}

    def trial_id(
        method: Plugin, parameters: dict[str, Any], shots: Shots, seed: int, split: SplitName, steps: int | None = None
    ) -> str:
        where = (shots, seed, split, steps)
        return id_of(task.name, task.protocol, codes, method.name, method.code, parameters, *where)

    return trial_id


def id_of(
    task: str, protocol: str, datasets: Mapping[str, str], method: str, code: str, parameters: Mapping[str, Any],
    shots: Shots, seed: int, split: SplitName, steps: int | None = None,
) -> str:  # fmt: skip
    """A trial's id by what it is a hash of; ``datasets`` and ``code`` are plugins' hashes, ``steps`` as in `Trial`."""
    content = {
        "task": task, "protocol": protocol, "datasets": dict(datasets), "method": method, "code": code,
        "parameters": dict(parameters), "shots": shots, "seed": seed, "split": split,
    }  # fmt: skip
    return hashing.of_value(content if steps is None else content | {"steps": steps})


def record_fields(trial: Trial) -> dict[str, Any]:
    """The fields of a trial's record that are known before it runs."""
    return {
        "id": trial.id,
        "task": trial.task.name,
        "task_version": trial.task.version,
        "protocol": trial.task.protocol,
        "method": trial.row.plugin.name,
        "parameters": trial.row.parameters,
        "label": trial.row.label,
        "code": trial.row.plugin.code,
        "reference": trial.row.plugin.reference,
        "shots": trial.shots,
        "seed": trial.seed,
        "split": trial.split,
        "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
