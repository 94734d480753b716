"""``jkbench plan``: what would run, what is there, what does not apply and why, and how long it would take."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jkbench.cli import options

if TYPE_CHECKING:
    from jkbench.plan import Trial
    from jkbench.records.schema import Outline

EPILOG = """\b
Example:
  jkbench plan --methods all --task digits-fewshot --seeds 20
"""


@click.command(epilog=EPILOG)
@options.methods
@options.task()
@options.shots
@options.seeds
@options.plugins
@options.leaderboard_folder
@options.beside
@options.split
@options.as_json
def plan(
    methods: str,
    task_name: str,
    shots: str | None,
    seeds: str | None,
    plugins: tuple[Path, ...],
    folder: Path,
    beside: tuple[Path, ...],
    split: Any,
    as_json: bool,
) -> None:
    """Show what `run` would do.

    What is there, what is missing, what does not apply and why. Nothing is imported or trained."""
    from jkbench.execute.progress import duration
    from jkbench.records import teachers
    from jkbench.records.store import FINAL, Store

    made, _ = options.make_plan(task_name, methods, plugins, shots, seeds, split, folder, *beside)
    loaded = Store(folder, beside).outlines(made.task.name)
    networks = teachers.present(folder, made.task, made.trials[0].datasets)
    results = [record for record in loaded.records.values() if record.status in FINAL]
    done = {record.id for record in results if not networks.are_others(record)}
    missing = [trial for trial in made.trials if trial.id not in done]
    estimate, known = estimated_seconds(missing, loaded.records)
    rows: dict[str, dict[str, Any]] = {}
    for trial in made.trials:
        row = rows.setdefault(trial.row.label, {"method": trial.row.label, "trials": 0, "there": 0, "to_run": 0})
        row["trials"] += 1
        row["there" if trial.id in done else "to_run"] += 1
        if trial.row.plugin.broken:
            row["broken"] = trial.row.plugin.broken
    answer = {
        "task": made.task.name,
        "trials": len(made.trials),
        "there": len(made.trials) - len(missing),
        "to_run": len(missing),
        "rows": list(rows.values()),
        "not_applicable": made.not_applicable,
        "unreadable": loaded.complaints(),
        "estimated_seconds_one_job": estimate,
        "estimated_from_records": known,
    }
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    click.echo(f"{made.task.name}: {answer['trials']} trials, {answer['there']} are there, {answer['to_run']} to run")
    width = max((len(label) for label in rows), default=0)
    for row in rows.values():
        note = f"  broken: {row['broken']}" if "broken" in row else ""
        click.echo(f"  {row['method']:<{width}}  {row['there']:>4} there  {row['to_run']:>4} to run{note}")
    for name, reason in made.not_applicable.items():
        click.echo(f"  {name:<{width}}  does not apply: {reason}")
    for complaint in loaded.complaints():
        click.echo(f"  warning: {complaint}")
    if missing and estimate is None:
        click.echo("time: no record to estimate from yet; run one seed first")
    elif missing and estimate is not None:
        others = (
            "" if known == len(missing) else f"; {len(missing) - known} of {len(missing)} guessed from other methods"
        )
        click.echo(f"time: about {duration(estimate)} of one job, by the records' own timings{others}")


def estimated_seconds(missing: list[Trial], records: Mapping[str, Outline]) -> tuple[float | None, int]:
    """Training seconds of the missing trials, from records of the same row and regime, else of any.

    Returns the sum, None without any record, and how many trials it knows of their own row.
    """
    from jkbench.records.timings import seconds_by_cell

    times = seconds_by_cell(records.values())
    if not times:
        return None, 0
    usual = sum(times.values()) / len(times)
    total, known = 0.0, 0
    for trial in missing:
        own = times.get((trial.row.label, str(trial.shots)))
        known += own is not None
        total += usual if own is None else own
    return total, known
