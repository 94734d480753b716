"""What the loss terms of a task's rows do in training: from a plan to its page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jkbench.execute import Machine, Needs, backends
from jkbench.execute.progress import Progress
from jkbench.execute.run import Planned
from jkbench.execute.session import Resources, prepare
from jkbench.execute.work import Tell, where
from jkbench.papers.theory import terms, terms_page
from jkbench.papers.theory.terms import Curve, Reach
from jkbench.planning import Trial
from jkbench.plugins.describe import Plugin
from jkbench.plugins.loading import load
from jkbench.records.store import RecordSet
from jkbench.report.render import write
from jkbench.report.wording import settings
from jkbench.tasks.shots import per_class, size


def measure(planned: Planned, folder: Path, resources: Resources, out: Path) -> tuple[list[Path], list[str]]:
    """Train a plan's rows again at its largest regime; the files of their page, and its findings."""
    plan = planned.plan
    largest = max((trial.shots for trial in plan.trials), key=size)
    plan = replace(plan, trials=[trial for trial in plan.trials if trial.shots == largest])
    with Progress() as progress, backends.start(resources.executor, resources.threads) as workers:
        workers.call(_load, [row.plugin for row in plan.rows], needs=Needs.of(plan.trials))
        session = prepare(plan, folder, resources, workers, progress, RecordSet())
        machine = session.machine(plan.trials, {})
        curves, reaches = workers.call(_measured, plan.trials, machine, needs=Needs.of(plan.trials))
    task = plan.task
    protocol = [
        f"Task `{task.name}` version {task.version}, protocol `{task.protocol}`.",
        f"Student `{task.student.architecture}`.",
        f"Training: {task.student.training.describe()}.",
        *(f"`{row.label}`: {settings(row.parameters)}." for row in plan.rows),
    ]
    count = len({trial.seed for trial in plan.trials})
    written = write(out, terms_page.document(task, per_class(largest), count, curves, reaches, protocol))
    return list(written), [each for each in (terms.verdict(curves), *terms.conclusions(curves, reaches)) if each]


def _measured(trials: Sequence[Trial], machine: Machine, tell: Tell) -> tuple[list[Curve], list[Reach]]:
    return terms.measure(trials, where(machine))


def _load(plugins: Sequence[Plugin], tell: Tell) -> None:
    """Refuse broken ones before anything is trained."""
    for plugin in plugins:
        load(plugin)
