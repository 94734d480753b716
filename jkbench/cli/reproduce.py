"""``jkbench reproduce``: a paper's tables, run and set beside the published numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jkbench.cli import options
from jkbench.cli.run import show

if TYPE_CHECKING:
    from jkbench.execute.run import Planned


@click.command(
    epilog=options.examples(
        "jkbench reproduce jacobian-matching --table cifar100 --shots 5,10",
        "jkbench reproduce jacobian-matching --reading mean-of-classes --shots 5",
        "jkbench reproduce jacobian-matching --page-only",
    )
)
@click.argument("preset")
@click.option("--table", metavar="NAME", help="One of the paper's tables. Default: all.")
@click.option(
    "--task", "task_name", metavar="NAME", help="A task with a shorter protocol that replaces the table's task."
)
@click.option(
    "--reading", metavar="NAME", help="Rows of this reading only, for a task that runs several readings of the paper."
)
@options.shots
@options.seeds
@options.leaderboard_folder
@options.device
@options.jobs
@options.threads
@click.option("--page-only", is_flag=True, help="Run nothing; write the pages from the records that exist.")
def reproduce(
    preset: str,
    table: str | None,
    task_name: str | None,
    reading: str | None,
    shots: str | None,
    seeds: str | None,
    folder: Path,
    page_only: bool,
    **words: Any,
) -> int:
    """Run the rows of a paper's tables, and write a page of published and measured numbers.

    Cells that have not been run stay empty and are counted. Run the same command again to continue."""
    from jkbench.papers import reproduce as application
    from jkbench.records.schema import UNFINISHED

    ended: set[str] = set()

    def finished(planned: Planned, counts: dict[str, int]) -> None:
        ended.update(counts)
        show(planned, counts)

    resources = options.make_resources(**words)
    pages = application.reproduce(
        preset, table, task_name, reading, options.parse_shots(shots), options.parse_seeds(seeds), folder,
        None if page_only else resources, finished, lambda text: click.echo(text, err=True),
    )  # fmt: skip
    for path, done in pages:
        click.echo(f"{path}: {done}")
    return 1 if ended & UNFINISHED else 0
