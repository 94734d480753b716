"""The application: from names to a plan, from a plan to records. The command line and `jkbench.run` both call it."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jkbench import planning
from jkbench.errors import Collector, UserError
from jkbench.execute import Machine, Needs, backends, forecast, request, work
from jkbench.execute.backends import Workers
from jkbench.execute.progress import Progress
from jkbench.execute.session import Resources, Session, fit, prepare
from jkbench.planning import Plan, Trial
from jkbench.plugins import parameters
from jkbench.plugins.discovery import Index, discover
from jkbench.records import choices, costs, teachers
from jkbench.records import tasks as recorded_tasks
from jkbench.records.choices import Origin
from jkbench.records.claims import claimed
from jkbench.records.schema import Record
from jkbench.records.standing import standing
from jkbench.records.store import RecordSet, Store
from jkbench.tasks import task as tasks
from jkbench.tasks.shots import Shots, SplitName


@dataclass(frozen=True)
class Planned:
    """A plan, the plugins that it was made with, the text of its task, the folders whose records count, and the file
    that the task was read from, with the protocol that it had."""

    plan: Plan
    index: Index
    task_text: str
    store: Store
    task_file: tuple[Path, str] | None = None


def make_plan(
    task: str,
    methods: str = "all",
    shots: Sequence[Shots] | None = None,
    seeds: Sequence[int] | None = None,
    split: SplitName = "test",
    plugins: Sequence[Path] = (),
    folder: Path = Path("leaderboard"),
    settings: Mapping[str, object] | None = None,
    beside: Sequence[Path] = (),
    origin: Origin = "task",
) -> Planned:
    """The plan of these names. ``methods`` are names and plugin files with commas; ``settings`` change fields of the
    task, which makes it another one; ``origin`` is that of the parameters. `UserError` tells all that is wrong."""
    index, found, text = None, None, ""
    with Collector() as problems:
        with problems.caught():
            files, methods = _plugin_files(methods)
            index = discover([*plugins, *files])
        with problems.caught():
            found, text = recorded_tasks.planned(task, folder, settings, beside)
        if index is not None and found is None:
            with problems.caught():
                planning.check_methods(index, methods)
        if index is not None and found is not None:
            with problems.caught():
                own = choices.of_origin(origin, found, folder, *beside)
                lengths = costs.lengths(found, folder, *beside)
                made = planning.make(found, index, methods, shots, seeds, split, own, lengths)
                file = recorded_tasks.path_of(task, folder, *beside).resolve()
                protocol = tasks.load(str(file)).protocol if settings else found.protocol
                return Planned(made, index, text, Store(folder, beside), (file, protocol))
    raise AssertionError("a plan that is not made is refused")


def _plugin_files(methods: str) -> tuple[list[Path], str]:
    """The plugin files among the methods, and the same text with names in their place."""
    files = []
    for name, _ in parameters.parse(methods):
        if name.endswith(".py"):
            files.append(Path(name))
            methods = methods.replace(name, Path(name).stem.replace("_", "-"), 1)
    return files, methods


def keep_costs(planned: Planned, workers: Workers, machine: Machine) -> Path:
    """Measure the steps of a plan's methods in each of its regimes, and keep their costs; the file.

    Each method is measured in a process of its own, in turns with a step of cross-entropy there.
    """
    plan, folder = planned.plan, planned.store.folder
    recorded_tasks.keep(plan.task, planned.task_text, folder)
    for shots in dict.fromkeys(trial.shots for trial in plan.trials):
        rows = [trial for trial in plan.trials if trial.shots == shots]
        measured: dict[str, costs.StepRatio] = {}
        for method in {trial.row.plugin.name: trial.row.plugin for trial in rows}.values():
            trials = [trial for trial in rows if trial.row.plugin == method]
            _, (plain, *found), name = workers.call(work.profile, trials, machine, needs=Needs.of(trials))
            dearest = max(cost.milliseconds for cost in found)  # of several rows
            ratio = round(dearest / plain.milliseconds, 4)
            measured[method.name] = costs.StepRatio(code=method.code, ratio=ratio, machine=name)
        file = costs.add(plan.task, folder, shots, measured)
    return file


def check_budget(plan: Plan) -> None:
    """Refuse trials of equal time whose cost was not measured: `UserError`."""
    unknown_cost = [trial for trial in plan.trials if plan.task.budget and trial.steps is None]
    if unknown_cost:
        names = ",".join(sorted({trial.row.plugin.name for trial in unknown_cost}))
        regimes = ",".join(dict.fromkeys(str(trial.shots) for trial in unknown_cost))
        hint = f"jkbench profile --task {plan.task.name} --methods {names} --shots {regimes} --keep"
        raise UserError(f"{plan.task.name}: the cost of a step is unknown for {names}", hint)


def check(planned: Planned, executor: str = backends.DEFAULT) -> str:
    """Refuse a plan that `run` would refuse: `UserError`. A sentence about what cannot be checked here, or nothing."""
    check_budget(planned.plan)
    for folder in planned.store.folders:
        teachers.check_stored(folder, planned.plan.task, planned.plan.trials[0].datasets)
    try:
        if find_spec("torch") is None:
            raise ImportError
    except ImportError:
        return "torch is not installed here: whether the networks take these images is not checked"
    with backends.start(executor) as workers:
        return fit(planned.plan, False, workers, forecast.PATIENCE)


def check_plugin(file: Path, resources: Resources) -> list[dict[str, Any]]:
    """The findings about a plugin file, as fields of `jkbench.engine.check.Finding`. One that ends its process, or
    hangs, has a last finding that says so."""
    if not file.is_file():
        raise UserError(f"there is no file {file}", "jkbench new method NAME writes one")
    findings: list[dict[str, Any]] = []
    with backends.start(resources.executor) as workers:
        try:
            workers.call(work.check, file, heard=findings.append, limit=resources.timeout)
        except UserError as error:
            findings.append({"what": "the check finishes", "held": False, "seen": str(error)})
    return findings


def run(
    planned: Planned, resources: Resources, show: bool = True, agree: Callable[[str], None] | None = None
) -> Counter[str]:
    """Run what is missing of a plan; how many trials ended in which status.

    Every record is stored as it comes, and folded when the run ends. ``show``: tell the progress on standard error.
    ``agree`` is told in a sentence where the run takes more than a day, and may raise; by default it is shown.
    """
    plan, store = planned.plan, planned.store
    folder = store.folder
    check_budget(plan)
    store.check_writable()
    teachers.bring(folder, store.folders[1:], plan.task, plan.trials[0].datasets)
    recorded_tasks.keep(plan.task, planned.task_text, folder)
    counts: Counter[str] = Counter()
    with Progress(show) as progress:
        loaded = store.fold(plan.task.name)
        at = standing(plan, loaded, folder)
        for complaint in loaded.complaints():
            progress.say(f"warning: {complaint}\n  hint: fix or delete it; the other records are used")
        progress.say(at.in_words())
        for name, reason in plan.not_applicable.items():
            progress.say(f"  not run here: {name} ({reason})")
        if not at.missing:
            return counts
        missing = of_trials(plan, at.missing)
        try:
            with _started(resources, planned) as workers:

                def begin(machine: Machine) -> None:
                    expected = forecast.by_records(missing, loaded.records, store)
                    if expected.may_be_long:
                        expected = forecast.measure(expected, workers, machine, forecast.PATIENCE, forecast.DAY)
                    if told := forecast.long(expected, missing, planned.index, store, machine.jobs):
                        (agree or progress.say)(told)

                session = prepare(missing, folder, resources, workers, progress, loaded, begin=begin)
                session = replace(session, task_file=planned.task_file)
                for record in _missing(plan, store, session):
                    counts[record.status] += 1
        finally:
            store.fold(plan.task.name)
    return counts


def smoke(planned: Planned, resources: Resources, show: bool = True) -> Counter[str]:
    """Two steps of every trial, the teacher's training too; nothing is stored."""
    plan = shortened(planned.plan)
    with (
        tempfile.TemporaryDirectory(prefix="jkbench-smoke-") as folder,
        Progress(show) as progress,
        _started(resources, planned) as workers,
    ):
        session = prepare(plan, Path(folder), resources, workers, progress, RecordSet(), cached=False)
        return Counter(record.status for record in session.run(plan.trials, {}, None))


