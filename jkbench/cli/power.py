"""``jkbench power``: how many seeds a difference needs."""

from __future__ import annotations

from pathlib import Path

import click

from jkbench.cli import options


@click.command(epilog=options.examples("jkbench power --task digits-fewshot --delta 0.5"))
@options.task()
@options.plugins
@options.leaderboard_folder
@click.option("--delta", type=float, required=True, metavar="POINTS", help="The difference to find, in points.")
def power(task_name: str, plugins: tuple[Path, ...], folder: Path, delta: float) -> None:
    """Say how many seeds find a difference with 80 % power, from the spread of a task's records."""
    from jkbench.api import pages
    from jkbench.report.render.terminal import show
    from jkbench.report.versus import plans

    chosen = next(pages(folder, task_name, plugins))
    show([plans(chosen, delta)])
