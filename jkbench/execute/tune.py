"""Equal tuning: every method gets the same number of configurations of all its parameters, on validation images.

The first is the method's own. Two thirds of the budget search the declared ranges; the last third searches them again,
those widened at whose edge the best so far lies. A method's draws depend on no other method: one that is tuned later,
with the same settings, is tuned alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jkbench import planning, seeds
from jkbench.errors import Collector, UserError
from jkbench.execute import run as application
from jkbench.execute.run import Planned
from jkbench.execute.session import Resources
from jkbench.planning import Plan, Row
from jkbench.plugins import parameters
from jkbench.plugins.describe import Plugin
from jkbench.plugins.ranges import Range
from jkbench.records import choices
from jkbench.records.choices import Choices, Tried, Tuned
from jkbench.records.schema import FINAL
from jkbench.tasks.shots import Shots

BUDGET = 16
SEEDS = (100, 101, 102)
"""Seeds that no table uses."""
Configurations = list[dict[str, Any]]


def draws(name: str, count: int, part: int) -> list[float]:
    """``count`` places in a range, shares 0..1: the same for a parameter of this name in every method.

    A Latin hypercube, a dimension a name: each 1/count of the range is tried once, and dimensions are independent
    of one another. (One-dimensional Sobol or Halton sequences are not: two of one base are functions of each other.)
    """
    from scipy.stats import qmc

    stream = seeds.numpy_stream("tune", name, part)
    return [float(share) for share in qmc.LatinHypercube(1, rng=stream).random(count)[:, 0]] if count else []


def parts(budget: int) -> tuple[int, int]:
    """How many configurations are drawn from the ranges as declared (the default is one), and from the widened."""
    return budget - budget // 3, budget // 3


def configurations(default: Mapping[str, Any], ranges: Mapping[str, Range], count: int, part: int) -> Configurations:
    """``count`` parameter sets of a method, as drawn; without a range there is nothing to draw."""
    places = {name: draws(name, count, part) for name in ranges}
    if not ranges:
        return []
    return [
        {**default, **{name: _like(default[name], each.value(places[name][at])) for name, each in ranges.items()}}
        for at in range(count)
    ]


def _like(default: Any, value: float) -> Any:
    return round(value) if type(default) is int else value


def margin(budget: int) -> float:
    """The outer share of a range that is its edge: the place of one draw of the first part, at most a quarter."""
    return min(0.25, 1 / max(parts(budget)[0] - 1, 1))


@dataclass(frozen=True)
class Tuning:
    """What is tuned: the plan of the default rows, the budget, and ranges in place of the methods' own."""

    planned: Planned
    budget: int
    given: Mapping[str, Range]

    def ranges(self, plugin: Plugin) -> dict[str, Range]:
        """Where a method's parameters are searched at first."""
        return {name: self.given.get(name, each) for name, each in parameters.tunable(plugin).items()}

    def plan(self, wanted: Mapping[str, Configurations]) -> Plan:
        """The trials of these configurations, by method."""
        plan = self.planned.plan
        rows = []
        for row in plan.rows:
            usual = planning.usual(plan.task, row.plugin)
            found = [parameters.validate(row.plugin, each) for each in wanted[row.plugin.name]]
            rows += [Row(row.plugin, each, usual.label(each)) for each in found]
        first = plan.trials[0]
        numbers = list(dict.fromkeys(trial.seed for trial in plan.trials))
        regimes = dict.fromkeys([trial.shots for trial in plan.trials], rows)
        return planning.of_rows(plan.task, first.datasets, regimes, numbers, first.split, plan.not_applicable)


def make(
    task: str, methods: str = "all", budget: int = BUDGET, given: Mapping[str, tuple[float, float]] | None = None,
    shots: Sequence[Shots] | None = None, numbers: Sequence[int] = SEEDS, split: str = "validation",
    plugins: Sequence[Path] = (), folder: Path = Path("leaderboard"), settings: Mapping[str, object] | None = None,
    beside: Sequence[Path] = (),
) -> Tuning:  # fmt: skip
    """What these names and numbers mean; ``numbers`` are the seeds. `UserError` tells all that is wrong."""
    with Collector() as problems:
        if split != "validation":
            problems.add(UserError("parameters are never chosen on test images", "leave out --split"))
        if budget < 1:
            problems.add(UserError(f"--budget: {budget} is not a number of configurations", "write 1 or more"))
        with problems.caught():
            if any(settings for _, settings in parameters.parse(methods)):
                raise UserError(f"{methods!r}: tuning chooses the parameters itself", "name methods without brackets")
            planned = application.make_plan(
                task, methods, shots, numbers, "validation", plugins, folder, settings, beside, "default"
            )
            found = Tuning(planned, budget, {})
            with problems.caught():
                found = replace(found, given=_ranges(planned, given or {}))
            with problems.caught():
                _check_seeds(planned)
            with problems.caught():
                _check_alike(found)
    return found


