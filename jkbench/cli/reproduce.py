"""``jkbench reproduce``: a paper's tables, run and set beside the published numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from jkbench.cli import options
from jkbench.cli.run import run
from jkbench.errors import UserError

EPILOG = """\b
Examples:
  jkbench reproduce jacobian-matching --table cifar100 --shots 5,10
  jkbench reproduce jacobian-matching --reading mean-of-classes --shots 5
  jkbench reproduce jacobian-matching --page-only
"""


@click.command(epilog=EPILOG)
@click.argument("preset")
@click.option("--table", metavar="NAME", help="One of the paper's tables; all of them unless given.")
@click.option(
    "--task", "task_name", metavar="NAME", help="A task of a shorter protocol that stands in for the table's."
)
@click.option("--reading", metavar="NAME", help="Of a task that runs several readings of the paper, this one's rows.")
@options.shots
@options.seeds
@options.leaderboard_folder
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda", help="Where to train.")
@click.option("--jobs", default="auto", show_default=True, metavar="N|auto", help="Trials at a time.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="CPU threads.")
@click.option("--page-only", is_flag=True, help="Run nothing: write the pages of what there is.")
def reproduce(
    preset: str,
    table: str | None,
    task_name: str | None,
    reading: str | None,
    shots: str | None,
    seeds: str | None,
    folder: Path,
    device: str,
    jobs: str,
    threads: int,
    page_only: bool,
) -> int:
    """Run the rows of a paper's tables, and write a page of published and measured numbers.

    Cells that have not been run stay empty and are counted. The same command again continues."""
    from jkbench.papers import table as papers

    paper = papers.load(preset)
    code = 0
    # all names are looked at before anything is run
    tables = papers.tables_of(paper, table, task_name, reading)
    for (chosen, task), regimes in zip(tables, _regimes(tables, shots, folder), strict=True):
        if regimes != "" and not page_only:
            assert run.callback is not None
            methods = ",".join(_runnable(chosen, task, reading, folder))
            if methods:
                given = _run_options(methods, task, regimes, seeds, folder, device, jobs, threads)
                code = max(code, run.callback(**given))
        for each in [task] if task_name or reading else [task, *chosen.stands_in]:
            _write(preset, chosen, each, folder, wanted=each == task)
    return code


def _regimes(tables: list[tuple[Any, str]], shots: str | None, folder: Path) -> list[str | None]:
    """Of the regimes that were asked for, those that each table has columns of, as ``--shots``; None: all of them.

    `UserError` for a regime that none of the tables has: its trials would stand on no page."""
    from jkbench.papers.compare import regimes
    from jkbench.records import tasks as recorded_tasks

    asked = options.parse_shots(shots)
    if asked is None:
        return [None] * len(tables)
    known = [regimes(table, recorded_tasks.load(task, folder)) for table, task in tables]
    everywhere = list(dict.fromkeys(regime for of_table in known for regime in of_table))
    if strange := [str(regime) for regime in asked if regime not in everywhere]:
        which = f"the table of {tables[0][1]} has" if len(tables) == 1 else "these tables have"
        raise UserError(f"--shots: {which} no column of {', '.join(strange)}", f"{', '.join(map(str, everywhere))}")
    return [",".join(str(regime) for regime in asked if regime in of_table) for of_table in known]


def _runnable(table: Any, task_name: str, reading: str | None, folder: Path) -> list[str]:
    """The methods of one reading, or of all that the task runs, but for those that it has nothing to run with; a word
    about each of these."""
    from jkbench.papers.compare import rows_of
    from jkbench.plugins.discovery import discover
    from jkbench.records import tasks as recorded_tasks

    task, index = recorded_tasks.load(task_name, folder), discover(())
    methods: dict[str, None] = {}
    told: dict[str, None] = {}
    for name in [reading] if reading else table.readings_of(task_name):
        labels, not_here = rows_of(table, task, index, name)
        told |= dict.fromkeys(f"{row}: not run here: {reason}" for row, reason in not_here.items())
        methods |= dict.fromkeys(method for row, method in table.methods_of(task_name, name).items() if row in labels)
    for sentence in told:
        click.echo(sentence, err=True)
    return list(methods)


def _run_options(
    methods: str, task: str, shots: str | None, seeds: str | None, folder: Path, device: str, jobs: str, threads: int
) -> dict[str, Any]:
    """All options of `jkbench run`."""
    return {
        "methods": methods, "task_name": task, "shots": shots, "seeds": seeds, "plugins": (), "folder": folder,
        "split": "test", "device": device, "jobs": jobs, "threads": threads, "timeout": None, "smoke": False,
    }  # fmt: skip


def _write(preset: str, table: Any, task_name: str, folder: Path, wanted: bool) -> None:
    """The page of one task; of a task that stands in, where it has records or was asked for."""
    from jkbench.papers.compare import compare
    from jkbench.papers.page import document, done
    from jkbench.plugins.discovery import discover
    from jkbench.records import tasks as recorded_tasks
    from jkbench.records.store import Store
    from jkbench.report.render import write

    loaded = Store(folder).read(task_name)
    if not wanted and not loaded.records:
        return
    page = compare(table, recorded_tasks.load(task_name, folder), discover(()), loaded)
    path = write(folder, document(page, f"{preset}-{task_name}"))[0]
    click.echo(f"{path}: {'; '.join(done(page, read) for read in page.readings)}".replace("`", ""))
    for complaint in loaded.complaints():
        click.echo(f"warning: {complaint}", err=True)
