"""What the loss terms of a task's rows do in training: from a plan to its page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from jkbench.engine import environment
from jkbench.engine.setup import Where
from jkbench.execute import backends
from jkbench.execute.progress import Progress
from jkbench.execute.run import Planned, Resources, prepare
from jkbench.papers.theory import terms, terms_page
from jkbench.plugins.loading import load
from jkbench.records.store import RecordSet
from jkbench.report.render import write
from jkbench.report.wording import settings
from jkbench.tasks.shots import per_class, size


def measure(planned: Planned, folder: Path, resources: Resources, out: Path) -> tuple[list[Path], list[str]]:
    """Train a plan's rows again at its largest regime, in this process; the files of their page, and its findings."""
    plan = planned.plan
    largest = max((trial.shots for trial in plan.trials), key=size)
    plan = replace(plan, trials=[trial for trial in plan.trials if trial.shots == largest])
    for row in plan.rows:
        load(row.plugin)  # a broken one is refused before anything is trained
    device = environment.device(resources.device)
    with Progress() as progress, backends.start("serial", resources.threads) as workers:
        session = prepare(plan, folder, resources, workers, progress, RecordSet())
        curves, reaches = terms.measure(plan.trials, Where(device, folder.resolve(), session.cache))
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