def _started(resources: Resources, planned: Planned) -> Workers:
    asked = resources.request
    if planned.task_file is not None:
        asked = request.of(planned.task_file[0].parent, resources.executor, asked)
    return backends.start(resources.executor, resources.threads, asked)


def _missing(plan: Plan, store: Store, session: Session) -> Iterator[Record]:
    """Run what is missing, but for what another command runs now; and what is missing when that one has ended."""
    wanted = plan.trials
    while wanted:
        with claimed(store.inflight, [trial.id for trial in wanted]) as claim:
            # read after the claim, and after the teacher is known: what others finished is there
            loaded = store.read(plan.task.name)
            missing = standing(of_trials(plan, wanted), loaded, store.folder).missing
            mine = [trial for trial in missing if trial.id in claim.mine]
            wanted = [trial for trial in missing if trial.id not in claim.mine]
            if wanted:
                session.progress.say(
                    f"another command is running {len(wanted)} of these trials; waiting for it at the end"
                )
            first = session.measuring(mine, loaded.records)
            if first:  # they tell what the others take
                yield from session.run(first, loaded.records, store)
                mine = [trial for trial in mine if trial not in first]
                loaded = store.read(plan.task.name)
            if mine:
                yield from session.run(mine, loaded.records, store)
        if wanted:
            claim.wait()


def of_trials(plan: Plan, trials: Sequence[Trial]) -> Plan:
    """The same plan with these trials alone, and their rows."""
    rows = list({trial.row.label: trial.row for trial in trials}.values())
    return replace(plan, trials=list(trials), rows=rows)


def shortened(plan: Plan) -> Plan:
    """The same plan with two steps a training, the teacher's too."""
    short = {"steps": 2, "epochs": None, "drop_at": None}
    student = plan.task.student.model_copy(update={"training": plan.task.student.training.model_copy(update=short)})
    teacher = plan.task.teacher
    if teacher is not None and teacher.training is not None:
        teacher = teacher.model_copy(update={"training": teacher.training.model_copy(update=short), "accuracy": None})
    task = plan.task.model_copy(update={"student": student, "teacher": teacher})
    return replace(plan, task=task, trials=[replace(trial, task=task) for trial in plan.trials])
