"""``jkbench plan``: what would run, what is there, what does not apply and why, and how long it would take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from jkbench.cli import options


@click.command(epilog=options.examples("jkbench plan --methods all --task digits-fewshot --seeds 20"))
@options.planning
@options.as_json
def plan(folder: Path, as_json: bool, **words: Any) -> None:
    """Show what `run` would do, and refuse what it would refuse.

    Lists what is done, what is missing, and what does not apply and why. Trains nothing."""
    from jkbench.execute import run as application
    from jkbench.execute.progress import duration
    from jkbench.records.standing import standing

    planned = options.make_plan(folder=folder, **words)
    made = planned.plan
    loaded = planned.store.outlines(made.task.name)
    at = standing(made, loaded, folder)
    unchecked = application.check(planned) if at.missing else ""
    estimate, known = application.estimated_seconds(at.missing, loaded.records)
    missing = {trial.id for trial in at.missing}
    rows: dict[str, dict[str, Any]] = {}
    for trial in made.trials:
        row = rows.setdefault(trial.row.label, {"method": trial.row.label, "trials": 0, "there": 0, "to_run": 0})
        row["trials"] += 1
        row["to_run" if trial.id in missing else "there"] += 1
        if trial.row.plugin.broken:
            row["broken"] = trial.row.plugin.broken
    answer = {
        "task": made.task.name,
        "trials": len(made.trials),
        "there": at.done,
        "to_run": len(missing),
        "rows": list(rows.values()),
        "not_applicable": made.not_applicable,
        "unreadable": loaded.complaints(),
        "not_checked": unchecked,
        "estimated_seconds_one_job": estimate,
        "estimated_from_records": known,
    }
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    click.echo(f"{made.task.name}: {answer['trials']} trials, {at.done} are there, {len(missing)} to run")
    width = max((len(label) for label in rows), default=0)
    for row in rows.values():
        note = f"  broken here: {row['broken']}" if "broken" in row else ""
        click.echo(f"  {row['method']:<{width}}  {row['there']:>4} there  {row['to_run']:>4} to run{note}")
    for name, reason in made.not_applicable.items():
        click.echo(f"  {name:<{width}}  does not apply: {reason}")
    for warning in filter(None, (*loaded.complaints(), unchecked)):
        click.echo(f"  warning: {warning}")
    if missing and estimate is None:
        click.echo("time: no records to estimate from; run one seed first")
    elif missing and estimate is not None:
        guessed = f"; {len(missing) - known} of {len(missing)} guessed from other methods" * (known < len(missing))
        click.echo(f"time: about {duration(estimate)} of one job, by the records' own timings{guessed}")
