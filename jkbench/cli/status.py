"""``jkbench status``: what records there are, and what is wrong with them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jkbench.cli import options
from jkbench.tasks.shots import per_class

if TYPE_CHECKING:
    from jkbench.plugins.discovery import Index
    from jkbench.records.store import Store


@click.command(epilog=options.examples("jkbench status --json"))
@options.plugins
@options.leaderboard_folder
@options.beside
@options.as_json
def status(plugins: tuple[Path, ...], folder: Path, beside: tuple[Path, ...], as_json: bool) -> None:
    """Count the records of every task: finished, failed, out of date, not merged yet, unreadable."""
    from jkbench.plugins.discovery import discover
    from jkbench.records.store import Store

    store, index = Store(folder, beside), discover(plugins)
    for complaint in store.complaints():
        click.echo(f"warning: {complaint}", err=True)
    answer = [_of(name, store, index) for name in store.tasks()]
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    if not answer:
        click.echo(f"there are no records in {folder}")
    for entry in answer:
        click.echo("\n  ".join(_in_words(entry)))


def _of(name: str, store: Store, index: Index) -> dict[str, Any]:
    from jkbench.errors import UserError
    from jkbench.records import tasks as recorded_tasks
    from jkbench.records.select import currency
    from jkbench.records.standing import of_others

    loaded = store.outlines(name)
    entry: dict[str, Any] = {"task": name, "records": len(loaded.records)}
    entry["status"] = dict(sorted(Counter(record.status for record in loaded.records.values()).items()))
    entry["split"] = dict(sorted(Counter(record.split for record in loaded.records.values()).items()))
    try:
        task = recorded_tasks.load(name, *store.folders)
        is_current = currency(task, index)
        entry["stale"] = sum(not is_current(record) for record in loaded.records.values())
        datasets = {each: index.find("dataset", each) for each in (task.target.dataset, task.teacher_images.dataset)}
        entry["of_others"] = len(of_others(loaded, store.folder, task, datasets))
    except UserError as error:
        entry["problem"] = str(error)
    entry["not_folded"] = sum(1 for _ in (store.inflight / name).glob("*/*.json"))
    entry["unreadable"] = loaded.complaints()
    by_age = sorted(loaded.records.values(), key=lambda record: record.created)
    latest = {(r.label, r.shots, r.seed, r.split): r for r in by_age}  # a method that was mended has older failures
    entry["failures"] = [
        {
            "trial": f"{r.label}, {per_class(r.shots)}, seed {r.seed}",
            "status": r.status,
            "reason": r.reason,
            "message": r.message,
        }
        for r in sorted(latest.values(), key=lambda record: record.sort_key)
        if r.status != "ok"
    ]
    return entry


def _in_words(entry: dict[str, Any]) -> Iterator[str]:
    counts = ", ".join(f"{count} {what}" for what, count in entry["status"].items())
    yield f"{entry['task']}: {counts or 'nothing readable'}"
    if entry.get("stale"):
        yield f"{entry['stale']} out of date (code, task or revision changed): not in the tables"
    if entry.get("of_others"):
        yield f"{entry['of_others']} with another teacher or another start: the next run replaces them"
    if entry["not_folded"]:
        yield f"{entry['not_folded']} not merged into the record files yet: the next run or leaderboard does it"
    for failure in entry["failures"]:
        yield f"{failure['status']}: {failure['trial']}: {failure['reason']}"
    for complaint in [*entry["unreadable"], *([entry["problem"]] if "problem" in entry else [])]:
        yield f"warning: {complaint}"
