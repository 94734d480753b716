"""``jkbench leaderboard``: pages, LaTeX, CSV and figures, from the records alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jkbench.cli import options
from jkbench.errors import UserError

if TYPE_CHECKING:
    from jkbench.records.select import Chosen

EPILOG = """\b
Example:
  jkbench leaderboard --leaderboard leaderboard
"""


@click.command(epilog=EPILOG)
@options.plugins
@options.leaderboard_folder
@options.beside
@click.option(
    "--split", type=click.Choice(["test", "validation"]), default="test", show_default=True,
    help="Which records. Pages of validation records go to a folder of their own, DIR/validation.",
)  # fmt: skip
@click.option(
    "--figures", "formats", type=click.Choice(["png", "pdf", "svg"]), multiple=True, default=["png"],
    show_default=True, help="Formats of the figures beside PNG, which pages link; repeat the option for several.",
)  # fmt: skip
def leaderboard(
    plugins: tuple[Path, ...], folder: Path, beside: tuple[Path, ...], split: Any, formats: tuple[str, ...]
) -> int:
    """Write the tables of all tasks from their records.

    Markdown, CSV and figures each, their tables as LaTeX in tex/, with an index in README.md.
    """
    from jkbench.plugins.discovery import discover
    from jkbench.records import tasks as recorded_tasks
    from jkbench.records.select import choose
    from jkbench.records.store import Store
    from jkbench.report.leaderboard import write_leaderboard

    store = Store(folder, beside)
    if not store.tasks():
        raise UserError(f"there are no records in {folder}", "jkbench run --methods all --task digits-fewshot")
    index, complaints = discover(plugins), store.complaints()

    def chosen() -> Iterator[Chosen]:
        for name in store.tasks():
            try:
                task = recorded_tasks.load(name, *store.folders)
            except UserError as error:
                complaints.append(f"records of {name!r} are left out: {error}")
                continue
            loaded = store.fold(name)
            complaints.extend(loaded.complaints())
            if any(record.split == split for record in loaded.records.values()):
                found = [choose(task, index, loaded, split=split)]
                del loaded  # nothing here holds a page's records while the next are read
                yield found.pop()

    # pages link the PNG, whatever else is asked for
    kinds = list(dict.fromkeys(["png", *formats]))
    for path in write_leaderboard(folder if split == "test" else folder / split, chosen(), kinds):
        if path.suffix == ".md":
            click.echo(path)
    for complaint in complaints:
        click.echo(f"warning: {complaint}", err=True)
    return 0
