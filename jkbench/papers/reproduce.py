"""A paper's tables, run and set beside the published numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from jkbench.errors import UserError
from jkbench.execute import run as application
from jkbench.execute.run import Planned
from jkbench.execute.session import Resources
from jkbench.papers import table as papers
from jkbench.papers.compare import compare, regimes, rows_of
from jkbench.papers.table import PaperTable
from jkbench.plugins.discovery import discover
from jkbench.records import tasks as recorded_tasks
from jkbench.records.store import Store
from jkbench.tasks.shots import Shots

Finished = Callable[[Planned, dict[str, int]], None]
"""Is given the plan of a table and how its trials ended, by status."""


def reproduce(
    preset: str, table: str | None, task: str | None, reading: str | None, shots: Sequence[Shots] | None,
    seeds: Sequence[int] | None, folder: Path, resources: Resources | None, finished: Finished,
    warn: Callable[[str], None],
) -> Iterator[tuple[Path, str]]:  # fmt: skip
    """Run the rows of a paper's tables, and write a page each; None for ``resources`` runs nothing.

    Yields each page's file and what is done of it. `UserError` for unknown names, before anything is run.
    """
    paper = papers.load(preset)
    tables = papers.tables_of(paper, table, task, reading)
    for (chosen, name), wanted in zip(tables, _regimes(tables, shots, folder), strict=True):
        if wanted != [] and resources is not None:
            methods = ",".join(_runnable(chosen, name, reading, folder, warn))
            if methods:
                planned = application.make_plan(name, methods, wanted, seeds, folder=folder)
                finished(planned, application.run(planned, resources))
        for each in [name] if task or reading else [name, *chosen.stands_in]:
            page = _write(preset, chosen, each, folder, each == name, warn)
            if page is not None:
                yield page


def _regimes(
    tables: Sequence[tuple[PaperTable, str]], asked: Sequence[Shots] | None, folder: Path
) -> list[list[Shots] | None]:
    """Of the regimes that were asked for, those that each table has columns of; None: all of them.

    `UserError` for a regime that none of the tables has: its trials would stand on no page."""
    if asked is None:
        return [None] * len(tables)
    known = [regimes(table, recorded_tasks.load(task, folder)) for table, task in tables]
    everywhere = list(dict.fromkeys(regime for of_table in known for regime in of_table))
    if strange := [str(regime) for regime in asked if regime not in everywhere]:
        which = f"the table of {tables[0][1]} has" if len(tables) == 1 else "these tables have"
        raise UserError(f"--shots: {which} no column of {', '.join(strange)}", f"{', '.join(map(str, everywhere))}")
    return [[regime for regime in asked if regime in of_table] for of_table in known]


def _runnable(
    table: PaperTable, task_name: str, reading: str | None, folder: Path, warn: Callable[[str], None]
) -> list[str]:
    """The methods of one reading, or of all that the task runs, but for those that it has nothing to run with; a word
    about each of these."""
    task, index = recorded_tasks.load(task_name, folder), discover(())
    methods: dict[str, None] = {}
    sentences: dict[str, None] = {}
    for name in [reading] if reading else table.readings_of(task_name):
        labels, not_here = rows_of(table, task, index, name)
        sentences |= dict.fromkeys(f"{row}: not run here: {reason}" for row, reason in not_here.items())
        methods |= dict.fromkeys(method for row, method in table.methods_of(task_name, name).items() if row in labels)
    for sentence in sentences:
        warn(sentence)
    return list(methods)


def _write(
    preset: str, table: PaperTable, task_name: str, folder: Path, wanted: bool, warn: Callable[[str], None]
) -> tuple[Path, str] | None:
    """The page of one task; of a task that stands in, where it has records or was asked for."""
    from jkbench.papers.page import document, done
    from jkbench.report.render import write

    store = Store(folder)
    loaded = store.read(task_name)
    if not wanted and not loaded.records:
        return None
    others = [name for name in (*table.tasks, *table.timed_by) if name != task_name]
    timed = [record for name in others for record in store.outlines(name).records.values()]
    page = compare(table, recorded_tasks.load(task_name, folder), discover(()), loaded, timed)
    path = write(folder, document(page, f"{preset}-{task_name}"))[0]
    for complaint in loaded.complaints():
        warn(f"warning: {complaint}")
    return path, "; ".join(done(page, read) for read in page.readings).replace("`", "")
