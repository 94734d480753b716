"""``jkbench theory --terms TASK``: what each loss term does in training, and where its gradient arrives."""

from __future__ import annotations

from pathlib import Path

import click

from jkbench.cli import options
from jkbench.errors import UserError
from jkbench.tasks.shots import size


def measure(
    task_name: str, methods: str, shots: str | None, seeds: str | None, plugins: tuple[Path, ...], folder: Path,
    device_name: str, out: Path,
) -> int:  # fmt: skip
    """Train these rows again at the largest of the regimes, and write the page of their terms."""
    from jkbench.cli.run import check_device, train_teacher
    from jkbench.execute import Machine
    from jkbench.files import cache_folder

    check_device(device_name)
    plan, _ = options.make_plan(task_name, methods, plugins, shots, seeds or "1", "test", folder)
    for row in plan.rows:
        if row.plugin.broken:
            raise UserError(str(row.plugin.broken), "name other methods with --methods, or mend the file")
    regimes = list(dict.fromkeys(trial.shots for trial in plan.trials))
    largest = max(regimes, key=size)
    trials = [trial for trial in plan.trials if trial.shots == largest]

    import torch

    from jkbench.engine import environment
    from jkbench.engine.setup import Where
    from jkbench.papers.theory import terms, terms_page
    from jkbench.report.render import write
    from jkbench.report.wording import settings
    from jkbench.tasks.shots import per_class

    device = environment.device(device_name)
    torch.set_num_threads(1)  # as in the trials of `jkbench run`: the same bits
    setup = Machine(folder.resolve(), cache_folder(), device.type)
    train_teacher(plan, trials, setup)
    curves, reaches = terms.measure(trials, Where(device, setup.folder, setup.cache))
    task = plan.task
    protocol = [
        f"Task `{task.name}` version {task.version}, protocol `{task.protocol}`.",
        f"Student `{task.student.architecture}`.",
        f"Training: {task.student.training.describe()}.",
        *(f"`{row.label}`: {settings(row.parameters)}." for row in plan.rows),
    ]
    count = len({trial.seed for trial in trials})
    for path in write(out, terms_page.document(task, per_class(largest), count, curves, reaches, protocol)):
        click.echo(path)
    for sentence in filter(None, (terms.verdict(curves), *terms.conclusions(curves, reaches))):
        click.echo(sentence.replace("`", ""))
    return 0