def _ranges(planned: Planned, given: Mapping[str, tuple[float, float]]) -> dict[str, Range]:
    """The ranges that a command gives in place of the methods' own, on the same scale."""
    known = {name: each for row in planned.plan.rows for name, each in parameters.tunable(row.plugin).items()}
    for name in given:
        if name not in known:
            hint = f"tunable here: {', '.join(sorted(known)) or 'none'}"
            raise UserError(f"no method here has a tunable parameter {name!r}", hint)
    return {name: replace(known[name], low=low, high=high) for name, (low, high) in given.items()}


def _check_seeds(planned: Planned) -> None:
    plan = planned.plan
    used = set(range(plan.task.seeds))
    used |= {r.seed for r in planned.store.outlines(plan.task.name).records.values() if r.split == "test"}
    both = sorted(used & {trial.seed for trial in plan.trials})
    if both:
        raise UserError(
            f"--seeds: the table of {plan.task.name} uses seed {both[0]}", f"--seeds {SEEDS[0]}-{SEEDS[-1]}"
        )


def _settings(tuning: Tuning) -> Choices:
    """The choices file of this tuning, without any method yet."""
    plan = tuning.planned.plan
    return Choices(
        task=plan.task.name, protocol=plan.task.protocol, per=plan.task.tuning, budget=tuning.budget,
        shots=tuple(dict.fromkeys(trial.shots for trial in plan.trials)),
        seeds=tuple(dict.fromkeys(trial.seed for trial in plan.trials)),
        given={name: (each.low, each.high) for name, each in tuning.given.items()}, methods={},
    )  # fmt: skip


def _check_alike(tuning: Tuning) -> None:
    there = choices.read(tuning.planned.plan.task, tuning.planned.store.folder)
    mine = _settings(tuning)
    if there is not None and there.how != mine.how:
        differing = ", ".join(name for name, value in there.how.items() if value != mine.how[name])
        path = choices.path_of(tuning.planned.store.folder, mine.task)
        raise UserError(f"{path} was made with another {differing}: methods are tuned alike", f"delete {path} first")


def tune(tuning: Tuning, resources: Resources, show: bool = True) -> Choices:
    """Run what is missing, choose, and keep the choices beside those of other methods.

    `UserError` where trials failed: nothing is chosen from a part of them.
    """
    planned, (first, second) = tuning.planned, parts(tuning.budget)
    plugins = [row.plugin for row in planned.plan.rows]
    ranges = {plugin.name: tuning.ranges(plugin) for plugin in plugins}
    own = {plugin.name: parameters.validate(plugin, {}) for plugin in plugins}
    wanted = {name: [own[name], *configurations(own[name], each, first - 1, 1)] for name, each in ranges.items()}
    tried = _tried(tuning, wanted, resources, show)
    settings, edge = _settings(tuning), margin(tuning.budget)
    widened = {}
    for plugin in plugins:
        name, each = plugin.name, ranges[plugin.name]
        found = choices.choose(tried[name], settings.shots, settings.per, each, edge)
        sides = [choice.edge for choice in found]
        widened[name] = dict(each)
        for parameter in {parameter for edges in sides for parameter in edges}:
            for side in {edges.get(parameter) for edges in sides}:
                before = widened[name][parameter]
                widened[name][parameter] = parameters.widened(plugin, parameter, before, side)
    wanted = {name: [*wanted[name], *configurations(own[name], widened[name], second, 2)] for name in wanted}
    tried = _tried(tuning, wanted, resources, show)
    for plugin in plugins:
        name = plugin.name
        settings.methods[name] = Tuned(
            code=plugin.code,
            ranges={key: (each.low, each.high) for key, each in ranges[name].items()},
            widened={key: (each.low, each.high) for key, each in widened[name].items() if each != ranges[name][key]},
            tried=tuple(tried[name]),
            chosen=choices.choose(tried[name], settings.shots, settings.per, widened[name], edge),
        )
    there = choices.read(planned.plan.task, planned.store.folder)
    kept = settings.model_copy(update={"methods": {**(there.methods if there else {}), **settings.methods}})
    choices.write(planned.store.folder, kept)
    return kept


def _tried(
    tuning: Tuning, wanted: Mapping[str, Configurations], resources: Resources, show: bool
) -> dict[str, list[Tried]]:
    """Run what is missing of these configurations; their accuracies, by method, in the same order."""
    plan = tuning.plan(wanted)
    application.run(replace(tuning.planned, plan=plan), resources, show)
    records = tuning.planned.store.read(plan.task.name).records
    lost = [trial.name for trial in plan.trials if trial.id not in records or records[trial.id].status not in FINAL]
    if lost:
        raise UserError(f"{len(lost)} trials have no result, so nothing is chosen: {lost[0]}", "run the command again")
    found: dict[str, list[Tried]] = {}
    for row in plan.rows:
        groups = {
            shots: [records[t.id] for t in plan.trials if t.row == row and t.shots == shots]
            for shots in dict.fromkeys(trial.shots for trial in plan.trials)
        }
        found.setdefault(row.plugin.name, []).append(choices.tried(row.parameters, groups))
    return found
