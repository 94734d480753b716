"""``jkbench demo``: the paper's methods on real images, in minutes."""

from __future__ import annotations

from pathlib import Path

import click

from jkbench.cli import options
from jkbench.cli.leaderboard import leaderboard
from jkbench.cli.run import run

TASK = "digits-fewshot"
METHODS = "scratch,finetune,distill,lwf,attention,jacobian,attention-jacobian,lwf-jacobian,noise,jacobian-norm"
"""The paper's methods and its controls."""


@click.command(epilog=options.examples("jkbench demo"))
@click.option(
    "--leaderboard", "folder", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, metavar="DIR",
    help="Folder of records, teachers and pages.",
)  # fmt: skip
@click.pass_context
def demo(context: click.Context, folder: Path) -> int:
    """Run ten methods on handwritten digits, and write the table.

    Downloads nothing: the images come with scikit-learn. Stop it at any time: the same command continues."""
    code: int = context.invoke(run, task_name=TASK, methods=METHODS, folder=folder)
    context.invoke(leaderboard, folder=folder)
    return code
