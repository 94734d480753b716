"""``jkbench compare``: two rows, with intervals over seeds and images."""

from __future__ import annotations

from pathlib import Path

import click

from jkbench.cli import options


@click.command(epilog=options.examples("jkbench compare jacobian distill --task digits-fewshot --figure compare.png"))
@click.argument("first")
@click.argument("second")
@options.task(required=False)
@options.plugins
@options.leaderboard_folder
@click.option("--figure", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write a figure (PNG).")
def compare(
    first: str, second: str, task_name: str | None, plugins: tuple[Path, ...], folder: Path, figure: Path | None
) -> None:
    """Compare two rows: how far apart, on which images, and how many seeds would settle it.

    Without --task, on every task that has records of both.
    """
    from jkbench.api import pages
    from jkbench.files import write_atomically
    from jkbench.report.figures import save
    from jkbench.report.render.terminal import show
    from jkbench.report.versus import blocks, draw, versus

    found = versus(list(pages(folder, task_name, plugins)), first, second)
    show(blocks(found, first, second))
    if figure is not None:
        write_atomically(figure, save(lambda: draw(found, first, second)))
        click.echo(figure)
