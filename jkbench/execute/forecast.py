"""How long a plan takes here, before it runs: by the records of its rows, or by a few timed steps of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from jkbench import planning
from jkbench.errors import UserError
from jkbench.execute import Machine, Needs, backends, work
from jkbench.execute.backends import Workers
from jkbench.execute.order import cell
from jkbench.files import of_package
from jkbench.planning import Plan, Row, Trial
from jkbench.plugins.discovery import Index
from jkbench.records import teachers
from jkbench.records.schema import Outline
from jkbench.records.store import Store
from jkbench.records.teachers import Recipe
from jkbench.records.timings import CellKey, duration, seconds_by_cell
from jkbench.tasks import builtin
from jkbench.tasks import task as tasks

HOUR, DAY = 3600.0, 86400.0
SPREAD = 30.0
"""How many times as long as another method's a method's step takes at most."""
PATIENCE = 60.0
"""Seconds without a sign of life after which a row is left to its trials."""
MEASURE = "--measure times a few steps of each row"
SLOWEST_STEP = 10.0
"""Seconds of a step that nobody expects: trials that end within a day even so are not timed before they run."""


@dataclass(frozen=True)
class Forecast:
    """Seconds of training by row and regime, from ``records`` and ``measured``, and of the networks that are missing
    (None unknown). A trial without either is taken for an average one."""

    trials: Sequence[Trial]
    recipes: Sequence[Recipe] = ()
    records: Mapping[CellKey, float] = field(default_factory=dict)
    measured: Mapping[CellKey, float] = field(default_factory=dict)
    networks: Mapping[teachers.Role, float] = field(default_factory=dict)

    def of(self, trial: Trial) -> float | None:
        """Seconds of one trial; None where nothing tells."""
        return self.records.get(cell(trial), self.measured.get(cell(trial)))

    @property
    def unknown(self) -> list[Trial]:
        """Trials of which nothing tells the time."""
        return [trial for trial in self.trials if self.of(trial) is None]

    @property
    def of_records(self) -> int:
        """How many trials have their time from records."""
        return sum(cell(trial) in self.records for trial in self.trials)

    @property
    def of_steps(self) -> int:
        """How many trials have their time from timed steps."""
        return len(self.trials) - self.of_records - len(self.unknown)

    @property
    def seconds(self) -> float | None:
        """Of all trials and networks, one after the other; None where nothing is known of any trial."""
        times = {**self.measured, **self.records}
        if not times and self.trials:
            return None
        usual = sum(times.values()) / max(len(times), 1)
        return sum(times.get(cell(trial), usual) for trial in self.trials) + sum(self.networks.values())

    @property
    def may_be_long(self) -> bool:
        """Whether trials and networks of which nothing is known could take a day."""
        networks = [recipe.training for recipe in self.recipes if recipe.training is not None]
        steps = [training.steps for training in (*networks, *(trial.training for trial in self.unknown))]
        return None in steps or sum(filter(None, steps)) * SLOWEST_STEP > DAY


def by_records(plan: Plan, records: Mapping[str, Outline], store: Store) -> Forecast:
    """What the records of a plan's task tell of its trials."""
    if not plan.trials:
        return Forecast(())
    missing = [r for r in recipes(plan) if not any(teachers.path(f, r).is_file() for f in store.folders)]
    return Forecast(plan.trials, missing, seconds_by_cell(records.values()))


def measured_here(known: Forecast, store: Store, device: str, threads: int) -> Forecast:
    """As `measure`, in a worker of its own. `UserError` where the images are not here."""
    if not known.trials:
        return known
    first = known.trials[0]
    if absent := work.absent(first.task, first.datasets):
        told = f"no step can be timed: the images of {' and '.join(absent)} are not here"
        raise UserError(told, f"jkbench data prepare {absent[0]}")
    with backends.start(threads=threads) as workers:
        kind, _ = workers.call(work.machine_facts, device)
        return measure(known, workers, Machine(store.folder.resolve(), device=kind, threads=threads), PATIENCE)


