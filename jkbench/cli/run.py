"""``jkbench run``: do what is missing of a task, and show its table."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jkbench.cli import options

if TYPE_CHECKING:
    from jkbench.execute.run import Planned


@click.command(
    epilog=options.examples(
        "jkbench run --methods all --task digits-fewshot",
        "jkbench run --methods 'jacobian[ce=0,jac=0.5],distill' --task digits-fewshot --shots 5 --seeds 10",
        "jkbench run --methods my_method.py --task digits-fewshot --set student.training.steps=50",
        "jkbench run --methods mine --task digits-fewshot --smoke",
    )
)
@options.planning
@options.resources
@click.option("--yes", is_flag=True, help="Run even what takes more than a day, without asking.")
@click.option("--smoke", is_flag=True, help="Run two steps per trial and store nothing: a quick test.")
def run(folder: Path, smoke: bool, yes: bool, **words: Any) -> int:
    """Run the missing trials of a task, and show its table.

    Run the same command again to resume."""
    from jkbench.errors import Collector, UserError
    from jkbench.execute import run as application
    from jkbench.execute.progress import plain_warnings
    from jkbench.records.schema import UNFINISHED

    plain_warnings()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's stop is a Ctrl-C
    with Collector() as problems:
        with problems.caught():
            planned = options.make_plan(folder=folder, **words)
        with problems.caught():
            resources = options.make_resources(**words)
    if smoke:
        counts = application.smoke(planned, resources)
        click.echo(f"smoke: {describe(counts)}; nothing was stored")
    else:

        def agree(told: str) -> None:
            if sys.stdin.isatty() and not yes:
                raise UserError(told, "add --yes to run it, or run fewer --methods, --shots or --seeds")
            click.echo(told, err=True)

        counts = application.run(planned, resources, agree=agree)
        show(planned, counts)
    return 1 if set(counts) & UNFINISHED else 0


def describe(counts: Mapping[str, int]) -> str:
    """``188 ok, 2 diverged``."""
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "nothing to run"


def show(planned: Planned, counts: Mapping[str, int]) -> None:
    """The task's table as it now is (of candidates on validation images: these alone), and where things are."""
    from jkbench.records.select import choose
    from jkbench.report.page import compose, summary
    from jkbench.report.render import terminal

    plan, store = planned.plan, planned.store
    split, loaded = plan.trials[0].split, store.read(plan.task.name)
    rows = [row.label for row in plan.rows]
    if split == "test":
        rows += [record.label for record in choose(plan.task, planned.index, loaded).records]
    chosen = choose(plan.task, planned.index, loaded, split=split, labels=rows)
    terminal.show(summary(compose(chosen)))
    if counts:
        click.echo(f"ran {describe(counts)}")
    if split == "test":
        click.echo(
            f"records: {store.canonical / plan.task.name}; pages: jkbench leaderboard --leaderboard {store.folder}"
        )
    else:
        click.echo(f"validation records: {store.canonical / plan.task.name}; they never reach the leaderboard")
