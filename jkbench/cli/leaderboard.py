"""``jkbench leaderboard``: pages, LaTeX, CSV and figures, from the records alone."""

from __future__ import annotations

from pathlib import Path

import click

from jkbench.cli import options
from jkbench.errors import UserError

EPILOG = """\b
Example:
  jkbench leaderboard --leaderboard leaderboard
"""


@click.command(epilog=EPILOG)
@options.task(required=False)
@options.plugins
@options.leaderboard_folder
def leaderboard(task_name: str | None, plugins: tuple[Path, ...], folder: Path) -> int:
    """Write the tables of all tasks from their records.

    Markdown, LaTeX, CSV and a figure each, with an index in README.md."""
    from jkbench import catalogue
    from jkbench.plugins.discovery import discover
    from jkbench.records.store import Store
    from jkbench.report.current import choose
    from jkbench.report.leaderboard import write_leaderboard

    store = Store(folder)
    names = store.tasks()
    if task_name is not None:
        names = [name for name in names if name == catalogue.load(task_name, folder).name]
    if not names:
        raise UserError(f"there are no records in {folder}", "jkbench run --methods all --task digits-fewshot")
    index = discover(plugins)
    pages, complaints = [], []
    for name in store.tasks():
        try:
            task = catalogue.load(name, folder)
        except UserError as error:
            complaints.append(f"records of {name!r} are left out: {error}")
            continue
        loaded = store.fold(name)
        complaints += loaded.complaints()
        if any(record.split == "test" for record in loaded.records.values()):
            pages.append(choose(task, index, loaded))
    for path in write_leaderboard(folder, pages):
        click.echo(path)
    for complaint in complaints:
        click.echo(f"warning: {complaint}", err=True)
    return 0