def measure(known: Forecast, workers: Workers, machine: Machine, patience: float, unless: float = 0.0) -> Forecast:
    """The same with timed steps where nothing tells the time. What fails here is left to its trials.

    Stops early where all would end within ``unless`` seconds even if other methods took many times as long.
    """
    task, datasets = known.trials[0].task, known.trials[0].datasets
    for recipe in known.recipes:
        if recipe.training is not None:
            seconds = workers.call(work.expected_training, task, datasets, recipe, machine)
            known = replace(known, networks={**known.networks, recipe.role: seconds})
    alike: dict[tuple[str, object], list[Trial]] = {}
    for trial in {cell(trial): trial for trial in known.unknown}.values():
        alike.setdefault((costs_alike(trial.row), trial.shots), []).append(trial)
    for plugin in dict.fromkeys(trial.row.plugin.name for trial in known.unknown):
        groups = [group for group in alike.values() if group[0].row.plugin.name == plugin]
        first = [group[0] for group in groups]
        try:
            found = workers.call(work.expected, first, machine, needs=Needs.of(first), limit=patience)
        except Exception:  # whatever a plugin raises, where it runs in this process
            continue
        told = {cell(trial): seconds for group, seconds in zip(groups, found, strict=True) for trial in group}
        known = replace(known, measured={**known.measured, **told})
        if SPREAD * (known.seconds or 0.0) < unless:
            break
    return known


def costs_alike(row: Row) -> str:
    """Equal for rows whose losses have the same terms of the same shapes: a number that is not whole is a weight, and
    only whether it is 0 decides what is computed."""
    told = {name: value != 0 if isinstance(value, float) else value for name, value in row.parameters.items()}
    return f"{row.plugin.name} {sorted(told.items())}"


def recipes(plan: Plan) -> list[Recipe]:
    """The trained networks that a plan's trials need."""
    pretrained = any(row.plugin.facts.get("starts_pretrained") for row in plan.rows)
    roles: tuple[teachers.Role, ...] = ("teacher", "student") if pretrained else ("teacher",)
    datasets = plan.trials[0].datasets
    return [made for role in roles if (made := teachers.of_task(plan.task, datasets, role)) is not None]


def cheaper(plan: Plan, index: Index, store: Store, seconds: float) -> tuple[str, float] | None:
    """A task of the suite where the same methods take an hour at most, and a tenth of ``seconds``; the dearest such.

    Known from records: None where they tell the time of less than half of its trials.
    """
    found = list(_cheaper(plan, index, store, min(HOUR, seconds / 10)))
    return max(found, key=lambda each: each[1], default=None)


def _cheaper(plan: Plan, index: Index, store: Store, most: float) -> Iterator[tuple[str, float]]:
    methods = ",".join({row.plugin.name: None for row in plan.rows})
    suite = of_package("suite", "leaderboard")
    known = Store(store.folder, [*store.folders[1:], *([suite] if suite.is_dir() else [])])
    for name in builtin():
        task = tasks.load(name)
        if name == plan.task.name or task.kind != plan.task.kind:
            continue
        records = known.outlines(name).records
        try:
            other = Forecast(planning.make(task, index, methods).trials, (), seconds_by_cell(records.values()))
        except UserError:  # a method of this plan is not one of that task's
            continue
        if other.seconds is not None and other.seconds <= most and 2 * other.of_records >= len(other.trials):
            yield name, other.seconds


def long(expected: Forecast, plan: Plan, index: Index, store: Store, at_once: int) -> str:
    """What to say of a run of so many trials at a time that takes more than a day; empty of a shorter one."""
    seconds = (expected.seconds or 0.0) / at_once
    if seconds <= DAY:
        return ""
    return f"this takes about {duration(seconds)} here{instead(plan, index, store, seconds, at_once)}"


def instead(plan: Plan, index: Index, store: Store, seconds: float, at_once: int = 1) -> str:
    """What else could be run where this takes longer than an hour, at the end of a sentence."""
    less = cheaper(plan, index, store, seconds) if seconds > HOUR else None
    return f"; `{less[0]}` takes {duration(less[1] / at_once)}" if less else ""
